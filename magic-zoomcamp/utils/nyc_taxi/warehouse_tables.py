"""The tables of trips in BigQuery: one per service, a partition per month, made and extended but never dropped."""

from google.api_core import exceptions
from google.cloud import bigquery

from nyc_taxi.errors import TargetUnavailable
from nyc_taxi.google_clients import REQUEST_SECONDS, bigquery_retry
from nyc_taxi.services import REAL, SMALL, TEXT, TIME, WHOLE, Service
from nyc_taxi.settings import GoogleSettings

TYPES = {SMALL: "INTEGER", WHOLE: "INTEGER", REAL: "FLOAT", TEXT: "STRING", TIME: "DATETIME"}
"""BigQuery's REST names; in SQL they are INT64, FLOAT64, STRING and DATETIME, which has no zone, like the trips."""
FILE_MONTH = "file_month"
UPDATE_ATTEMPTS = 5


def columns(service: Service, *, tlc_names: bool = False) -> list[bigquery.SchemaField]:
    """The service's columns, in lower case as in Postgres, or as TLC spells them."""
    return [
        bigquery.SchemaField(name if tlc_names else name.lower(), TYPES[kind], description=text)
        for name, kind, text in service.columns
    ]


def table_of(service: Service, client: bigquery.Client, google: GoogleSettings) -> bigquery.Table:
    """The definition of the service's table. A month is a partition; in it, trips lie by pickup time and zone."""
    month = bigquery.SchemaField(
        FILE_MONTH, "DATE", mode="REQUIRED", description="first day of the month of the trip file"
    )
    table = bigquery.Table(
        f"{client.project}.{google.dataset}.{service.table}", schema=[*columns(service), month]
    )
    table.time_partitioning = bigquery.TimePartitioning(type_=bigquery.TimePartitioningType.MONTH, field=FILE_MONTH)
    table.clustering_fields = [service.pickup.lower(), "pulocationid"]
    table.description = f"Accepted {service.name} trips by month of trip file; times are NYC wall clock, amounts USD"
    return table


def ensure_table(service: Service, client: bigquery.Client, google: GoogleSettings) -> bigquery.Table:
    """
    The service's table, made when it is missing, with the columns that the service got since it was made.

    Runs that do it at the same time do not disturb each other. TargetUnavailable when a table of that name was made by
    something else.
    """
    wanted = table_of(service, client, google)
    for attempt in range(1, UPDATE_ATTEMPTS + 1):
        there = client.create_table(wanted, exists_ok=True, retry=bigquery_retry(), timeout=REQUEST_SECONDS)
        if there.time_partitioning is None or there.time_partitioning.field != FILE_MONTH:
            raise TargetUnavailable(
                f"BigQuery table {there.full_table_id} is not partitioned by {FILE_MONTH}, so that this project did "
                f"not make it: rename it, or set BIGQUERY_DATASET to another data set"
            )
        known = {field.name.lower() for field in there.schema}
        missing = [field for field in wanted.schema if field.name not in known]
        if not missing:
            return there
        there.schema = [*there.schema, *missing]
        try:
            return client.update_table(there, ["schema"], retry=bigquery_retry(), timeout=REQUEST_SECONDS)
        except exceptions.PreconditionFailed:  # another run added them, or some, since we read the table
            if attempt == UPDATE_ATTEMPTS:
                raise
    raise AssertionError("unreachable")
