"""The commands of the Makefile, as a newcomer runs them; `make` itself adds only the environment of packages."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from nyc_taxi.load.bucket import month as bucket
from nyc_taxi.load.reconciliation import Held
from nyc_taxi.settings import Settings

from ops.commands import demo as demo_command
from ops.commands.demo import Loaded
from ops.commands.run import PipelineFailed
from ops.paths import ROOT
from ops.stack.google import GoogleServer
from ops.stack.trip_server import TripServer
from tests.conftest import environment_of
from tests.nyc_taxi.load.loading import judged

COMMANDS = {"setup", "demo", "run", "ui", "sql", "up", "down", "status", "test", "bench"}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An environment like `env -i` with a folder of its own for the local stack."""
    folder = tmp_path_factory.mktemp("local")
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "NYC_TAXI_LOCAL_DIR": str(folder / "stack")}
    yield env
    python(env, "-m", "ops.stack.stack", "down")
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or ())]


def python(env: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)


def test_make_alone_lists_every_command() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^make ([a-z-]+)", listed, re.M)) >= COMMANDS


def test_every_command_of_the_readme_exists() -> None:
    named = set(re.findall(r"^make ([a-z-]+)", (ROOT / "README.md").read_text(), re.M))
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M))
    assert {"demo", "ui", "sql", "run", "down", "test"} <= named <= targets


@pytest.mark.mage
def test_the_demo_fills_tables_whose_numbers_agree(local: dict[str, str]) -> None:
    demo = python(local, "-m", "ops.commands.demo")
    assert demo.returncode == 0, demo.stdout[-3000:] + demo.stderr[-3000:]
    assert "All numbers agree" in demo.stdout
    rows = [line.split("│") for line in demo.stdout.splitlines() if "_tripdata_2021-" in line and "│" in line]
    read = {cells[1].strip(): int(cells[2].replace(",", "")) for cells in rows}
    assert read == {
        "yellow_tripdata_2021-01.csv.gz": 100_000,
        "yellow_tripdata_2021-02.csv.gz": 90_000,
        "green_tripdata_2021-01.parquet": 40_000,
        "green_tripdata_2021-02.parquet": 35_000,
    }
    for cells in rows:
        assert len({cell.strip() for cell in (cells[3], *cells[6:10])}) == 1, cells
        assert cells[10].strip() == "yes"
    answer = python(local, "-m", "ops.commands.sql", "select count(*) from ny_taxi.yellow_cab_data")
    in_postgres = sum(int(cells[6].replace(",", "")) for cells in rows if "yellow" in cells[1])
    assert re.findall(r"│ (\d+) +│", answer.stdout) == [str(in_postgres)]


@pytest.mark.mage
def test_the_demo_does_not_replace_real_months(local: dict[str, str]) -> None:
    real = "UPDATE ny_taxi.load_audit SET url = 'https://example.org/yellow' WHERE service = 'yellow'"
    assert python(local, "-m", "ops.commands.sql", real).returncode == 0
    demo = python(local, "-m", "ops.commands.demo")
    assert demo.returncode == 1
    assert "ny_taxi holds yellow 2021-01 from https://example.org/yellow" in demo.stderr
    assert "POSTGRES_SCHEMA=ny_taxi_demo NYC_TAXI_LOCAL_DIR=.local/demo make demo" in demo.stderr


def test_the_demo_does_not_replace_real_months_in_the_bucket(
    settings: Settings, trips: TripServer, google_server: GoogleServer
) -> None:
    env = {**environment_of(settings.postgres), **google_server.environment()}
    file = judged(settings, trips, "yellow", "2021-02", "dtc", 500)
    google = Settings.from_environment(env).google
    bucket.replace_month(file, google)
    demo_command._refuse_to_replace_real_months(env)
    bucket.replace_month(replace(file, url="https://example.org/yellow"), google)
    with pytest.raises(PipelineFailed, match=r"^gs://.+ holds yellow 2021-02 from https://example.org/yellow"):
        demo_command._refuse_to_replace_real_months(env)


def test_a_statement_that_postgres_refuses_is_one_line_and_exit_code_one(local: dict[str, str]) -> None:
    answer = python(local, "-m", "ops.commands.sql", "select * from nowhere")
    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 1
    assert answer.stderr.startswith("FAILED  Postgres at 127.0.0.1:")
    assert 'as mage: relation "nowhere" does not exist' in answer.stderr
    assert python(local, "-m", "ops.commands.sql", "").returncode == 2


def test_another_server_is_used_when_one_is_named(local: dict[str, str]) -> None:
    answer = python(local | {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": "1"}, "-m", "ops.commands.sql", "select 1")
    assert answer.returncode == 1
    assert "Connection refused" in answer.stderr


SUMS = {"total_amount": 1.5}
HELD = Held("Postgres", 8, SUMS)
AGREEING = Loaded("a file", 10, 10, 8, {"no_passengers": 2}, SUMS, 1.0, 2, [HELD, replace(HELD, where="BigQuery")])


def test_numbers_that_agree_agree() -> None:
    assert AGREEING.agrees


@pytest.mark.parametrize(
    "other",
    [
        replace(AGREEING, rows_published=11),
        replace(AGREEING, rows_read=9),
        replace(AGREEING, rejected={"no_passengers": 1}),
        replace(AGREEING, rejected_in_postgres=1),
        replace(AGREEING, targets=[HELD, replace(HELD, rows=7)]),
        replace(AGREEING, targets=[replace(HELD, sums={"total_amount": 1.51}), HELD]),
    ],
)
def test_any_number_that_disagrees_is_seen(other: Loaded) -> None:
    assert not other.agrees


def test_no_path_of_a_machine_and_no_secret_is_committed() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert "magic-zoomcamp/pipelines/api_to_postgres/metadata.yaml" in tracked
    assert not [name for name in tracked if Path(name).name in {".env", "postgres.password"}]
