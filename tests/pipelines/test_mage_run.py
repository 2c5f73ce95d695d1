"""The pipelines through Mage itself: `mage run --test` on a real Postgres and a real trip-file server."""

import json
import signal
import subprocess
import sys
import time

import psutil
import pytest
from nyc_taxi.catalog.services import service_named
from nyc_taxi.load.postgres.month import replace_month
from nyc_taxi.load.reconciliation import measure_targets
from nyc_taxi.months import Month
from nyc_taxi.settings import PostgresSettings, Settings

from ops.commands import run as mage
from ops.paths import MAGE, PROJECT, ROOT
from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from ops.wait import wait_until
from tests.conftest import sql
from tests.nyc_taxi.load.loading import judged

pytestmark = pytest.mark.mage


def counted(database: PostgresSettings, table: str = "yellow_cab_data") -> int:
    [(rows,)] = sql(database, f"SELECT count(*) FROM ny_taxi.{table}")
    assert isinstance(rows, int)
    return rows


def test_the_connection_test_passes_and_fails_with_the_server(
    env: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    mage.run_pipeline("test_config", {}, env)
    # Mage itself prints why and then raises another error.
    with pytest.raises(mage.PipelineFailed, match="No connection currently open"):
        mage.run_pipeline("test_config", {}, env | {"POSTGRES_PASSWORD": "wrong"})
    assert "password authentication failed" in capfd.readouterr().out


def test_a_month_loaded_twice_is_there_once(env: dict[str, str], trips: TripServer, database: PostgresSettings) -> None:
    generate("yellow", "2021-01", "dtc", 20_000, trips.folder, malformed=7)
    mage.run_pipeline("api_to_postgres", {}, env)
    first = counted(database), counted(database, "yellow_cab_data_rejected")
    mage.run_pipeline("api_to_postgres", {}, env)
    assert (counted(database), counted(database, "yellow_cab_data_rejected")) == first
    assert sum(first) == 20_000
    audit = sql(database, "SELECT rows_read, rows_accepted, rows_rejected FROM ny_taxi.load_audit ORDER BY load_id")
    assert audit == [(20_000, *first)] * 2
    # The sensor's look and the loader's, in both runs; the file is fetched once.
    assert [request[0] for request in trips.requests] == ["HEAD", "HEAD", "GET", "HEAD", "HEAD"]


def test_a_service_whose_neighbour_was_never_loaded_loads(
    env: dict[str, str], trips: TripServer, database: PostgresSettings
) -> None:
    generate("green", "2020-10", "dtc", 5_000, trips.folder)
    mage.run_pipeline(
        "api_to_postgres",
        {"service": "green", "month": "2020-10", "rules": "has_passengers,positive_distance"},
        env,
    )
    assert counted(database, "green_cab_data") + counted(database, "green_cab_data_rejected") == 5_000
    reasons = sql(database, "SELECT DISTINCT reason FROM ny_taxi.green_cab_data_rejected ORDER BY 1")
    assert reasons == [("no_distance",), ("no_passengers",), ("passenger_count_missing",)]


def test_the_month_of_the_execution_date_is_loaded(
    env: dict[str, str], trips: TripServer, database: PostgresSettings
) -> None:
    generate("yellow", "2021-01", "dtc", 1_000, trips.folder)
    given = {"month": "", "execution_date": "2021-03-31", "month_offset": "-2", "default_date": "1999-01-01"}
    mage.run_pipeline("api_to_postgres", given, env)
    assert sql(database, "SELECT DISTINCT file_month::text FROM ny_taxi.yellow_cab_data") == [("2021-01-01",)]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"service": "purple"}, "service 'purple' is not one of yellow, green, fhv, fhvhv"),
        ({"month": "2021-02"}, "yellow 2021-02 is not published at dtc"),
        ({"execution_date": "yesterday"}, "execution_date 'yesterday' is not a date such as 2021-01-31T00:00:00"),
    ],
)
def test_a_run_that_cannot_be_ends_with_one_clear_line(
    variables: dict[str, str], message: str, env: dict[str, str], trips: TripServer
) -> None:
    with pytest.raises(mage.PipelineFailed) as failure:
        mage.run_pipeline("api_to_postgres", variables, env)
    assert message in str(failure.value).splitlines()[0]
    if "month" not in variables:
        assert not trips.requests, "refused before anything was fetched"


def test_a_run_killed_at_any_point_leaves_the_old_month(
    env: dict[str, str], settings: Settings, trips: TripServer, database: PostgresSettings
) -> None:
    replace_month(judged(settings, trips, "yellow", "2021-01", "dtc", 10_000), database)
    before = counted(database)
    generate("yellow", "2021-01", "dtc", 400_000, trips.folder, seed=1)
    command = [*MAGE, "run", PROJECT.name, "api_to_postgres", "--test"]
    run = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    copying = "SELECT count(*) FROM pg_stat_progress_copy"
    copies = wait_until(lambda: sql(database, copying) != [(0,)], 120, 0.01, unless=lambda: run.poll() is not None)
    assert copies, "ended before it copied anything"
    run.send_signal(signal.SIGKILL)
    run.wait(10)
    assert counted(database) == before
    mage.run_pipeline("api_to_postgres", {}, env)
    assert counted(database) + counted(database, "yellow_cab_data_rejected") == 400_000
    left_over = "SELECT count(*) FROM pg_class WHERE relname LIKE '%\\_new'"
    assert sql(database, left_over) == [(0,)]


def peak_megabytes(command: list[str], env: dict[str, str]) -> float:
    """Run the command; the largest resident set of its process tree, sampled every 50 ms, in MB."""
    run = psutil.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = 0.0
    while run.poll() is None:
        family = [run, *run.children(recursive=True)]
        sizes = [process.memory_info().rss for process in family if process.is_running()]
        peak = max(peak, sum(sizes) / 1e6)
        time.sleep(0.05)
    assert run.returncode == 0, run.stderr.read().decode()[-2000:]
    return peak


@pytest.mark.large
@pytest.mark.timeout(1800)
def test_memory_does_not_grow_with_the_month(
    env: dict[str, str], trips: TripServer, database: PostgresSettings
) -> None:
    generate("yellow", "2021-01", "dtc", 1_369_765, trips.folder)
    generate("yellow", "2019-03", "dtc", 14_000_000, trips.folder)
    # Two exporters run side by side in api_to_gcs: how far their peaks meet differs from run to run.
    for pipeline, growth in (("api_to_postgres", 1.1), ("api_to_gcs", 1.25), ("gcs_to_bigquery", 1.1)):
        command = [*MAGE, "run", PROJECT.name, pipeline, "--test", "--runtime-vars"]
        small, large = (
            peak_megabytes([*command, json.dumps({"month": month})], env) for month in ("2021-01", "2019-03")
        )
        print(f"{pipeline}: peak {small:.0f} MB for 1.4 M rows, {large:.0f} MB for 14 M rows", file=sys.stderr)
        assert max(small, large) < 700
        assert large < growth * small
    assert counted(database) + counted(database, "yellow_cab_data_rejected") == 15_369_765
    held = measure_targets(service_named("yellow"), Month.parse("2019-03"), Settings.from_environment(env))
    assert {each.rows for each in held} == {counted(database, "yellow_cab_data_2019_03")}


@pytest.mark.large
@pytest.mark.timeout(900)
def test_memory_of_rules_that_know_the_month_is_some_bytes_a_row(
    env: dict[str, str], trips: TripServer, database: PostgresSettings
) -> None:
    generate("yellow", "2019-03", "tlc", 14_000_000, trips.folder)
    variables = {"month": "2019-03", "origin": "tlc", "rules": "not_a_duplicate,no_reversal:warn"}
    command = [*MAGE, "run", PROJECT.name, "api_to_postgres", "--test", "--runtime-vars", json.dumps(variables)]
    peak = peak_megabytes(command, env)
    print(f"api_to_postgres with duplicates rejected: peak {peak:.0f} MB for 14 M rows", file=sys.stderr)
    assert peak < 700
    assert counted(database) + counted(database, "yellow_cab_data_rejected") == 14_000_000
