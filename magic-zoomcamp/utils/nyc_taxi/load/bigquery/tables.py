"""The tables of trips in BigQuery: one per service, a partition per month, made and extended but never dropped."""

from contextlib import suppress

from google.api_core import exceptions
from google.cloud import bigquery

from nyc_taxi.catalog.columns import REAL, SMALL, TEXT, TIME, WHOLE
from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import TargetUnavailable
from nyc_taxi.google import REQUEST_SECONDS, bigquery_retry
from nyc_taxi.settings import GoogleSettings

TYPES = {SMALL: "INTEGER", WHOLE: "INTEGER", REAL: "FLOAT", TEXT: "STRING", TIME: "DATETIME"}
"""BigQuery's REST names; in SQL they are INT64, FLOAT64, STRING and DATETIME, which has no zone, like the trips."""
FILE_MONTH = "file_month"
ATTEMPTS = 5


def columns(service: Service, *, tlc_names: bool = False) -> list[bigquery.SchemaField]:
    """The service's columns, in lower case as in Postgres, or as TLC spells them."""
    return [
        bigquery.SchemaField(
            column.name if tlc_names else column.name.lower(), TYPES[column.type], description=column.full_description
        )
        for column in service.columns
    ]


def table_of(service: Service, client: bigquery.Client, google: GoogleSettings) -> bigquery.Table:
    """The definition of the service's table. A month is a partition; in it, trips lie by pickup time and zone."""
    month = bigquery.SchemaField(
        FILE_MONTH, "DATE", mode="REQUIRED", description="first day of the month of the trip file"
    )
    table = bigquery.Table(f"{client.project}.{google.dataset}.{service.table}", schema=[*columns(service), month])
    table.time_partitioning = bigquery.TimePartitioning(type_=bigquery.TimePartitioningType.MONTH, field=FILE_MONTH)
    names = {name.lower() for name in service.schema.names}
    table.clustering_fields = [name for name in (service.pickup.lower(), "pulocationid") if name in names]
    table.description = service.about
    return table


def ensure_table(service: Service, client: bigquery.Client, google: GoogleSettings) -> bigquery.Table:
    """
    The service's table, made when it is missing, with the columns that the service got since it was made.

    Runs that do it at the same time do not disturb each other. TargetUnavailable when a table of that name was made by
    something else.
    """
    wanted = table_of(service, client, google)
    for _ in range(ATTEMPTS):
        with suppress(exceptions.Conflict, exceptions.PreconditionFailed):  # another run did it since we looked
            there = _find_or_create(wanted, client)
            missing = _missing(there, wanted)
            if not missing:
                return there
            there.schema = [*there.schema, *missing]
            # Refused when the table is not as we read it: the client sends its ETag.
            return client.update_table(there, ["schema"], retry=bigquery_retry(), timeout=REQUEST_SECONDS)
    raise TargetUnavailable(f"BigQuery table {wanted} is being changed by others: run again")


def _find_or_create(wanted: bigquery.Table, client: bigquery.Client) -> bigquery.Table:
    # Not create_table(exists_ok=True), whose second request waits for a dead server without end.
    try:
        return client.get_table(wanted.reference, retry=bigquery_retry(), timeout=REQUEST_SECONDS)
    except exceptions.NotFound:
        return client.create_table(wanted, retry=bigquery_retry(), timeout=REQUEST_SECONDS)


def _missing(there: bigquery.Table, wanted: bigquery.Table) -> list[bigquery.SchemaField]:
    """The columns that the table lacks; TargetUnavailable when it is not a table of ours."""
    types = {field.name.lower(): field.field_type for field in there.schema}
    strange = [field.name for field in wanted.schema if types.get(field.name, field.field_type) != field.field_type]
    if strange or there.time_partitioning is None or there.time_partitioning.field != FILE_MONTH:
        what = f"has other types in {', '.join(strange)}" if strange else f"is not partitioned by {FILE_MONTH}"
        raise TargetUnavailable(
            f"BigQuery table {there} {what}: this project did not make it; rename it, or set BIGQUERY_DATASET to "
            f"another data set"
        )
    return [field for field in wanted.schema if field.name not in types]
