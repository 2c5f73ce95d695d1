"""Reconciliation: every target is asked what it really holds of a month, and the answers are compared."""

from dataclasses import dataclass

import pandas as pd

from nyc_taxi.catalog.services import Service
from nyc_taxi.google import bigquery_client, bigquery_rows, google_errors
from nyc_taxi.load.bigquery.month import measure_month as measure_in_bigquery
from nyc_taxi.load.bucket.days import day_object
from nyc_taxi.load.bucket.days import measure_month as measure_days
from nyc_taxi.load.bucket.month import count_rejected
from nyc_taxi.load.bucket.month import measure_month as measure_object
from nyc_taxi.load.bucket.pair import month_object
from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.load.postgres.month import measure_month as measure_in_postgres
from nyc_taxi.manifest import StagedFile, sums_agree
from nyc_taxi.months import Month
from nyc_taxi.settings import Settings


@dataclass(frozen=True)
class Held:
    """What one place has of a month."""

    where: str
    rows: int
    sums: dict[str, float]
    """Per measure of the service, in its own unit."""
    rejected: int | None = None
    """Rejected rows; None where none are kept."""


def of_manifest(file: StagedFile) -> Held:
    """What a manifest counts."""
    return Held("manifest", file.rows_accepted, dict(file.sums), file.rows_rejected)


def measure_targets(service: Service, month: Month, settings: Settings) -> list[Held]:
    """
    What Postgres, the month's object, its day partitions and BigQuery hold, in this order.

    The month's object is read again, Postgres and BigQuery count and sum; the day partitions were counted one by one
    when they were written. Raises what the targets raise when one cannot be reached or lacks the month.
    """
    google = settings.google
    rows, rejected, sums = measure_in_postgres(service, month, settings.postgres)
    in_days = measure_days(service, month, google)
    rejected_in_bucket = count_rejected(service, month, google)
    return [
        Held(f"Postgres {settings.postgres.schema}.{service.table}", rows, sums, rejected),
        Held(f"GCS {month_object(service, month)}", *measure_object(service, month, google), rejected_in_bucket),
        Held(f"GCS {day_object(service, month, '*')}", *in_days[:2]),
        Held(f"BigQuery {google.dataset}.{service.table}", *measure_in_bigquery(service, month, google)),
    ]


def measure_marts(service: Service, month: Month, settings: Settings) -> list[Held]:
    """What the last marts in Postgres and BigQuery have of a month of taxi trips: how many, and the sums."""
    asked = (
        "SELECT coalesce(sum(trips), 0), coalesce(sum(miles), 0), coalesce(sum(revenue), 0) FROM "
        f"{{}}_marts.fct_monthly_zone_revenue WHERE service = '{service.name}' "
        f"AND file_month = DATE '{month.first_day}'"
    )
    with connect(settings.postgres) as connection, connection.cursor() as cursor:
        cursor.execute(asked.format(settings.postgres.schema))
        in_postgres = cursor.fetchall()
    client = bigquery_client(settings.google)
    with google_errors(f"BigQuery {settings.google.dataset}_marts", settings.google):
        in_bigquery = bigquery_rows(client, asked.format(settings.google.dataset))
    return [
        Held(f"marts in {where}", int(rows), dict(zip(service.measures, totals, strict=True)))
        for where, [(rows, *totals)] in (("Postgres", in_postgres), ("BigQuery", in_bigquery))
    ]


def reconciles(held: list[Held]) -> bool:
    """Whether each holds the rows and the sums of the first, and those that keep rejected rows the same number."""
    first = held[0]
    kept = {each.rejected for each in held} - {None}
    agree = all(each.rows == first.rows and sums_agree(each.sums, first.sums) for each in held)
    return first.rows > 0 and agree and len(kept) <= 1


def to_frame(held: list[Held]) -> pd.DataFrame:
    """One row per place: where, rows, rejected rows, a column per sum, and whether it agrees with the first one."""
    agrees = [reconciles([held[0], each]) for each in held]
    columns: dict[str, list[object]] = {
        "where": [each.where for each in held],
        "rows": [each.rows for each in held],
        "rejected": [each.rejected for each in held],
    }
    sums = {f"sum of {name}": [each.sums[name] for each in held] for name in held[0].sums}
    return pd.DataFrame({**columns, **sums, "agrees": agrees})
