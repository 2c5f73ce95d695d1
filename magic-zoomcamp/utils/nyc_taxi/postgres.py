"""
One month into Postgres: copied beside the table, then swapped in as its partition in one transaction.

Readers see the old month or the new one, and wait for the swap only. Whatever interrupts a load leaves the old month.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2.extensions import cursor as Cursor

from nyc_taxi import audit, quality
from nyc_taxi.binary_copy import copy_batches
from nyc_taxi.database import connect
from nyc_taxi.errors import CountsDisagree
from nyc_taxi.manifest import StagedFile, sums_agree
from nyc_taxi.months import Month
from nyc_taxi.services import REAL, SERVICES, SMALL, TEXT, TIME, WHOLE, Service
from nyc_taxi.settings import PostgresSettings
from nyc_taxi.streams import Spool

TYPES = {
    SMALL: "integer",
    WHOLE: "bigint",
    REAL: "double precision",
    TEXT: "text",
    TIME: "timestamp",
    pa.date32(): "date",
}
REJECTED_COLUMNS = {"reason": TEXT, "source_row": WHOLE, "source_text": TEXT}
"""Why a row was rejected and, for one that could not be parsed, its place in the trip file and its text."""
SWAP_LOCK_TIMEOUT = "2s"
SWAP_ATTEMPTS = 60


@dataclass(frozen=True)
class _Table:
    """A partitioned table of months, with its canonical columns in Postgres' types."""

    schema: str
    name: str
    columns: dict[str, pa.DataType]
    pickup: str

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    def partition(self, month: Month) -> str:
        """schema.name of the month's partition."""
        return f"{self.full_name}_{month.year:04d}_{month.number:02d}"

    def new(self, month: Month) -> str:
        """schema.name of the table that becomes the month's partition."""
        return f"{self.partition(month)}_new"

    def column_list(self) -> str:
        return ", ".join(f"{name} {TYPES[kind]}" for name, kind in self.columns.items())


def _tables(service: Service, schema: str) -> tuple[_Table, _Table]:
    """The table of accepted rows and that of rejected ones. Lower case, so that SQL needs no quotes."""
    columns = {name.lower(): kind for name, kind, _ in service.columns}
    pickup = service.pickup.lower()
    return (
        _Table(schema, service.table, columns, pickup),
        _Table(schema, f"{service.table}_rejected", columns | REJECTED_COLUMNS, pickup),
    )


def replace_month(file: StagedFile, settings: PostgresSettings) -> audit.Load:
    """
    Replace the file's month in its service's tables, atomically, with the audit row.

    Raises CountsDisagree (nothing changed) if the rows written are not those counted in the manifest,
    NotATripFile if the staged file is gone, TargetUnavailable or StorageFull if the server cannot be reached, refuses
    or is full.
    """
    file.check_conservation()
    started = time.monotonic()
    tables = _tables(file.service, settings.schema)
    with connect(settings) as connection, connection.cursor() as cursor:
        giving_way(cursor, settings.schema, lambda: _ensure_tables(cursor, settings.schema))
        connection.commit()
        one_at_a_time(cursor, f"{tables[0].full_name} {file.month}")
        for table in tables:
            _create(cursor, table, file.month)
        _copy(cursor, *tables, file)
        giving_way(cursor, tables[0].full_name, lambda: _swap(cursor, file.month, tables))
        load = audit.Load(file, tables[0].full_name, time.monotonic() - started)
        audit.record(cursor, settings.schema, load)
        connection.commit()
    said = f"{file.rows_accepted:,} rows in {load.seconds:.1f} s, {file.rows_rejected:,} set aside"
    print(f"{load.target} {file.month}: {said}", flush=True)
    return load


def measure_month(service: Service, month: Month, settings: PostgresSettings) -> tuple[int, int, dict[str, float]]:
    """What Postgres holds of a month: rows, rejected rows, and the sum of each of the service's measures."""
    kept, rejected = _tables(service, settings.schema)
    day = f"DATE '{month.first_day}'"
    sums = "".join(f", coalesce(sum({name.lower()}), 0)::double precision" for name in service.measures)
    with connect(settings) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*){sums} FROM {kept.full_name} WHERE file_month = {day}")
        rows, *totals = cursor.fetchone() or ()
        cursor.execute(f"SELECT count(*) FROM {rejected.full_name} WHERE file_month = {day}")
        (rows_rejected,) = cursor.fetchone() or ()
    return rows, rows_rejected, dict(zip(service.measures, totals, strict=True))


def check_month(file: StagedFile, settings: PostgresSettings) -> None:
    """Raise CountsDisagree unless Postgres holds exactly the rows and sums that the manifest counts."""
    rows, rows_rejected, sums = measure_month(file.service, file.month, settings)
    expected = (file.rows_accepted, file.rows_rejected)
    if (rows, rows_rejected) != expected or not sums_agree(sums, file.sums):
        raise CountsDisagree(
            f"{file.service_name} {file.month}: the manifest has {expected} rows accepted and rejected and sums "
            f"{file.sums}, Postgres {(rows, rows_rejected)} and {sums}: another run replaced the month, or rows "
            f"were changed by hand"
        )


def _ensure_tables(cursor: Cursor, schema: str) -> None:
    """Create what is missing for any service, and add the columns that TLC added since."""
    tables = [table for service in SERVICES.values() for table in _tables(service, schema)]
    complete = all(set(table.columns) <= _column_names(cursor, table) for table in tables)
    if complete and audit.is_current(cursor, schema):
        return
    ensure_schema(cursor, schema)
    audit.ensure(cursor, schema)
    for table in tables:
        _ensure_table(cursor, table)


def ensure_schema(cursor: Cursor, schema: str) -> None:
    """
    Create the schema if it is missing.

    One process at a time until its transaction ends: two that find a schema or a table missing would both create it.
    """
    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('nyc_taxi tables', 0))")
    cursor.execute("SELECT to_regnamespace(%s) IS NOT NULL", (schema,))
    # Asked first: the statement takes the right to create schemas even where there is nothing to create.
    if cursor.fetchone() == (False,):
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")


def _ensure_table(cursor: Cursor, table: _Table) -> None:
    cursor.execute(
        f"CREATE TABLE IF NOT EXISTS {table.full_name} ({table.column_list()}, file_month date NOT NULL) "
        f"PARTITION BY LIST (file_month)"
    )
    for name in table.columns.keys() - _column_names(cursor, table):
        cursor.execute(f"ALTER TABLE {table.full_name} ADD COLUMN {name} {TYPES[table.columns[name]]}")
    cursor.execute(f"CREATE INDEX IF NOT EXISTS {table.name}_pickup ON {table.full_name} USING brin ({table.pickup})")


def _column_names(cursor: Cursor, table: _Table) -> set[str]:
    """The columns that the table has, none when it does not exist; from the catalog, which takes no lock on it."""
    cursor.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        (table.full_name,),
    )
    return {name for (name,) in cursor.fetchall()}


def one_at_a_time(cursor: Cursor, what: str) -> None:
    """Wait until no other transaction loads the same, such as a month of a table; held until ours ends in any way."""
    cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", (what,))
    if cursor.fetchone() == (False,):
        print(f"{what} is being loaded by another run: waiting for it", flush=True)
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (what,))


def _create(cursor: Cursor, table: _Table, month: Month) -> None:
    """
    A table for the month that no reader knows yet.

    Made in this transaction, it needs no write-ahead log. It takes no lock on the partitioned table: readers and the
    loads of other months go on.
    """
    day = f"DATE '{month.first_day}'"
    cursor.execute(
        f"CREATE TABLE {table.new(month)} ({table.column_list()}, file_month date NOT NULL DEFAULT {day}, "
        f"CONSTRAINT one_month CHECK (file_month = {day}))"
    )


def _copy(cursor: Cursor, kept: _Table, rejected: _Table, file: StagedFile) -> None:
    """Copy the accepted rows, then the rejected ones, into the new tables; the staged file is read once."""
    with Spool(file.staged.parent) as spool:
        rows = copy_batches(cursor, kept.new(file.month), _accepted(file, spool))
        rows_rejected = copy_batches(cursor, rejected.new(file.month), spool.batches())
        rows_rejected += copy_batches(cursor, rejected.new(file.month), _malformed(file))
    if (rows, rows_rejected) != (file.rows_accepted, file.rows_rejected):
        raise CountsDisagree(
            f"{file.service_name} {file.month}: {file.rows_accepted:,} accepted and "
            f"{file.rows_rejected:,} rejected rows expected, {rows:,} and {rows_rejected:,} were copied; "
            f"nothing was changed: run the pipeline again"
        )
    for table in (kept, rejected):
        index = table.new(file.month).split(".")[1]
        cursor.execute(f"CREATE INDEX {index}_pickup ON {table.new(file.month)} USING brin ({table.pickup})")


def _accepted(file: StagedFile, spool: Spool) -> Iterator[pa.RecordBatch]:
    """Stream the accepted rows, and lay the rejected ones aside. Columns that the month does not have are left out."""
    for batch in file.batches(list(file.columns)):
        accepted, rejected = quality.split(batch, file.rules)
        if len(rejected):
            spool.add(rejected)
        if len(accepted):
            yield accepted


def _malformed(file: StagedFile) -> Iterator[pa.RecordBatch]:
    if file.malformed_path:
        yield from (
            pq.read_table(file.malformed_path).rename_columns(["source_row", "source_text", "reason"]).to_batches()
        )


def giving_way(cursor: Cursor, what: str, change: Callable[[], None]) -> None:
    """
    Make a change that shuts readers of a table out for a moment.

    A reader in a long transaction would block the change, and the change every reader behind it: so it gives up after
    SWAP_LOCK_TIMEOUT, or when the two block each other, lets the others pass and tries again.
    """
    for attempt in range(1, SWAP_ATTEMPTS + 1):
        cursor.execute("SAVEPOINT change")
        try:
            cursor.execute(f"SET LOCAL lock_timeout = '{SWAP_LOCK_TIMEOUT}'")
            change()
        except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected):
            if attempt == SWAP_ATTEMPTS:
                raise
            cursor.execute("ROLLBACK TO SAVEPOINT change")
            print(f"{what} is being read; the swap waits ({attempt} of {SWAP_ATTEMPTS})", flush=True)
            time.sleep(random.uniform(0.2, 1.0))
        else:
            cursor.execute("SET LOCAL lock_timeout = 0")
            return


def _swap(cursor: Cursor, month: Month, tables: Sequence[_Table]) -> None:
    """Put the new tables in the place of the month's old partitions."""
    cursor.execute(f"LOCK TABLE {', '.join(table.full_name for table in tables)} IN ACCESS EXCLUSIVE MODE")
    for table in tables:
        name = table.partition(month).split(".")[1]
        cursor.execute(f"DROP TABLE IF EXISTS {table.partition(month)}")
        cursor.execute(f"ALTER TABLE {table.new(month)} RENAME TO {name}")
        cursor.execute(f"ALTER INDEX {table.new(month)}_pickup RENAME TO {name}_pickup")
        cursor.execute(
            f"ALTER TABLE {table.full_name} ATTACH PARTITION {table.partition(month)} "
            f"FOR VALUES IN ('{month.first_day}')"
        )
