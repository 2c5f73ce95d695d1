"""
Tables of BigQuery that read the bucket's objects where they are: nothing is loaded, each query reads the objects.

Beside the tables that months are loaded into, which are faster and cheaper to ask again and again.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from google.api_core.exceptions import NotFound
from google.cloud.storage import Bucket

from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import TargetUnavailable
from nyc_taxi.google import REQUEST_SECONDS, bigquery_client, bigquery_retry, bucket_of, google_errors, retry
from nyc_taxi.load.bigquery.tables import columns
from nyc_taxi.load.bucket.days import day_object, partition_column
from nyc_taxi.load.bucket.pair import month_object
from nyc_taxi.months import Month
from nyc_taxi.settings import GoogleSettings

SQL_TYPES = {"INTEGER": "INT64", "FLOAT": "FLOAT64"}
"""BigQuery's names in SQL, where they are others than those of its REST API."""


@dataclass(frozen=True)
class ExternalTable:
    """A table to be made, the statement that makes it, and where its objects are."""

    name: str
    """dataset.table."""
    prefix: str
    sql: str


def external_tables(service: Service, google: GoogleSettings) -> Iterator[ExternalTable]:
    """The service's two: over the objects of months, and over those of days, which BigQuery prunes by the day."""
    months = month_object(service, Month(2021, 1)).rpartition("/")[0]
    days = day_object(service, Month(2021, 1), "*").partition(f"/{partition_column(service)}")[0]
    by_day = f"\nWITH PARTITION COLUMNS ({partition_column(service)} DATE)"
    prefix = f",\n  hive_partition_uri_prefix = 'gs://{google.bucket}/{days}'"
    yield _table(service, f"{service.name}_trips_external", months, "*.parquet", google)
    yield _table(service, f"{service.name}_trips_by_day_external", days, "*", google, by_day, prefix)


def make_external(services: Iterable[Service], google: GoogleSettings) -> Iterator[str]:
    """
    Make the tables, or put them in the place of those of before; say what became of each.

    Raises TargetUnavailable for the emulator, which has no such tables, for a table of that name that is no external
    one, and where BigQuery cannot be reached or refuses.
    """
    if google.bigquery_emulator:
        raise TargetUnavailable(
            "the emulator on this machine has no external tables: `taxi external --print` shows the statements, "
            "and `taxi sql --on bucket` asks the same objects"
        )
    bucket, client = bucket_of(google), bigquery_client(google)
    for table in (table for service in services for table in external_tables(service, google)):
        with google_errors(f"BigQuery {client.project}.{table.name}", google):
            if _is_empty(bucket, table.prefix):
                yield f"{table.name}: left out, gs://{google.bucket}/{table.prefix} holds no object"
                continue
            with suppress(NotFound):
                there = client.get_table(
                    f"{client.project}.{table.name}", retry=bigquery_retry(), timeout=REQUEST_SECONDS
                )
                if there.table_type != "EXTERNAL":
                    raise TargetUnavailable(f"BigQuery table {there} is no external table: rename it, and run again")
            job = client.query(table.sql, retry=bigquery_retry(), timeout=REQUEST_SECONDS, job_retry=None)
            job.result(retry=bigquery_retry(), timeout=REQUEST_SECONDS, job_retry=None)
            yield f"{table.name}: reads gs://{google.bucket}/{table.prefix}"


def _table(
    service: Service, name: str, folder: str, wildcard: str, google: GoogleSettings, by_day: str = "", prefix: str = ""
) -> ExternalTable:
    listed = ",\n  ".join(
        f"`{field.name}` {SQL_TYPES.get(field.field_type, field.field_type)}"
        + (f" OPTIONS (description = {json.dumps(field.description)})" if field.description else "")
        for field in columns(service, tlc_names=True)
    )
    sql = (
        f"CREATE OR REPLACE EXTERNAL TABLE `{google.dataset}.{name}` (\n  {listed}\n){by_day}\nOPTIONS (\n"
        f"  format = 'PARQUET',\n  uris = ['gs://{google.bucket}/{folder}/{wildcard}']{prefix},\n"
        f"  description = 'Accepted {service.name} trips, read from the bucket; times are NYC wall clock, amounts USD'"
        "\n)"
    )
    return ExternalTable(f"{google.dataset}.{name}", f"{folder}/", sql)


def _is_empty(bucket: Bucket, prefix: str) -> bool:
    found = bucket.list_blobs(prefix=prefix, max_results=1, timeout=REQUEST_SECONDS, retry=retry())
    return next(iter(found), None) is None
