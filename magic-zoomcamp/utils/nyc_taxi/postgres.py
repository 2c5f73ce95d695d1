"""
One month into Postgres: copied beside the table, then swapped in as its partition in one transaction.

Readers see the old month or the new one, and wait for the swap only. Whatever interrupts a load leaves the old month.
The copied rows are committed before the swap: a statement that had its snapshot when the swap made it wait would
otherwise find the new partition empty.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from math import isclose
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa
import pyarrow.parquet as pq

from nyc_taxi import audit, quality
from nyc_taxi.errors import CountsDisagree, StorageFull, TargetUnavailable
from nyc_taxi.manifest import StagedFile
from nyc_taxi.months import Month
from nyc_taxi.services import REAL, SMALL, TEXT, TIME, WHOLE, Service
from nyc_taxi.settings import PostgresSettings
from nyc_taxi.streams import Spool, prefetch

TYPES = {SMALL: "integer", WHOLE: "bigint", REAL: "double precision", TEXT: "text", TIME: "timestamp"}
REJECTED_COLUMNS = {"reason": TEXT, "source_row": WHOLE, "source_text": TEXT}
"""Why a row was rejected and, for one that could not be parsed, its place in the trip file and its text."""
SWAP_LOCK_TIMEOUT = "2s"
SWAP_ATTEMPTS = 60
LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED = "55P03", "40P01"
DISK_FULL = "SQLSTATE: 53100"
MENDS = {
    DISK_FULL: "its disk is full: make room there and run again",
    "password authentication failed": "the password is wrong: check POSTGRES_USER and POSTGRES_PASSWORD",
    "no password supplied": "no password was given: set POSTGRES_PASSWORD",
    "no pg_hba.conf entry": "the server lets this user in from elsewhere only: check its pg_hba.conf",
    "Connection refused": "nothing listens there: start the server (make up), or check POSTGRES_HOST and POSTGRES_PORT",
    "could not translate host name": "there is no such host: check POSTGRES_HOST",
    "timeout expired": "it does not answer: check POSTGRES_HOST and the firewall",
    'FATAL: database "': "there is no such database: check POSTGRES_DBNAME",
    **dict.fromkeys(
        ("SQLSTATE: 57P01", "server closed the connection", "the database system is"),
        "the server stopped in the middle, nothing was changed: start it and run again",
    ),
    "SQLSTATE: 42501": "the user may not do this: grant it CREATE on the database, or the ownership of the tables",
    f"SQLSTATE: {LOCK_NOT_AVAILABLE}": "a reader kept the table for minutes: end its transaction and run again",
}
"""What to do, by a sign in the driver's message; the connection's own errors carry no SQLSTATE."""

T = TypeVar("T")


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
    next(file.batches([]), None)  # raises where the staged file is gone, before anything is made here or there
    started = time.monotonic()
    kept, rejected = _tables(file.service, settings.schema)
    with _connection(settings) as connection, connection.cursor() as cursor:

        def swap() -> audit.Load:
            _swap(cursor, file.month, (kept, rejected))
            load = audit.Load(file, kept.full_name, time.monotonic() - started)
            audit.record(cursor, settings.schema, load)
            return load

        _giving_way(connection, kept, lambda: _ensure_tables(cursor, settings.schema, (kept, rejected)))
        _one_at_a_time(cursor, f"{kept.full_name} {file.month}")
        try:
            _create(cursor, kept, file.month)
            _create(cursor, rejected, file.month)
            _copy(cursor, kept, rejected, file)
            connection.commit()
            load = _giving_way(connection, kept, swap)
        except BaseException:
            with suppress(adbc.Error):  # the server may be gone; the month's next run drops them too
                connection.rollback()
                cursor.execute(f"DROP TABLE IF EXISTS {kept.new(file.month)}, {rejected.new(file.month)}")
                connection.commit()
            raise
    said = f"{file.rows_accepted:,} rows in {load.seconds:.1f} s, {file.rows_rejected:,} set aside"
    print(f"{kept.full_name} {file.month}: {said}", flush=True)
    return load


def measure_month(service: Service, month: Month, settings: PostgresSettings) -> tuple[int, int, dict[str, float]]:
    """What Postgres holds of a month: rows, rejected rows, and the sum of each of the service's measures."""
    kept, rejected = _tables(service, settings.schema)
    day = f"DATE '{month.first_day}'"
    sums = "".join(f", coalesce(sum({name.lower()}), 0)::double precision" for name in service.measures)
    with _connection(settings) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*){sums} FROM {kept.full_name} WHERE file_month = {day}")
        [(rows, *totals)] = cursor.fetchall()
        cursor.execute(f"SELECT count(*) FROM {rejected.full_name} WHERE file_month = {day}")
        [(rows_rejected,)] = cursor.fetchall()
    return rows, rows_rejected, dict(zip(service.measures, totals, strict=True))


def check_month(file: StagedFile, settings: PostgresSettings) -> None:
    """Raise CountsDisagree unless Postgres holds exactly the rows and sums that the manifest counts."""
    rows, rows_rejected, sums = measure_month(file.service, file.month, settings)
    expected = (file.rows_accepted, file.rows_rejected)
    # Sums are floating point, added in another order: the same to nine digits is the same.
    agree = all(isclose(sums[name], file.sums[name], rel_tol=1e-9, abs_tol=1e-6) for name in sums)
    if (rows, rows_rejected) != expected or not agree:
        raise CountsDisagree(
            f"{file.service_name} {file.month}: the manifest has {expected} rows accepted and rejected and sums "
            f"{file.sums}, Postgres {(rows, rows_rejected)} and {sums}: another run replaced the month, or rows "
            f"were changed by hand"
        )


@contextmanager
def _connection(settings: PostgresSettings) -> Iterator[adbc.Connection]:
    """A connection whose errors say what to do; what was not committed is rolled back."""
    try:
        with adbc.connect(settings.uri) as connection:
            yield connection
    except adbc.Error as error:
        text = " ".join(str(error).split())
        mend = next((mend for sign, mend in MENDS.items() if sign in text), "see the server's message")
        kind = StorageFull if DISK_FULL in text else TargetUnavailable
        # libpq quotes a malformed address whole, with the password as an address spells it.
        for secret in filter(None, (settings.password, quote(settings.password, ""))):
            text = text.replace(secret, "***")
        raise kind(f"Postgres at {settings.where} as {settings.user}: {mend} [{text}]") from None


def _ensure_tables(cursor: adbc.Cursor, schema: str, tables: Iterable[_Table]) -> None:
    """Create what is missing, and add the columns that TLC added since; one process at a time, or both would create."""
    cursor.execute("SELECT to_regclass($1::text) IS NOT NULL", (f"{schema}.{audit.AUDIT_TABLE}",))
    [(audited,)] = cursor.fetchall()
    if audited and all(set(table.columns) <= _column_names(cursor, table) for table in tables):
        return
    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('nyc_taxi tables', 0))")
    cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    cursor.execute(audit.ddl(schema))
    for table in tables:
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {table.full_name} ({table.column_list()}, file_month date NOT NULL) "
            f"PARTITION BY LIST (file_month)"
        )
        for name in table.columns.keys() - _column_names(cursor, table):
            cursor.execute(f"ALTER TABLE {table.full_name} ADD COLUMN {name} {TYPES[table.columns[name]]}")
        cursor.execute(
            f"CREATE INDEX IF NOT EXISTS {table.name}_pickup ON {table.full_name} USING brin ({table.pickup})"
        )


def _column_names(cursor: adbc.Cursor, table: _Table) -> set[str]:
    """The columns that the table has, none when it does not exist; from the catalog, which takes no lock on it."""
    cursor.execute(
        "SELECT attname::text FROM pg_attribute "
        "WHERE attrelid = to_regclass($1::text) AND attnum > 0 AND NOT attisdropped",
        (table.full_name,),
    )
    return {name for (name,) in cursor.fetchall()}


def _one_at_a_time(cursor: adbc.Cursor, what: str) -> None:
    """Wait until no other connection loads the same table and month; held until ours ends, however it ends."""
    cursor.execute("SELECT pg_try_advisory_lock(hashtextextended($1::text, 0))", (what,))
    [(free,)] = cursor.fetchall()
    if not free:
        print(f"{what} is being loaded by another run: waiting for it", flush=True)
        cursor.execute("SELECT pg_advisory_lock(hashtextextended($1::text, 0))::text", (what,))
        cursor.fetchall()


def _create(cursor: adbc.Cursor, table: _Table, month: Month) -> None:
    """
    A table for the month that no reader knows yet, in the place of one that a run killed before its swap left.

    Made in this transaction, it needs no write-ahead log. It takes no lock on the partitioned table: readers and the
    loads of other months go on.
    """
    day = f"DATE '{month.first_day}'"
    cursor.execute(f"DROP TABLE IF EXISTS {table.new(month)}")
    cursor.execute(
        f"CREATE TABLE {table.new(month)} ({table.column_list()}, file_month date NOT NULL DEFAULT {day}, "
        f"CONSTRAINT one_month CHECK (file_month = {day}))"
    )


def _copy(cursor: adbc.Cursor, kept: _Table, rejected: _Table, file: StagedFile) -> None:
    """Copy the accepted rows, then the rejected ones, into the new tables; the staged file is read once."""
    with Spool(Path(file.path).parent) as spool:
        rows = _ingest(cursor, kept.new(file.month), _accepted(file, spool))
        rows_rejected = _ingest(cursor, rejected.new(file.month), spool.batches())
        rows_rejected += _ingest(cursor, rejected.new(file.month), _malformed(file))
    if (rows, rows_rejected) != (file.rows_accepted, file.rows_rejected):
        raise CountsDisagree(
            f"{file.service_name} {file.month}: {file.rows_accepted:,} accepted and "
            f"{file.rows_rejected:,} rejected rows expected, {rows:,} and {rows_rejected:,} were copied; "
            f"nothing was changed: run the pipeline again"
        )
    for table in (kept, rejected):
        cursor.execute(f"CREATE INDEX ON {table.new(file.month)} USING brin ({table.pickup})")


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


def _ingest(cursor: adbc.Cursor, table: str, batches: Iterator[pa.RecordBatch]) -> int:
    """COPY BINARY the batches into a table given as schema.name; return the number of rows."""
    first = next(batches, None)
    if first is None:
        return 0
    names = pa.schema([(column.name.lower(), column.type) for column in first.schema])
    rows = (pa.record_batch(batch.columns, schema=names) for batch in chain([first], batches))
    schema, name = table.split(".")
    reader = pa.RecordBatchReader.from_batches(names, prefetch(rows))
    copied: int = cursor.adbc_ingest(name, reader, mode="append", db_schema_name=schema)
    return copied


def _giving_way(connection: adbc.Connection, table: _Table, change: Callable[[], T]) -> T:
    """
    Make a change that shuts readers of the table out for a moment, in a transaction of its own.

    A reader in a long transaction would block the change, and the change every reader behind it: so it gives up after
    SWAP_LOCK_TIMEOUT, or when the two block each other, lets the others pass and tries again.
    """
    for attempt in range(1, SWAP_ATTEMPTS + 1):
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{SWAP_LOCK_TIMEOUT}'")
            made = change()
            connection.commit()
            return made
        except adbc.Error as error:
            if error.sqlstate not in (LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED) or attempt == SWAP_ATTEMPTS:
                raise
            # The whole transaction: the driver runs nothing in a failed one, ROLLBACK TO SAVEPOINT neither.
            connection.rollback()
            print(f"{table.full_name} is being read; the swap waits ({attempt} of {SWAP_ATTEMPTS})", flush=True)
            time.sleep(random.uniform(0.2, 1.0))
    raise AssertionError("SWAP_ATTEMPTS is not positive")


def _swap(cursor: adbc.Cursor, month: Month, tables: Sequence[_Table]) -> None:
    """Put the new tables in the place of the month's old partitions."""
    cursor.execute(f"LOCK TABLE {', '.join(table.full_name for table in tables)} IN ACCESS EXCLUSIVE MODE")
    for table in tables:
        _replace_partition(cursor, table, month)


def _replace_partition(cursor: adbc.Cursor, table: _Table, month: Month) -> None:
    partition = table.partition(month)
    cursor.execute(f"DROP TABLE IF EXISTS {partition}")
    cursor.execute(f"ALTER TABLE {table.new(month)} RENAME TO {partition.split('.')[1]}")
    cursor.execute(f"ALTER TABLE {table.full_name} ATTACH PARTITION {partition} FOR VALUES IN ('{month.first_day}')")
