"""The homework's pipeline through Mage itself: its numbers on the city's real files, and a failure on any others."""

import os
from pathlib import Path

import pytest
from nyc_taxi.course.homework import MONTHS
from nyc_taxi.google import bucket_of
from nyc_taxi.settings import PostgresSettings, Settings

from ops.commands import run
from ops.stack.google import GoogleServer
from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.conftest import environment_of, sql

pytestmark = pytest.mark.mage


@pytest.fixture
def env(
    database: PostgresSettings, google_server: GoogleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """The environment of a run that touches nothing but the test's own servers and folders, all empty."""
    monkeypatch.setenv("NYC_TAXI_LOCAL_DIR", str(tmp_path / "local"))
    sql(database, "DROP SCHEMA IF EXISTS mage CASCADE")
    for prefix in ("green_taxi", "_incoming/green_taxi"):
        for blob in bucket_of(Settings.from_environment(google_server.environment()).google).list_blobs(prefix=prefix):
            blob.delete()
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        **environment_of(database),
        **google_server.environment(),
        "STAGING_DIR": str(tmp_path / "staging"),
        "MAGE_DATA_DIR": str(tmp_path / "mage"),
    }


def origin(trips: TripServer) -> dict[str, str]:
    return {"TLC_DTC_BASE_URL": trips.dtc_base_url, "TLC_PARQUET_BASE_URL": trips.tlc_base_url}


def objects(google_server: GoogleServer) -> dict[str, tuple[str, int, int]]:
    """Name to checksum, bytes and rows."""
    bucket = bucket_of(Settings.from_environment(google_server.environment()).google)
    return {
        blob.name: (blob.crc32c, blob.size, int(blob.metadata["rows"]))
        for blob in bucket.list_blobs(prefix="green_taxi/")
    }


def table(database: PostgresSettings) -> tuple[object, ...]:
    """Rows, days, lowest and highest vendor, and a hash over every value of every row."""
    [row] = sql(
        database,
        "SELECT count(*), count(DISTINCT lpep_pickup_date), min(vendor_id), max(vendor_id), "
        "sum(hashtextextended(t::text, 0))::text FROM mage.green_taxi t",
    )
    return row


def test_the_real_files_give_the_courses_numbers_and_the_same_bytes_again(
    env: dict[str, str],
    real_trips: TripServer,
    database: PostgresSettings,
    google_server: GoogleServer,
    capfd: pytest.CaptureFixture[str],
) -> None:
    env |= origin(real_trips)
    run.run_pipeline("green_taxi_etl", {}, env)
    said = capfd.readouterr().out
    assert said.count("1/1 tests passed.") == 4
    assert "139,370 of 266,855 green trips kept" in said
    loaded, kept = table(database), objects(google_server)
    assert loaded[:4] == (139_370, 95, 1, 2)
    assert (len(kept), sum(rows for _, _, rows in kept.values())) == (95, 139_370)
    assert kept.keys() >= {
        f"green_taxi/lpep_pickup_date={day}/green_taxi.parquet" for day in ("2009-01-01", "2020-10-01", "2020-12-31")
    }
    columns = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'mage.green_taxi'::regclass AND attnum > 0"
    assert sql(database, columns) == [(21,)]

    run.run_pipeline("green_taxi_etl", {}, env)
    assert (table(database), objects(google_server)) == (loaded, kept)


def test_other_files_fail_before_anything_is_written(
    env: dict[str, str],
    trips: TripServer,
    database: PostgresSettings,
    google_server: GoogleServer,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for month in MONTHS:
        generate("green", month, "dtc", 1_000, trips.folder)
    with pytest.raises(run.PipelineFailed, match="Failed to pass tests for block load_green_taxi"):
        run.run_pipeline("green_taxi_etl", {}, env | origin(trips))
    # Mage itself prints why.
    assert "[1000, 1000, 1000] rows read: these are not the homework's files" in capfd.readouterr().out
    assert sql(database, "SELECT to_regclass('mage.green_taxi')") == [(None,)]
    assert objects(google_server) == {}
