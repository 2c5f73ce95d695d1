"""
The load history in `load_audit`: one row per month loaded, and one per block of a run that failed.

The row of a load is written in the transaction that replaces the month; that of a failure by whoever sees it fail.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from psycopg2.extensions import cursor as Cursor

from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import TargetUnavailable
from nyc_taxi.load.postgres.connection import is_there
from nyc_taxi.manifest import StagedFile
from nyc_taxi.months import Month

AUDIT_TABLE = "load_audit"
LOADED, FAILED = "loaded", "failed"
OF_A_LOAD = {
    "service": "text",
    "file_month": "date",
    "origin": "text",
    "target": "text",
    "url": "text",
    "etag": "text",
    "bytes": "bigint",
    "sha256": "text",
    "rules": "jsonb",
    "rows_read": "bigint",
    "rows_accepted": "bigint",
    "rows_rejected": "bigint",
    "rejected": "jsonb",
    "sums": "jsonb",
    "columns_dropped": "jsonb",
    "seconds": "double precision",
}
"""Every one of them is there in the row of a load; in that of a failure, what its run names."""
LATER = {"columns_missing": "jsonb", "warned": "jsonb"}
"""Columns of a load that the first audit tables did not have: null in rows of before."""
OF_A_RUN = {
    "status": f"text NOT NULL DEFAULT '{LOADED}'",
    "pipeline": "text",
    "block": "text",
    "error": "text",
    "run_id": "text",
}
"""Whether it loaded; where, why and in which of Mage's pipeline runs it failed."""
CONSTRAINTS = {
    "rows_conserved": "rows_read = rows_accepted + rows_rejected",
    "loads_are_complete": f"status = '{FAILED}' OR num_nulls({', '.join(OF_A_LOAD)}) = 0",
    "failures_say_why": f"status = '{LOADED}' OR (status = '{FAILED}' AND num_nulls(pipeline, block, error) = 0)",
}
"""No load can lose rows unseen, and no failure can pass for a load."""


@dataclass(frozen=True)
class Load:
    """A month, loaded into a target."""

    file: StagedFile
    target: str
    """Such as `ny_taxi.yellow_cab_data`."""
    seconds: float


@dataclass(frozen=True)
class FailedRun:
    """A block of a pipeline run that failed, its retries included."""

    pipeline: str
    block: str
    run_id: str
    """Mage's pipeline_run_id."""
    error: str
    """One line: the kind of error and its message."""
    service: str | None
    """This, month and origin: what the run's variables name; None where they name none."""
    month: date | None
    """Its first day."""
    origin: str | None


@dataclass(frozen=True)
class LastLoad:
    """What the last load of a month into a target was made of."""

    url: str
    etag: str
    sha256: str
    rules: tuple[str, ...]
    rows_accepted: int
    rows_rejected: int
    sums: Mapping[str, float]


def ensure(cursor: Cursor, schema: str) -> None:
    """
    Create the audit table, or bring an older one into its present form; no row is lost.

    Raises TargetUnavailable for a table of that name that this project did not make, which stays as it is.
    """
    table = f"{schema}.{AUDIT_TABLE}"
    if is_there(cursor, table) and not _has(cursor, table, OF_A_LOAD):
        raise TargetUnavailable(
            f"{table} was not made by this project: rename it, or set POSTGRES_SCHEMA to another schema, and run again"
        )
    columns = ", ".join(f"{name} {kind}" for name, kind in (OF_A_LOAD | LATER | OF_A_RUN).items())
    checks = [f"CONSTRAINT {name} CHECK ({rule})" for name, rule in CONSTRAINTS.items()]
    cursor.execute(
        f"CREATE TABLE IF NOT EXISTS {table} (load_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
        f"loaded_at timestamptz NOT NULL DEFAULT clock_timestamp(), {columns}, {', '.join(checks)})"
    )
    if is_current(cursor, schema):
        return
    later = ", ".join(f"ADD COLUMN IF NOT EXISTS {name} {kind}" for name, kind in LATER.items())
    cursor.execute(f"ALTER TABLE {table} {later}")
    if is_current(cursor, schema):
        return
    nullable = ", ".join(f"ALTER COLUMN {name} DROP NOT NULL" for name in OF_A_LOAD)
    added = ", ".join(f"ADD COLUMN {name} {kind}" for name, kind in OF_A_RUN.items())
    cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS rows_conserved, {nullable}, {added}")
    cursor.execute(f"ALTER TABLE {table} {', '.join(f'ADD {check}' for check in checks)}")


def is_current(cursor: Cursor, schema: str) -> bool:
    """Whether the audit table is there in its present form; from the catalog, which takes no lock on it."""
    return _has(cursor, f"{schema}.{AUDIT_TABLE}", LATER | OF_A_RUN)


def _has(cursor: Cursor, table: str, columns: Mapping[str, str]) -> bool:
    cursor.execute(
        "SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = ANY(%s) AND NOT attisdropped",
        (table, list(columns)),
    )
    return cursor.fetchone() == (len(columns),)


def record(cursor: Cursor, schema: str, load: Load) -> None:
    """Write the load's audit row; the caller commits it together with the rows."""
    file = load.file
    values = {
        "service": file.service_name,
        "file_month": file.month.first_day,
        "origin": file.origin,
        "target": load.target,
        "url": file.url,
        "etag": file.etag,
        "bytes": file.bytes,
        "sha256": file.sha256,
        "rules": json.dumps(file.rules),
        "rows_read": file.rows_read,
        "rows_accepted": file.rows_accepted,
        "rows_rejected": file.rows_rejected,
        "rejected": json.dumps(file.rejected),
        "sums": json.dumps(file.sums),
        "columns_dropped": json.dumps(file.columns_dropped),
        "columns_missing": json.dumps(file.columns_missing),
        "warned": json.dumps(file.warned),
        "seconds": round(load.seconds, 3),
    }
    _insert(cursor, schema, values)


def record_failure(cursor: Cursor, schema: str, failed: FailedRun) -> None:
    """Write the failure's audit row; the caller commits it."""
    values = {
        "status": FAILED,
        "pipeline": failed.pipeline,
        "block": failed.block,
        "run_id": failed.run_id,
        "error": failed.error,
        "service": failed.service,
        "file_month": failed.month,
        "origin": failed.origin,
    }
    _insert(cursor, schema, values)


def last_load(cursor: Cursor, schema: str, target: str, service: Service, month: Month) -> LastLoad | None:
    """The last load of a month into a target; None when none is known, nor a table in its present form to ask."""
    if not is_current(cursor, schema):
        return None
    cursor.execute(
        f"SELECT url, etag, sha256, rules, rows_accepted, rows_rejected, sums FROM {schema}.{AUDIT_TABLE} "
        f"WHERE status = %s AND target = %s AND service = %s AND file_month = %s ORDER BY load_id DESC LIMIT 1",
        (LOADED, target, service.name, month.first_day),
    )
    row = cursor.fetchone()
    if row is None:
        return None
    url, etag, sha256, rules, rows_accepted, rows_rejected, sums = row
    return LastLoad(url, etag, sha256, tuple(rules), rows_accepted, rows_rejected, sums)


def _insert(cursor: Cursor, schema: str, values: Mapping[str, object]) -> None:
    marks = ", ".join(["%s"] * len(values))
    cursor.execute(f"INSERT INTO {schema}.{AUDIT_TABLE} ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))
