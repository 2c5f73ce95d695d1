"""The pipelines to the bucket, and the one to every target, through Mage itself on emulators of Google's services."""

import shutil
from pathlib import Path

import pytest
from google.cloud.storage import Bucket
from nyc_taxi.catalog.services import service_named
from nyc_taxi.google import bigquery_client, bucket_of
from nyc_taxi.load.reconciliation import Held, measure_targets, reconciles, to_frame
from nyc_taxi.months import Month
from nyc_taxi.settings import Settings

from ops.commands import run
from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.conftest import process_environment, sql


@pytest.fixture
def bucket(env: dict[str, str]) -> Bucket:
    """The emulators' bucket and data set, without what an earlier test left."""
    google = Settings.from_environment(env).google
    client = bigquery_client(google)
    for table in client.list_tables(google.dataset):
        client.delete_table(table)
    bucket = bucket_of(google)
    for blob in bucket.list_blobs():
        blob.delete()
    return bucket


def contents(bucket: Bucket) -> dict[str, str]:
    """Every object and the checksum of its bytes."""
    return {blob.name: blob.crc32c for blob in bucket.list_blobs()}


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The list that example_pipeline wrote; it needs no service."""
    folder = tmp_path_factory.mktemp("example")
    places = {"STAGING_DIR": str(folder), "MAGE_DATA_DIR": str(folder / "mage")}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("NYC_TAXI_LOCAL_DIR", str(folder / "local"))
        run.run_pipeline("example_pipeline", {}, process_environment() | places)
    return folder / "titanic_clean.csv"


@pytest.mark.mage
def test_the_example_pipeline_writes_the_cleaned_list(cleaned: Path) -> None:
    lines = cleaned.read_text().splitlines()
    assert lines[0] == "Age,Fare,Parch,Pclass,SibSp,Survived"
    assert len(lines) > 100
    assert not any(",," in line or line.endswith(",") for line in lines)


@pytest.mark.mage
def test_the_connection_test_reads_back_what_it_wrote(
    env: dict[str, str], bucket: Bucket, settings: Settings, cleaned: Path
) -> None:
    with pytest.raises(run.PipelineFailed, match=r"titanic_clean\.csv does not exist: run example_pipeline first"):
        run.run_pipeline("local_to_gcs", {}, env)
    place(cleaned, settings)
    run.run_pipeline("local_to_gcs", {}, env)
    assert bucket.blob("titanic_clean.csv").download_as_text() == cleaned.read_text()


@pytest.mark.mage
def test_the_connection_test_names_a_bucket_that_is_not_set(
    env: dict[str, str], bucket: Bucket, settings: Settings, cleaned: Path
) -> None:
    place(cleaned, settings)
    with pytest.raises(run.PipelineFailed, match="GCS_BUCKET is not set: give the name of a bucket"):
        run.run_pipeline("local_to_gcs", {}, {**env, "GCS_BUCKET": ""})


def place(cleaned: Path, settings: Settings) -> None:
    """Put the list where example_pipeline would."""
    settings.staging_dir.mkdir(parents=True, exist_ok=True)
    shutil.copy(cleaned, settings.staging_dir)


@pytest.mark.mage
def test_a_month_in_the_bucket_is_the_same_after_a_second_run(
    env: dict[str, str], bucket: Bucket, trips: TripServer
) -> None:
    generate("green", "2020-10", "dtc", 8_000, trips.folder, malformed=3)
    variables = {"service": "green", "month": "2020-10"}
    run.run_pipeline("api_to_gcs", variables, env)
    first = contents(bucket)
    run.run_pipeline("api_to_gcs", variables, env)
    assert contents(bucket) == first
    assert {"trips/green/green_tripdata_2020-10.parquet", "trips_rejected/green/green_tripdata_2020-10.parquet"} <= set(
        first
    )
    days = [name for name in first if name.startswith("trips_by_day/green/lpep_pickup_date=2020-10-")]
    assert len(days) == 31


@pytest.mark.mage
def test_a_day_of_the_execution_date_gets_its_own_object(
    env: dict[str, str], bucket: Bucket, trips: TripServer
) -> None:
    generate("yellow", "2021-01", "dtc", 10_000, trips.folder)
    for day in ("2021-01-05", "2021-01-31T05:00:00+00:00"):
        run.run_pipeline("api_to_gcs_parameterized", {"execution_date": day}, env)
    assert set(contents(bucket)) == {"2021/01/05/daily-trips.parquet", "2021/01/31/daily-trips.parquet"}
    with pytest.raises(run.PipelineFailed, match="yellow 2021-07 is not published at dtc"):
        run.run_pipeline("api_to_gcs_parameterized", {"default_date": ""}, env)


@pytest.mark.mage
@pytest.mark.parametrize(
    ("service", "month", "origin"),
    [
        ("yellow", "2021-01", "dtc"),
        ("green", "2023-02", "tlc"),
        ("fhv", "2020-04", "dtc"),
        ("fhvhv", "2025-01", "tlc"),
    ],
)
def test_every_service_is_the_same_in_every_target(
    service: str, month: str, origin: str, env: dict[str, str], bucket: Bucket, trips: TripServer
) -> None:
    generate(service, month, origin, 6_000, trips.folder)
    run.run_pipeline("all_targets", {"service": service, "month": month, "origin": origin}, env)
    settings = Settings.from_environment(env)
    held = measure_targets(service_named(service), Month.parse(month), settings)
    audit = f"SELECT rows_accepted, rows_rejected FROM {settings.postgres.schema}.load_audit"
    [(accepted, rejected)] = sql(settings.postgres, audit)
    assert isinstance(accepted, int)
    assert isinstance(rejected, int)
    assert accepted + rejected == 6_000
    assert [each.rows for each in held] == [accepted] * 4
    assert reconciles(held)
    assert all(value > 0 for each in held for value in each.sums.values())


HELD = Held("manifest", 10, {"total_amount": 100.0})


def test_targets_with_the_same_rows_and_sums_agree() -> None:
    assert reconciles([HELD, Held("Postgres", 10, {"total_amount": 100.00000000001})])
    assert to_frame([HELD, HELD])["agrees"].tolist() == [True, True]


@pytest.mark.parametrize(
    "other",
    [
        Held("Postgres", 9, {"total_amount": 100.0}),
        Held("Postgres", 10, {"total_amount": 100.01}),
        Held("Postgres", 10, {}),
    ],
)
def test_any_target_that_differs_is_seen(other: Held) -> None:
    assert not reconciles([HELD, other])
    assert to_frame([HELD, HELD])["agrees"].all()


def test_empty_targets_do_not_agree() -> None:
    empty = Held("Postgres", 0, {"total_amount": 0.0})
    assert not reconciles([empty, empty])
