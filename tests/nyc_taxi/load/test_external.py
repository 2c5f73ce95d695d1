"""External tables of BigQuery: the statements, and when they are sent. The emulator has no such tables."""

import json
import re
from dataclasses import replace

import pytest
from nyc_taxi.catalog.services import GREEN, SERVICES
from nyc_taxi.errors import TargetUnavailable
from nyc_taxi.google import bigquery_client
from nyc_taxi.load import external
from nyc_taxi.load.external import external_tables, make_external
from nyc_taxi.settings import GoogleSettings
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.nyc_taxi.load.bucket.bucket_helpers import bucket_of

JOBS = "/bigquery/v2/projects/nyc-taxi-local/jobs"
TABLE = {"projectId": "nyc-taxi-local", "datasetId": "ny_taxi", "tableId": "t"}
TABLES = "/bigquery/v2/projects/nyc-taxi-local/datasets/ny_taxi/tables"


def statement(name: str, google: GoogleSettings) -> str:
    [sql] = [
        table.sql for service in SERVICES.values() for table in external_tables(service, google) if table.name == name
    ]
    return sql


def test_the_statement_over_months_names_every_column_and_the_objects(google: GoogleSettings) -> None:
    sql = statement("ny_taxi.fhv_trips_external", replace(google, bucket="mine"))
    assert (
        sql
        == """CREATE OR REPLACE EXTERNAL TABLE `ny_taxi.fhv_trips_external` (
  `dispatching_base_num` STRING OPTIONS (description = "licence of the base that sent the car"),
  `pickup_datetime` DATETIME OPTIONS (description = "pickup, NYC wall clock"),
  `dropoff_datetime` DATETIME OPTIONS (description = "drop-off, NYC wall clock"),
  `PULocationID` INT64 OPTIONS (description = "taxi zone of the pickup, 1 to 265"),
  `DOLocationID` INT64 OPTIONS (description = "taxi zone of the drop-off, 1 to 265"),
  `SR_Flag` STRING OPTIONS (description = "1 for a trip of a shared-ride chain; other values occur"),
  `Affiliated_base_number` STRING OPTIONS (description = "licence of the base the car is affiliated with")
)
OPTIONS (
  format = 'PARQUET',
  uris = ['gs://mine/trips/fhv/*.parquet'],
  description = 'Accepted fhv trips, read from the bucket; times are NYC wall clock, amounts USD'
)"""
    )


def test_the_statement_over_days_has_them_as_a_partition_column(google: GoogleSettings) -> None:
    sql = statement("ny_taxi.green_trips_by_day_external", replace(google, bucket="mine"))
    assert sql.endswith("""
)
WITH PARTITION COLUMNS (lpep_pickup_date DATE)
OPTIONS (
  format = 'PARQUET',
  uris = ['gs://mine/trips_by_day/green/*'],
  hive_partition_uri_prefix = 'gs://mine/trips_by_day/green',
  description = 'Accepted green trips, read from the bucket; times are NYC wall clock, amounts USD'
)""")
    assert "`fare_amount` FLOAT64 OPTIONS" in sql


def test_the_emulator_is_not_asked_for_what_it_has_not(google: GoogleSettings) -> None:
    with pytest.raises(TargetUnavailable, match="the emulator on this machine has no external tables"):
        next(make_external([GREEN], google))


@pytest.fixture
def real(google: GoogleSettings, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> GoogleSettings:
    """Settings of a BigQuery that is no emulator, and that answers as `httpserver` does."""
    there = bigquery_client(replace(google, bigquery_emulator=httpserver.url_for("").rstrip("/")))
    monkeypatch.setattr(external, "bigquery_client", lambda settings: there)
    return replace(google, bigquery_emulator="")


def answer_jobs(httpserver: HTTPServer) -> list[str]:
    """Let every query succeed; the statements that were sent."""
    sent: list[str] = []

    def job(request: Request) -> Response:
        body = json.loads(request.data)
        sent.append(body["configuration"]["query"]["query"])
        done = {
            **body,
            "status": {"state": "DONE"},
            "statistics": {"query": {"statementType": "CREATE_EXTERNAL_TABLE"}},
        }
        return Response(json.dumps(done), mimetype="application/json")

    httpserver.expect_request(JOBS, method="POST").respond_with_handler(job)
    answer = {"jobComplete": True, "jobReference": {"projectId": "nyc-taxi-local", "jobId": "j"}, "totalRows": "0"}
    httpserver.expect_request(re.compile("/bigquery/v2/projects/[^/]+/queries/.*")).respond_with_json(answer)
    return sent


def test_a_table_is_made_where_there_are_objects_and_replaced_where_it_is_an_external_one(
    real: GoogleSettings, httpserver: HTTPServer
) -> None:
    bucket_of(real).blob("trips/green/green_tripdata_2021-01.parquet").upload_from_string(b"PAR1")
    bucket_of(real).blob("trips_by_day/green/lpep_pickup_date=2021-01-01/x.parquet").upload_from_string(b"PAR1")
    there = {"type": "EXTERNAL", "tableReference": TABLE}
    httpserver.expect_request(f"{TABLES}/green_trips_external").respond_with_json(there)
    httpserver.expect_request(f"{TABLES}/green_trips_by_day_external").respond_with_json({"error": {}}, status=404)
    sent = answer_jobs(httpserver)
    said = list(make_external([GREEN, SERVICES["fhv"]], real))
    assert sent == [table.sql for table in external_tables(GREEN, real)]
    assert said == [
        f"ny_taxi.green_trips_external: reads gs://{real.bucket}/trips/green/",
        f"ny_taxi.green_trips_by_day_external: reads gs://{real.bucket}/trips_by_day/green/",
        f"ny_taxi.fhv_trips_external: left out, gs://{real.bucket}/trips/fhv/ holds no object",
        f"ny_taxi.fhv_trips_by_day_external: left out, gs://{real.bucket}/trips_by_day/fhv/ holds no object",
    ]


def test_a_table_of_that_name_with_rows_of_its_own_stays(real: GoogleSettings, httpserver: HTTPServer) -> None:
    bucket_of(real).blob("trips/green/green_tripdata_2021-01.parquet").upload_from_string(b"PAR1")
    there = {"type": "TABLE", "tableReference": TABLE}
    httpserver.expect_request(f"{TABLES}/green_trips_external").respond_with_json(there)
    sent = answer_jobs(httpserver)
    with pytest.raises(TargetUnavailable, match=r"nyc-taxi-local.ny_taxi.t is no external table: rename it"):
        list(make_external([GREEN], real))
    assert sent == []
