"""The pipeline reference_tables, through Mage itself, into every target."""

import pytest
from google.cloud.storage import Bucket
from nyc_taxi.google import bigquery_client, bucket_of
from nyc_taxi.settings import PostgresSettings, Settings

from ops.commands import run
from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate_zones
from tests.conftest import sql

pytestmark = pytest.mark.mage
ZONES = "SELECT location_id, borough, zone, service_zone FROM {}.taxi_zones ORDER BY 1"


@pytest.fixture
def bucket(env: dict[str, str]) -> Bucket:
    return bucket_of(Settings.from_environment(env).google)


def test_the_reference_tables_are_the_same_in_every_target(
    env: dict[str, str], trips: TripServer, database: PostgresSettings, bucket: Bucket
) -> None:
    generate_zones(trips.folder)
    run.run_pipeline("reference_tables", {}, env)
    google = Settings.from_environment(env).google
    client = bigquery_client(google)
    in_bigquery = [tuple(row) for row in client.query(ZONES.format(google.dataset)).result()]
    in_postgres = sql(database, ZONES.format("ny_taxi"))
    assert in_postgres == in_bigquery
    assert len(in_postgres) == 265
    assert in_postgres[131][3] == "Synthetic Zone"
    names = {blob.name for blob in bucket.list_blobs(prefix="reference/")}
    assert {"reference/taxi_zones.parquet", "reference/vendors.parquet"} <= names
    run.run_pipeline("reference_tables", {}, env)
    assert sql(database, ZONES.format("ny_taxi")) == in_postgres
    assert sql(database, "SELECT count(*) FROM ny_taxi.reference_audit WHERE table_name = 'taxi_zones'") == [(2,)]
