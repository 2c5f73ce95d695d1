"""
One month into Postgres: copied beside the table, then swapped in as its partition in one transaction.

Readers see the old month or the new one, and wait for the swap only. Whatever interrupts a load leaves the old month.
"""

import time
from collections.abc import Iterator, Sequence
from functools import partial

import pyarrow as pa
from psycopg2.extensions import cursor as Cursor

from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import CountsDisagree
from nyc_taxi.files import writing_to
from nyc_taxi.load.postgres import audit
from nyc_taxi.load.postgres.binary_copy import copy_batches
from nyc_taxi.load.postgres.connection import connect, without_time_limits
from nyc_taxi.load.postgres.existing import check_replaceable, check_table, partition_of
from nyc_taxi.load.postgres.inherited import attach, complete, create, rename_indexes, try_out
from nyc_taxi.load.postgres.locks import advisory_lock, with_lock_timeout
from nyc_taxi.load.postgres.tables import Table, ensure_tables, tables_of
from nyc_taxi.manifest import StagedFile, sums_agree
from nyc_taxi.months import Month
from nyc_taxi.settings import PostgresSettings
from nyc_taxi.streams import Spool
from nyc_taxi.transform.rules import judged, malformed, split


def replace_month(file: StagedFile, settings: PostgresSettings) -> audit.Load:
    """
    Replace the file's month in its service's tables, atomically, with the audit row.

    Raises CountsDisagree (nothing changed) if the rows written are not those counted in the manifest,
    NotATripFile if the staged file is gone, StorageFull if the server is full, TargetUnavailable if it cannot be
    reached, refuses, or has something of a user's that the month cannot take the place of.
    """
    file.check_conservation()
    started = time.monotonic()
    tables = tables_of(file.service, settings.schema)
    with connect(settings) as connection, connection.cursor() as cursor:
        without_time_limits(cursor)
        for table in tables:
            check_table(cursor, table)
        with_lock_timeout(cursor, settings.schema, lambda: ensure_tables(cursor, settings.schema, tables))
        connection.commit()
        for table in tables:
            with_lock_timeout(cursor, table.full_name, partial(try_out, cursor, table))
        connection.rollback()
        advisory_lock(cursor, f"{tables[0].full_name} {file.month}")
        for table in tables:
            check_replaceable(cursor, table, file.month)
            # Made in this transaction, it needs no write-ahead log, and no reader knows it yet.
            create(cursor, table, table.new(file.month), str(file.month.first_day))
        _copy(cursor, *tables, file)
        for table in tables:
            complete(cursor, table, table.new(file.month))
        with_lock_timeout(cursor, tables[0].full_name, lambda: _swap(cursor, file.month, tables))
        load = audit.Load(file, tables[0].full_name, time.monotonic() - started)
        audit.record(cursor, settings.schema, load)
        connection.commit()
    said = f"{file.rows_accepted:,} rows in {load.seconds:.1f} s, {file.rows_rejected:,} rejected"
    print(f"{load.target} {file.month}: {said}", flush=True)
    return load


def measure_month(service: Service, month: Month, settings: PostgresSettings) -> tuple[int, int, dict[str, float]]:
    """What Postgres holds of a month: rows, rejected rows, and the sum of each of the service's measures."""
    kept, rejected = tables_of(service, settings.schema)
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


def _copy(cursor: Cursor, kept: Table, rejected: Table, file: StagedFile) -> None:
    """Copy the accepted rows, then the rejected ones, into the new tables; the staged file is read once."""
    folder = file.staged.parent
    with writing_to(folder, full_only=True), Spool(folder) as spool:
        rows = copy_batches(cursor, kept.new(file.month), _accepted(file, spool))
        rows_rejected = copy_batches(cursor, rejected.new(file.month), spool.batches())
        rows_rejected += copy_batches(cursor, rejected.new(file.month), iter(malformed(file)))
    if (rows, rows_rejected) != (file.rows_accepted, file.rows_rejected):
        raise CountsDisagree(
            f"{file.service_name} {file.month}: {file.rows_accepted:,} accepted and "
            f"{file.rows_rejected:,} rejected rows expected, {rows:,} and {rows_rejected:,} were copied; "
            f"nothing was changed: run the pipeline again"
        )


def _accepted(file: StagedFile, spool: Spool) -> Iterator[pa.RecordBatch]:
    """Stream the accepted rows, and spool the rejected ones. Columns that the month does not have are left out."""
    for rows, why in judged(file, file.columns):
        accepted, rejected = split(rows, why)
        if len(rejected):
            spool.add(rejected)
        if len(accepted):
            yield accepted


def _swap(cursor: Cursor, month: Month, tables: Sequence[Table]) -> None:
    """Put the new tables in the place of the month's old partitions."""
    cursor.execute(f"LOCK TABLE {', '.join(table.full_name for table in tables)} IN ACCESS EXCLUSIVE MODE")
    for table in tables:
        name, new = table.partition(month), table.new(month)
        if old := partition_of(cursor, table, month, ours=new):
            cursor.execute(f"DROP TABLE {old}")
        cursor.execute(f"ALTER TABLE {new} RENAME TO {name.split('.')[1]}")
        rename_indexes(cursor, name, before=new)
        attach(cursor, table, name, str(month.first_day))
