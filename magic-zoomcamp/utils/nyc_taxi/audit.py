"""The load history: one row per load in `load_audit`, written in the transaction that replaces the month."""

import json
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor

from nyc_taxi.manifest import StagedFile

AUDIT_TABLE = "load_audit"
COLUMNS = {
    "service": "text NOT NULL",
    "file_month": "date NOT NULL",
    "origin": "text NOT NULL",
    "target": "text NOT NULL",
    "url": "text NOT NULL",
    "etag": "text NOT NULL",
    "bytes": "bigint NOT NULL",
    "sha256": "text NOT NULL",
    "rules": "jsonb NOT NULL",
    "rows_read": "bigint NOT NULL",
    "rows_accepted": "bigint NOT NULL",
    "rows_rejected": "bigint NOT NULL",
    "rejected": "jsonb NOT NULL",
    "sums": "jsonb NOT NULL",
    "columns_dropped": "jsonb NOT NULL",
    "seconds": "double precision NOT NULL",
}


@dataclass(frozen=True)
class Load:
    """A month, loaded into a target."""

    file: StagedFile
    target: str
    """Such as `ny_taxi.yellow_cab_data`."""
    seconds: float


def ddl(schema: str) -> str:
    """The audit table; conservation is a constraint, so that no load can break it unseen."""
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    return (
        f"CREATE TABLE IF NOT EXISTS {schema}.{AUDIT_TABLE} (load_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
        f"loaded_at timestamptz NOT NULL DEFAULT clock_timestamp(), {columns}, "
        f"CONSTRAINT rows_conserved CHECK (rows_read = rows_accepted + rows_rejected))"
    )


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
        "seconds": round(load.seconds, 3),
    }
    marks = ", ".join(["%s"] * len(values))
    cursor.execute(f"INSERT INTO {schema}.{AUDIT_TABLE} ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))
