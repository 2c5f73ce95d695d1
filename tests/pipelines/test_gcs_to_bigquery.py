"""The pipeline from the lake to BigQuery through Mage itself, on stand-ins that speak Google's protocols."""

import os
from pathlib import Path

import pytest
from nyc_taxi import lake
from nyc_taxi.google_clients import bigquery_client, bucket_of
from nyc_taxi.settings import GoogleSettings, Settings

from local import mage
from local.google import GoogleServer
from local.trip_server import TripServer
from tests.library.loading import judged

pytestmark = pytest.mark.mage


@pytest.fixture
def google(google_server: GoogleServer) -> GoogleSettings:
    """The stand-ins, with a data set and a lake that hold nothing of an earlier test."""
    settings = Settings.from_environment(google_server.environment()).google
    client = bigquery_client(settings)
    for table in client.list_tables(settings.dataset):
        client.delete_table(table)
    for blob in bucket_of(settings).list_blobs():
        blob.delete()
    return settings


@pytest.fixture
def env(google_server: GoogleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a run that touches nothing but the stand-ins and the test's own folders."""
    monkeypatch.setenv("NYC_TAXI_LOCAL_DIR", str(tmp_path / "local"))
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        **google_server.environment(),
        "STAGING_DIR": str(tmp_path / "staging"),
        "MAGE_DATA_DIR": str(tmp_path / "mage"),
    }


def rows_by_month(google: GoogleSettings, table: str = "yellow_cab_data") -> dict[str, int]:
    query = f"SELECT CAST(file_month AS STRING), COUNT(*) FROM `{google.project}.{google.dataset}.{table}` GROUP BY 1"
    return {month: rows for month, rows in bigquery_client(google).query(query).result()}


def tables(google: GoogleSettings) -> list[str]:
    return sorted(table.table_id for table in bigquery_client(google).list_tables(google.dataset))


def test_a_month_loaded_twice_is_there_once(
    env: dict[str, str], google: GoogleSettings, settings: Settings, trips: TripServer
) -> None:
    january = judged(settings, trips, "yellow", "2021-01", "dtc", 20_000)
    february = judged(settings, trips, "yellow", "2021-02", "dtc", 3_000)
    for file in (january, february):
        lake.replace_month(file, google)
    for month in ("2021-01", "2021-02", "2021-01"):
        mage.run_pipeline("gcs_to_bigquery", {"month": month}, env)
    assert rows_by_month(google) == {"2021-01-01": january.rows_accepted, "2021-02-01": february.rows_accepted}
    assert tables(google) == ["yellow_cab_data"], "the staging tables are gone"
