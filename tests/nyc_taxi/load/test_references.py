"""The reference tables in every target: whole, checked, and never at the cost of what somebody else has there."""

from pathlib import Path

import pytest
from nyc_taxi.catalog.references import REFERENCES, StagedReference, of_frame, to_frame
from nyc_taxi.errors import CountsDisagree, NotATripFile, TargetUnavailable
from nyc_taxi.google import bigquery_client, bucket_of
from nyc_taxi.load.bigquery import references as in_bigquery
from nyc_taxi.load.bucket import references as in_bucket
from nyc_taxi.load.postgres import references as in_postgres
from nyc_taxi.operate.references import stage_references
from nyc_taxi.settings import GoogleSettings, Settings

from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate_zones
from tests.conftest import sql


@pytest.fixture
def zones(trips: TripServer) -> Path:
    """The published list of zones."""
    return generate_zones(trips.folder)


@pytest.fixture
def staged(settings: Settings, zones: Path) -> list[StagedReference]:
    return stage_references(settings)


def without(zones: Path, *numbers: int) -> None:
    """Publish the list without some of its zones."""
    lines = zones.read_text().splitlines(keepends=True)
    zones.write_text("".join(line for line in lines if line.partition(",")[0] not in map(str, numbers)))


def test_what_is_staged_survives_a_frame(staged: list[StagedReference]) -> None:
    assert of_frame(to_frame(staged)) == staged
    assert {each.name: each.rows for each in staged}["taxi_zones"] == 265


@pytest.mark.parametrize(
    ("missing", "said"), [((7,), "lacks zone 7: no target"), ((265, 12, 3), "lacks zone 3 and 2 more: no target")]
)
def test_a_list_that_lacks_zones_is_refused(
    missing: tuple[int, ...], said: str, settings: Settings, zones: Path
) -> None:
    without(zones, *missing)
    with pytest.raises(NotATripFile, match=said):
        stage_references(settings)


def test_a_staged_table_that_was_changed_is_refused(staged: list[StagedReference], settings: Settings) -> None:
    Path(staged[0].path).write_bytes(b"")
    with pytest.raises(NotATripFile, match="is gone or was changed"):
        in_postgres.replace_references(staged, settings.postgres)


def test_rows_in_postgres_are_brought_to_the_list(staged: list[StagedReference], settings: Settings) -> None:
    in_postgres.replace_references(staged, settings.postgres)
    sql(settings.postgres, "UPDATE ny_taxi.taxi_zones SET borough = 'Wrong' WHERE location_id = 7")
    sql(settings.postgres, "DELETE FROM ny_taxi.vendors")
    sql(settings.postgres, "INSERT INTO ny_taxi.rate_codes VALUES (77, 'no such rate')")
    with pytest.raises(CountsDisagree, match=r"ny_taxi\.taxi_zones holds other rows"):
        in_postgres.check_references(staged, settings.postgres)
    in_postgres.replace_references(staged, settings.postgres)
    in_postgres.check_references(staged, settings.postgres)
    assert sql(settings.postgres, "SELECT count(*) FROM ny_taxi.reference_audit") == [(2 * len(REFERENCES),)]


def test_what_refers_to_the_zones_stays(staged: list[StagedReference], settings: Settings) -> None:
    in_postgres.replace_references(staged, settings.postgres)
    zone = "integer REFERENCES ny_taxi.taxi_zones"
    sql(settings.postgres, f"CREATE TABLE ny_taxi.mine (zone {zone}); INSERT INTO ny_taxi.mine VALUES (7)")
    sql(settings.postgres, "COMMENT ON COLUMN ny_taxi.taxi_zones.zone IS 'my words'")
    in_postgres.replace_references(staged, settings.postgres)
    assert sql(settings.postgres, "SELECT zone FROM ny_taxi.mine") == [(7,)]
    described = "SELECT obj_description(oid), col_description(oid, 1), col_description(oid, 3) FROM pg_class"
    [words] = sql(settings.postgres, f"{described} WHERE oid = 'ny_taxi.taxi_zones'::regclass")
    zones = REFERENCES["taxi_zones"]
    assert words == (zones.description, zones.columns[0].full_description, "my words")


def test_a_table_of_somebody_elses_is_left_alone(
    staged: list[StagedReference], settings: Settings, google: GoogleSettings
) -> None:
    sql(settings.postgres, "CREATE SCHEMA ny_taxi; CREATE TABLE ny_taxi.vendors (vendorid text)")
    with pytest.raises(TargetUnavailable, match=r"ny_taxi\.vendors was not made by this project"):
        in_postgres.replace_references(staged, settings.postgres)
    assert sql(settings.postgres, "SELECT to_regclass('ny_taxi.taxi_zones')") == [(None,)]
    bucket_of(google).blob("reference/vendors.parquet").upload_from_string("mine")
    with pytest.raises(TargetUnavailable, match="was written by another program"):
        in_bucket.replace_references(staged, google)
    assert [blob.name for blob in bucket_of(google).list_blobs()] == ["reference/vendors.parquet"]


def test_tables_in_bucket_and_bigquery_are_whole_and_described(
    staged: list[StagedReference], google: GoogleSettings
) -> None:
    for _ in range(2):
        in_bucket.replace_references(staged, google)
        in_bucket.check_references(staged, google)
        in_bigquery.replace_references(staged, google)
        in_bigquery.check_references(staged, google)
    client = bigquery_client(google)
    table = client.get_table(f"{client.project}.{google.dataset}.taxi_zones")
    assert table.schema[0].description == REFERENCES["taxi_zones"].columns[0].full_description
    client.query(f"DELETE FROM {google.dataset}.taxi_zones WHERE location_id = 7").result()
    with pytest.raises(CountsDisagree, match=r"taxi_zones holds other rows"):
        in_bigquery.check_references(staged, google)
    client.query(f"DROP TABLE {google.dataset}.taxi_zones").result()
    client.query(f"CREATE TABLE {google.dataset}.taxi_zones (location_id STRING)").result()
    with pytest.raises(TargetUnavailable, match=r"taxi_zones was not made by this project"):
        in_bigquery.replace_references(staged, google)
    client.query(f"DROP TABLE {google.dataset}.taxi_zones").result()
