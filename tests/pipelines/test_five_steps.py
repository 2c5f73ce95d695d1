"""docs/add-your-own.md, done to the letter on a copy of the project: its steps, its commands, its results."""

import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mage_ai.data_preparation.models.triggers import load_trigger_configs
from nyc_taxi.settings import PostgresSettings

from ops.commands import run
from ops.paths import PROJECT, ROOT
from ops.stack.trip_server import TripServer
from tests.conftest import sql

PAGE = (ROOT / "docs" / "add-your-own.md").read_text()
STEP = re.compile(r"^## (\d)\. [^\n]+\n\n(At the end of|In) `([^`]+)`[^`]*```\w+\n(.*?)```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^taxi run (\w+)(.*)$", re.MULTILINE)
FENCED = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project in which the page's steps are done."""
    copy = tmp_path / "checkout"
    shutil.copytree(PROJECT, copy / PROJECT.name, ignore=shutil.ignore_patterns("__pycache__"))
    for _, how, name, code in STEP.findall(PAGE):
        path = copy / name
        assert path.exists() == (how == "At the end of"), name
        path.parent.mkdir(exist_ok=True)
        with path.open("a") as file:
            file.write(f"\n\n{code}" if path.stat().st_size else code)
    monkeypatch.setattr(run, "PROJECT", copy / PROJECT.name)
    return copy


@pytest.fixture
def own_env(env: dict[str, str], checkout: Path, trips: TripServer) -> dict[str, str]:
    """The environment of runs that take the copy's library, and the page's file from this machine."""
    [address] = re.findall(r"`https://(bikes\.example/\S+)`", PAGE)
    [rows] = [text for kind, text in FENCED.findall(PAGE) if kind == "csv"]
    published = trips.folder / address
    published.parent.mkdir(parents=True)
    published.write_bytes(gzip.compress(rows.encode()))
    library = str(checkout / PROJECT.name / "utils")
    return env | {"PYTHONPATH": library, "BIKES_BASE_URL": f"{trips.url}/{Path(address).parent}"}


def cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip().strip("|").split("|"))


def test_the_page_has_five_steps_and_is_one_page() -> None:
    assert [number for number, *_ in STEP.findall(PAGE)] == ["1", "2", "3", "4", "5"]
    assert len(PAGE.splitlines()) < 200


def test_what_the_page_adds_passes_the_projects_own_checks(checkout: Path) -> None:
    """Style, and what tests/pipelines/test_code.py holds of every pipeline; on the copy."""
    for name in ("pyproject.toml", "dev.env", "tests/pipelines/test_code.py"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    for command in (
        ("ruff", "check", "magic-zoomcamp/utils"),
        ("ruff", "format", "--check", "magic-zoomcamp/utils"),
        ("pytest", "-q", "-p", "no:cacheprovider", "-k", "bikes_to_postgres", "tests/pipelines/test_code.py"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=checkout, capture_output=True, text=True, check=False, env=os.environ
        )
        assert done.returncode == 0, done.stdout[-3_000:]


def test_the_trigger_is_one_that_mage_understands(checkout: Path) -> None:
    pipeline = checkout / PROJECT.name / "pipelines" / "bikes_to_postgres"
    text = (pipeline / "triggers.yaml").read_text()
    [trigger] = load_trigger_configs(text, pipeline.name, repo_path=str(pipeline.parents[1]), raise_exception=True)
    assert trigger.has_valid_schedule_interval
    assert (trigger.status.value, trigger.variables) == ("inactive", {"month_offset": -1})


@pytest.mark.mage
def test_its_commands_bring_its_rows_to_every_target(
    own_env: dict[str, str], database: PostgresSettings, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = COMMAND.findall(PAGE)
    (pipeline, given), (everywhere, more) = first, second
    run.run_pipeline(pipeline, variables(given), own_env)
    printed = capfd.readouterr().out
    [said] = [text for _, text in FENCED.findall(PAGE) if "rows rejected" in text]
    for line in said.splitlines():
        assert line in printed

    [query] = re.findall(r'^taxi sql "(.*)"$', PAGE, re.MULTILINE)
    header, _, *wanted = [cells(line) for line in PAGE.splitlines() if line.startswith("|")]
    assert query.startswith(f"select {', '.join(header)} from ")
    found = [tuple("" if cell is None else str(cell) for cell in row) for row in sql(database, query)]
    assert found == wanted
    assert sql(database, "SELECT ride_id, reason FROM ny_taxi.bike_rides_rejected") == [("A3", "too_brief")]

    # Its last block compares what every target holds, and fails the run when one differs.
    run.run_pipeline(everywhere, variables(more), own_env)
    audit = "SELECT service, rows_read, rows_accepted, sums->>'distance_km' FROM ny_taxi.load_audit"
    assert sql(database, f"{audit} WHERE status = 'loaded'") == [("bikes", 4, 3, "11.0")] * 2


def variables(arguments: str) -> dict[str, str]:
    """The runtime variables that the options stand for."""
    words = arguments.split()
    return {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}
