"""
What Postgres holds of all months: partitions by its catalog, rows by its statistics, the rest by load_audit.

No trip is read. The audit row of a load was written in the transaction that put the partition in place.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from psycopg2.extensions import cursor as Cursor

from nyc_taxi.catalog.services import SERVICES, Service
from nyc_taxi.load.holding import PATIENCE_SECONDS, Holding, Holdings, Key
from nyc_taxi.load.postgres import audit
from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.load.postgres.tables import FILE_MONTH
from nyc_taxi.months import Month
from nyc_taxi.settings import PostgresSettings

PARTITIONS = """
SELECT p.relname, pg_get_expr(c.relpartbound, c.oid), pg_relation_size(c.oid), c.reltuples::bigint,
  pg_stat_get_tuples_inserted(c.oid) - pg_stat_get_tuples_deleted(c.oid), pg_stat_get_live_tuples(c.oid),
  pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid) > 0
FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid JOIN pg_class p ON p.oid = inhparent
JOIN pg_namespace n ON n.oid = p.relnamespace
WHERE n.nspname = %s AND p.relname = ANY(%s) AND p.relkind = 'p'
"""
LOADS = """
SELECT DISTINCT ON (service, file_month) service, file_month, rows_accepted, sums, sha256, rules, origin, url, etag,
  bytes, loaded_at
FROM {table} WHERE status = %s AND target = ANY(%s) ORDER BY service, file_month, load_id DESC
"""
FAILURES = """
SELECT DISTINCT ON (service, file_month, pipeline, block) service, file_month, pipeline, block, error, loaded_at
FROM {table} WHERE status = %s AND num_nulls(service, file_month) = 0
ORDER BY service, file_month, pipeline, block, load_id DESC
"""
_MONTH = re.compile(r"'(\d{4})-(\d\d)-01'")


@dataclass(frozen=True)
class FailedLoad:
    """The last failure of a block on a month."""

    key: Key
    pipeline: str
    block: str
    error: str
    at: datetime


def held_months(settings: PostgresSettings) -> tuple[Holdings, list[FailedLoad]]:
    """
    The months that are partitions, and what failed; nothing where there is no table yet.

    Raises TargetUnavailable where the server cannot be reached or refuses.
    """
    by_table = {service.table: service for service in SERVICES.values()}
    with connect(settings) as connection, connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{PATIENCE_SECONDS:.0f}s'")
        loads, failures = _audited(cursor, settings.schema, list(by_table))
        cursor.execute(PARTITIONS, (settings.schema, list(by_table)))
        held: Holdings = {}
        for table, bound, size, estimate, counted, live, touched in cursor.fetchall():
            months = _MONTH.findall(bound or "")
            if len(months) == 1 and "DEFAULT" not in bound:  # more in one are somebody else's
                key = (by_table[table].name, Month(int(months[0][0]), int(months[0][1])))
                told = () if size == 0 else (counted, live)
                held[key] = _holding(loads.get(key), size == 0, told, estimate, touched)
    return held, failures


def sum_months(settings: PostgresSettings, service: Service, first: Month, last: Month) -> Holdings:
    """Rows and sums of each month, counted in the trips themselves: the partitions of these months are read."""
    sums = "".join(f", coalesce(sum({name.lower()}), 0)::double precision" for name in service.measures)
    with connect(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {FILE_MONTH}, count(*){sums} FROM {settings.schema}.{service.table} "
            f"WHERE {FILE_MONTH} BETWEEN %s AND %s GROUP BY 1",
            (first.first_day, last.first_day),
        )
        return {
            (service.name, Month.of(day)): Holding(rows, dict(zip(service.measures, totals, strict=True)))
            for day, rows, *totals in cursor.fetchall()
        }


def _audited(cursor: Cursor, schema: str, tables: Sequence[str]) -> tuple[Holdings, list[FailedLoad]]:
    """Last loads and failures; none where there is no audit table in its present form."""
    if not audit.is_current(cursor, schema):
        return {}, []
    table = f"{schema}.{audit.AUDIT_TABLE}"
    cursor.execute(LOADS.format(table=table), (audit.LOADED, [f"{schema}.{name}" for name in tables]))
    loads = {}
    for service, day, rows, sums, sha256, rules, origin, url, etag, size, at in cursor.fetchall():
        loads[_key(service, day)] = Holding(rows, sums, sha256, tuple(rules), origin, url, etag, size, at)
    cursor.execute(FAILURES.format(table=table), (audit.FAILED,))
    return loads, [
        FailedLoad(_key(service, day), pipeline, block, error, at)
        for service, day, pipeline, block, error, at in cursor.fetchall()
    ]


def _key(service: str, day: date) -> Key:
    return service, Month.of(day)


def _holding(load: Holding | None, empty: bool, told: Sequence[int], estimate: int, touched: bool) -> Holding:
    """
    The load, if its rows are those that the server tells; else what the server tells, and that the two differ.

    The statistics count rows as they come and go, those of a transaction that was undone too, or estimate after an
    ANALYZE; they are 0 after a crash. So one of the two numbers that fits is enough, and none but 0 is no objection.
    """
    known = [rows for rows in told if rows > 0]
    if load is None:
        rows = 0 if empty else next(iter(known), estimate if estimate >= 0 else None)
        return Holding(rows, odd=("load_audit knows no load of it",))
    if empty or (known and load.rows not in known):
        rows = known[0] if known else 0
        return replace(load, rows=rows, sums=None, odd=(f"load_audit says that {load.rows:,} rows were loaded",))
    if touched:
        return replace(load, sums=None, odd=("rows of it were changed after the load",))
    return load
