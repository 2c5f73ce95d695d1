"""The pipeline from the lake to BigQuery through Mage itself, on emulators that speak Google's protocols."""

import os
import runpy
import shutil
from pathlib import Path

import pytest
from mage_ai.io.bigquery import BigQuery
from mage_ai.io.config import ConfigFileLoader
from mage_ai.io.google_cloud_storage import GoogleCloudStorage
from nyc_taxi.errors import CountsDisagree
from nyc_taxi.google import bigquery_client, bucket_of
from nyc_taxi.load.bucket import month as bucket
from nyc_taxi.manifest import Manifest
from nyc_taxi.settings import GoogleSettings, Settings

from ops.commands import run
from ops.paths import PROJECT
from ops.stack.google import GoogleServer
from ops.stack.trip_server import TripServer
from tests.nyc_taxi.load.loading import judged

pytestmark = pytest.mark.mage


@pytest.fixture
def google(google_server: GoogleServer) -> GoogleSettings:
    """The emulators, with a data set and a lake that hold nothing of an earlier test."""
    settings = Settings.from_environment(google_server.environment()).google
    client = bigquery_client(settings)
    for table in client.list_tables(settings.dataset):
        client.delete_table(table)
    for blob in bucket_of(settings).list_blobs():
        blob.delete()
    return settings


@pytest.fixture
def env(google_server: GoogleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a run that touches nothing but the emulators and the test's own folders."""
    monkeypatch.setenv("NYC_TAXI_LOCAL_DIR", str(tmp_path / "local"))
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        **google_server.environment(),
        "STAGING_DIR": str(tmp_path / "staging"),
        "MAGE_DATA_DIR": str(tmp_path / "mage"),
    }


def rows_by_month(google: GoogleSettings, table: str = "yellow_cab_data") -> dict[str, int]:
    query = f"SELECT CAST(file_month AS STRING), COUNT(*) FROM `{google.project}.{google.dataset}.{table}` GROUP BY 1"
    return {row[0]: row[1] for row in bigquery_client(google).query(query).result()}


def tables(google: GoogleSettings) -> list[str]:
    return sorted(table.table_id for table in bigquery_client(google).list_tables(google.dataset))


def test_a_month_loaded_twice_is_there_once(
    env: dict[str, str], google: GoogleSettings, settings: Settings, trips: TripServer
) -> None:
    january = judged(settings, trips, "yellow", "2021-01", "dtc", 20_000)
    february = judged(settings, trips, "yellow", "2021-02", "dtc", 3_000)
    for file in (january, february):
        bucket.replace_month(file, google)
    for month in ("2021-01", "2021-02", "2021-01"):
        run.run_pipeline("gcs_to_bigquery", {"month": month}, env)
    assert rows_by_month(google) == {"2021-01-01": january.rows_accepted, "2021-02-01": february.rows_accepted}
    assert tables(google) == ["yellow_cab_data"], "the staging tables are gone"


def test_a_service_whose_month_was_never_loaded_loads(
    env: dict[str, str], google: GoogleSettings, settings: Settings, trips: TripServer
) -> None:
    file = judged(settings, trips, "fhv", "2021-03", "dtc", 2_000)
    bucket.replace_month(file, google)
    run.run_pipeline("gcs_to_bigquery", {"service": "fhv", "month": "2021-03"}, env)
    assert rows_by_month(google, "fhv_trip_data") == {"2021-03-01": file.rows_accepted}


def test_a_month_whose_object_was_replaced_meanwhile_does_not_end_green(
    env: dict[str, str],
    google: GoogleSettings,
    settings: Settings,
    trips: TripServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = judged(settings, trips, "yellow", "2021-01", "dtc", 2_000)
    bucket.replace_month(old, google)
    run.run_pipeline("gcs_to_bigquery", {"month": "2021-01"}, env)
    bucket.replace_month(judged(settings, trips, "yellow", "2021-01", "dtc", 3_000), google)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    block = runpy.run_path(str(PROJECT / "custom" / "check_taxi_in_bigquery.py"))
    with pytest.raises(CountsDisagree, match="another run replaced the month"):
        block["bigquery_holds_what_the_manifest_counts"](Manifest((old,)).to_frame())


def test_a_month_that_is_not_in_the_lake_ends_with_one_clear_line(env: dict[str, str], google: GoogleSettings) -> None:
    with pytest.raises(run.PipelineFailed) as failure:
        run.run_pipeline("gcs_to_bigquery", {"service": "green", "month": "2020-10"}, env)
    wanted = f"gs://{google.bucket}/trips/green/green_tripdata_2020-10.parquet does not exist: run api_to_gcs"
    assert wanted in str(failure.value).splitlines()[0]
    assert tables(google) == []


def test_a_statement_that_fails_ends_the_run_and_leaves_the_old_month(
    env: dict[str, str],
    google: GoogleSettings,
    settings: Settings,
    trips: TripServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = judged(settings, trips, "yellow", "2021-01", "dtc", 2_000)
    bucket.replace_month(file, google)
    run.run_pipeline("gcs_to_bigquery", {}, env)
    broken = tmp_path / PROJECT.name
    shutil.copytree(PROJECT, broken)
    block = broken / "data_exporters" / "write_taxi_to_bigquery.sql"
    block.write_text(block.read_text().replace("SELECT *,", "SELECT * REPLACE (ERROR('in the middle') AS VendorID),"))
    monkeypatch.setattr(run, "PROJECT", broken)
    with pytest.raises(run.PipelineFailed, match="in the middle"):
        run.run_pipeline("gcs_to_bigquery", {}, env)
    assert rows_by_month(google) == {"2021-01-01": file.rows_accepted}
    [staging, table] = tables(google)[::-1]
    assert (table, staging[:31]) == ("yellow_cab_data", "yellow_cab_data_staging_2021_01")


def test_mages_own_clients_need_no_key_in_io_config(
    google_server: GoogleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in google_server.environment().items():
        monkeypatch.setenv(name, value)
    for location in (google_server.location, ""):
        monkeypatch.setenv("GOOGLE_LOCATION", location)
        config = ConfigFileLoader(PROJECT / "io_config.yaml", "dev")
        tables_client = BigQuery.with_config(config).client
        assert (tables_client.project, tables_client.location) == (google_server.project, "US")
        assert google_server.dataset in [dataset.dataset_id for dataset in tables_client.list_datasets()]
    storage = GoogleCloudStorage.with_config(config)
    assert storage.client.bucket(google_server.bucket).exists()
