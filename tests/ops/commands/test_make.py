"""`make`: every target, the values that it hands to `taxi` untouched, and the variables that it refuses."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from ops.paths import ROOT

COMMANDS = {"setup", "demo", "run", "ui", "sql", "up", "down", "status", "test", "bench"}


def make(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | env
    set_up = ["-o", ".venv/.ready", "-o", ".venv-emulators/.ready"]  # whatever has changed since
    return subprocess.run(["make", *set_up, *arguments], cwd=ROOT, env=own, capture_output=True, text=True, check=False)


@pytest.fixture
def stub(tmp_path: Path) -> str:
    """In the place of taxi: a program that prints each of its arguments in brackets."""
    program = tmp_path / "taxi"
    program.write_text("#!/bin/sh\nfor argument; do printf '[%s]' \"$argument\"; done\n")
    program.chmod(0o755)
    return f"TAXI={program}"


def test_make_alone_lists_every_command() -> None:
    assert set(re.findall(r"^make ([a-z-]+)", make().stdout, re.M)) >= COMMANDS


def test_every_command_of_the_readme_exists() -> None:
    named = set(re.findall(r"^make ([a-z-]+)", (ROOT / "README.md").read_text(), re.M))
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M))
    assert {"demo", "test"} <= named <= targets


@pytest.mark.parametrize(
    "statement",
    [
        'select "t" where a = $1',
        "select 'it''s', \\n, `date`, $HOME, $$, $(shell date), ${Q} -- 100 % #",
        "select 1,\n  2",
        "-",
        "--help",
    ],
)
def test_a_statement_arrives_as_it_was_typed(statement: str, stub: str) -> None:
    for target in ("sql", "plan"):
        assert make(target, stub, f"Q={statement}").stdout == f"[{target}][--][{statement}]"
        assert make(target, stub, Q=statement).stdout == f"[{target}][--][{statement}]"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("run",), "[run]"),
        (("run", "PIPELINE=test_config"), "[run][test_config]"),
        (
            (
                "run",
                "PIPELINE=p",
                "SERVICE=green",
                "MONTH=2020-10",
                "ORIGIN=tlc",
                "RULES=a,b",
                "PREFIX=x y",
                "EXECUTION_DATE=2021-01-05",
            ),
            "[run][p][--service][green][--month][2020-10][--origin][tlc][--rules][a,b][--prefix][x y]"
            "[--execution-date][2021-01-05]",
        ),
        (("run", "PIPELINE=p", "SERVICE="), "[run][p]"),
        (
            ("backfill", "PIPELINE=p", "FROM=2020-10", "TO=2020-12", "PARALLEL=2", "FORCE=true"),
            "[backfill][p][--from][2020-10][--to][2020-12][--parallel][2][--force]",
        ),
        (("backfill", "PIPELINE=p", "FORCE=0"), "[backfill][p][--no-force]"),
        (("backfill", "RETRY=last"), "[backfill][--retry][last]"),
        (("backfill", "SHOW=7"), "[backfill][--show][7]"),
        (("triggers", "REMOVE=orphans"), "[triggers][--remove][orphans]"),
        (("triggers", "NEW_TOKEN=a/b"), "[triggers][--new-token][a/b]"),
        (("up", "TRIPS=.local/trips"), "[up][--trips][.local/trips]"),
        *((((name,), f"[{name}]")) for name in ("demo", "ui", "doctor", "down", "status", "screenshots")),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_its_variables_become_options(given: tuple[str, ...], said: str, stub: str) -> None:
    ran = make(*given, stub)
    assert ran.stdout.splitlines()[-1] == said, ran.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("run", "PIPELINE=api_to_postgres", "SERVCE=green"), "make run does not take SERVCE (did you mean SERVICE?)"),
        (
            ("run", "PIPELINE=api_to_postgres", "service=green"),
            "make run does not take service (did you mean SERVICE?)",
        ),
        (
            ("run", "PIPELINE=api_to_postgres", "FROM=2020-10"),
            "make run does not take FROM, but PIPELINE SERVICE MONTH",
        ),
        (("demo", "SERVICE=green"), "make demo does not take SERVICE, but PYTHON"),
        (("FOO=1",), "make does not take FOO, but PYTHON"),
        (("runn",), "make has no runn: make lists what it has"),
        (("sql", "q=select 1"), "make sql does not take q"),
        (("test", "WORKER=2"), "make test does not take WORKER (did you mean WORKERS?)"),
        (("demo", "POSTGRES_SCHEME=x"), "make demo does not take POSTGRES_SCHEME (did you mean POSTGRES_SCHEMA?)"),
        (("backfill", "PIPELINE=p", "FORCE=perhaps"), "FORCE=perhaps is neither true nor false"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_variable_that_it_does_not_know_is_refused(given: tuple[str, ...], said: str, stub: str) -> None:
    ran = make(*given, stub)
    assert ran.returncode == 2
    assert said in ran.stderr
    assert ran.stdout == ""


def test_settings_and_what_installers_read_may_be_given(stub: str) -> None:
    given = ("POSTGRES_SCHEMA=mine", "NYC_TAXI_LOCAL_DIR=.local/x", "PYTHON=python3", "WORKERS=2", "UV_OFFLINE=1")
    assert make("demo", stub, *given).stdout.splitlines()[-1] == "[demo]"
