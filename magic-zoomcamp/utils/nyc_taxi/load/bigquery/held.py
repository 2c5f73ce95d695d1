"""What BigQuery holds of all months: rows by its list of partitions, which is metadata; sums only by reading trips."""

import re

from nyc_taxi.catalog.services import SERVICES, Service
from nyc_taxi.google import bigquery_client, bigquery_rows, google_errors
from nyc_taxi.load.bigquery.tables import FILE_MONTH
from nyc_taxi.load.holding import PATIENCE_SECONDS, Holding, Holdings
from nyc_taxi.months import Month
from nyc_taxi.settings import GoogleSettings

PARTITION_ID = re.compile(r"\d{6}")


def held_months(google: GoogleSettings) -> Holdings:
    """The months that are partitions, with their rows; nothing where there is no table yet. TargetUnavailable."""
    by_table = {service.table: service.name for service in SERVICES.values()}
    names = ", ".join(f"'{table}'" for table in by_table)
    client = bigquery_client(google)
    sql = (
        f"SELECT table_name, partition_id, total_rows, last_modified_time "
        f"FROM `{client.project}.{google.dataset}.INFORMATION_SCHEMA.PARTITIONS` "
        f"WHERE table_name IN ({names}) AND total_rows > 0"
    )
    with google_errors(f"BigQuery {client.project}.{google.dataset}", google):
        return {
            (by_table[table], Month(int(partition[:4]), int(partition[4:]))): Holding(rows, loaded_at=changed)
            for table, partition, rows, changed in bigquery_rows(client, sql, PATIENCE_SECONDS)
            if PARTITION_ID.fullmatch(partition or "")
        }


def sum_months(google: GoogleSettings, service: Service, first: Month, last: Month) -> Holdings:
    """Rows and sums of each month, counted in the trips themselves: BigQuery charges for the columns it sums."""
    client = bigquery_client(google)
    sums = "".join(f", CAST(COALESCE(SUM({name}), 0) AS FLOAT64)" for name in service.measures)
    table = f"{client.project}.{google.dataset}.{service.table}"
    sql = (
        f"SELECT {FILE_MONTH}, COUNT(*){sums} FROM `{table}` "
        f"WHERE {FILE_MONTH} BETWEEN DATE '{first.first_day}' AND DATE '{last.first_day}' GROUP BY {FILE_MONTH}"
    )
    with google_errors(f"BigQuery {table}", google):
        found = bigquery_rows(client, sql, PATIENCE_SECONDS)
    return {
        (service.name, Month.of(day)): Holding(rows, dict(zip(service.measures, totals, strict=True)))
        for day, rows, *totals in found
    }
