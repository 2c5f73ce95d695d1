"""The command line itself: which commands there are, how it ends, how it completes, and how soon it answers."""

import os
import shlex
import signal
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from nyc_taxi.errors import UnknownName

from ops import cli
from ops.cli import COMMANDS, taxi
from ops.errors import LocalStackError
from ops.paths import ROOT
from tests.ops.commands.conftest import run_taxi
from tests.taxi_lines import check

HEAVY = {"mage_ai", "nyc_taxi.run", "numpy", "pandas", "psutil", "psycopg2", "pyarrow", "requests", "rich", "yaml"}


def test_the_project_has_it_as_its_program() -> None:
    [(name, where)] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].items()
    module, _, function = where.partition(":")
    assert name == "taxi"
    assert getattr(import_module(module), function) is cli.main


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_examples_that_are_right(name: str) -> None:
    shown = CliRunner().invoke(taxi, [name, "--help"], prog_name="taxi")
    assert shown.exit_code == 0
    _, _, examples = shown.output.partition("Examples:\n")
    lines = [line.strip() for line in examples.splitlines()]
    assert lines
    for line in lines:
        assert f"taxi {name}" in line
        check(line.removeprefix("echo 'eval \"$(").partition(")\"' >>")[0].removeprefix("MAGE_HOST_PORT=6790 "))


def test_the_list_has_every_command_for_users_and_none_for_who_works_on_the_project() -> None:
    shown = CliRunner().invoke(taxi, ["--help"]).output
    listed = [line.split()[0] for line in shown.partition("Commands:\n")[2].splitlines()]
    assert listed == [name for name, (_, text) in COMMANDS.items() if text]
    assert set(COMMANDS) - set(listed) == {"screenshots", "generate"}


def test_an_unknown_command_is_refused_with_the_nearest_one() -> None:
    result = CliRunner().invoke(taxi, ["backfil"])
    assert result.exit_code == 2
    assert "command 'backfil' is not one of demo, run, ui, backfill" in result.output
    assert result.output.endswith("did you mean backfill?\n")


LOADED = """
import sys
from click.testing import CliRunner
from ops.cli import taxi
result = CliRunner().invoke(taxi, sys.argv[2:])
assert result.exit_code == 0, result.output
print(*(set(sys.argv[1].split(",")) & set(sys.modules)))
"""


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in ("run", "backfill", "ui", "doctor"))])
def test_help_comes_before_anything_heavy_is_imported(arguments: list[str]) -> None:
    command = [sys.executable, "-c", LOADED, ",".join(HEAVY), *arguments]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "\n"


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (LocalStackError("it does not start"), 1, "FAILED  it does not start\n"),
        (UnknownName("service 'x' is not one of y\n"), 1, "FAILED  service 'x' is not one of y\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_a_command_raises_on_purpose_is_a_line_and_an_exit_code(
    raised: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command()
    def failing() -> None:
        raise raised

    monkeypatch.setattr(cli.Taxi, "get_command", lambda *_: failing)
    result = CliRunner(mix_stderr=False).invoke(taxi, ["status"])
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", said)


def test_a_fault_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def broken() -> None:
        raise KeyError("what")

    monkeypatch.setattr(cli.Taxi, "get_command", lambda *_: broken)
    assert isinstance(CliRunner().invoke(taxi, ["status"]).exception, KeyError)


def completed(line: str) -> list[str]:
    """What bash is offered at the end of a line."""
    words = shlex.split(line) + [""] * line.endswith(" ")
    env = {**os.environ, "_TAXI_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    answer = subprocess.run(
        [sys.executable, "-m", "ops.cli"], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    return [found.partition(",")[2] for found in answer.stdout.splitlines()]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("taxi s", ["sql", "status"]),
        ("taxi run api_to_p", ["api_to_postgres"]),
        ("taxi run api_to_postgres --s", ["--service", "--set"]),
        ("taxi run api_to_postgres --service ", ["yellow", "green", "fhv", "fhvhv"]),
        ("taxi run api_to_postgres --origin t", ["tlc"]),
        ("taxi run api_to_postgres --rules has_passengers,po", ["has_passengers,positive_distance"]),
        ("taxi backfill gcs", ["gcs_to_bigquery"]),
        ("taxi backfill --retry ", ["last"]),
        ("taxi triggers --new-token api", ["api_to_postgres/webhook"]),
        ("taxi completion z", ["zsh"]),
    ],
)
def test_a_shell_completes_commands_options_and_values(line: str, offered: list[str]) -> None:
    assert completed(line) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_turns_completion_on_is_printed(shell: str) -> None:
    answer = run_taxi(dict(os.environ), "completion", shell)
    assert answer.returncode == 0
    assert f"_TAXI_COMPLETE={shell}_complete" in answer.stdout


def test_sigterm_ends_a_command_and_what_it_has_started(tmp_path: Path) -> None:
    # A stub in the place of Mage, which says its pid and would run for a minute.
    code = (
        "import subprocess, sys\n"
        "from ops import cli\n"
        "import click\n"
        "@click.command()\n"
        "def waiting():\n"
        "    stub = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'\n"
        "    subprocess.run([sys.executable, '-c', stub])\n"
        "cli.Taxi.get_command = lambda *_: waiting\n"
        "sys.argv = ['taxi', 'run']\n"
        "cli.main()\n"
    )
    command = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert command.stdout is not None
    child = int(command.stdout.readline())
    command.terminate()
    assert command.wait(20) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
