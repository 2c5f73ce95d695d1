"""A piece of the stream into Postgres: trips, rejected trips, no trips, the zone-minutes and the position, together."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from psycopg2.extensions import cursor as Cursor

from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import StreamRefused
from nyc_taxi.live.judge import MESSAGE, Judged
from nyc_taxi.live.reader import Position
from nyc_taxi.live.tables import MINUTES, NOT_TRIPS, POSITION, LiveTables, ensure_live_tables, forget_stream
from nyc_taxi.load.postgres.binary_copy import copy_batches
from nyc_taxi.load.postgres.connection import connect, explained, is_there, opened
from nyc_taxi.months import Month
from nyc_taxi.settings import PostgresSettings

ZONE, PASSENGERS = "PULocationID", "passenger_count"


def stored_position(settings: PostgresSettings, service: Service) -> Position:
    """The last message of the service's stream that is stored; the tables are made where it has none yet."""
    tables = LiveTables(settings.schema, service)
    with connect(settings) as connection, connection.cursor() as cursor:
        ensure_live_tables(cursor, tables)
        connection.commit()
        return _position(cursor, tables, "")


def stored_of_month(settings: PostgresSettings, service: Service, month: Month) -> int:
    """How many messages of a replayed month are stored, as accepted or rejected trips."""
    tables, total = LiveTables(settings.schema, service), 0
    with connect(settings) as connection, connection.cursor() as cursor:
        for name in (tables.trips, tables.rejected):
            if is_there(cursor, name):
                cursor.execute(f"SELECT count(*) FROM {name} WHERE file_month = %s", (month.first_day,))
                total += cursor.fetchall()[0][0]
    return total


def forget(settings: PostgresSettings, service: Service) -> None:
    """Drop what is stored of a service's stream, all of it at once; what batch pipelines loaded stays."""
    with connect(settings) as connection, connection.cursor() as cursor:
        forget_stream(cursor, LiveTables(settings.schema, service))
        connection.commit()


class Store:
    """Where judged pieces go, over one connection; TargetUnavailable and StorageFull say why one does not."""

    def __init__(self, settings: PostgresSettings, service: Service) -> None:
        self.settings, self.tables = settings, LiveTables(settings.schema, service)
        self._connection: Any = None

    def write(self, judged: Judged) -> None:
        """
        Store a piece and its position in one transaction; what is stored already is left out. After an error: `close`.

        StreamRefused when the position was moved by another hand, so that messages would be left out.
        """
        piece, service = judged.piece, self.tables.service
        with self._transaction() as cursor:
            stored = _position(cursor, self.tables, "FOR UPDATE").last
            if piece.last <= stored:
                return
            if piece.first > stored + 1:
                raise StreamRefused(
                    f"{self.tables.shared(POSITION)} of {service.name}: message {stored + 1:,} is due, but "
                    f"{piece.first:,} came: somebody has changed the position; the next start goes by it"
                )
            accepted, rejected, not_trips = (
                _after(stored, rows) for rows in (judged.accepted, judged.rejected, judged.not_trips)
            )
            _copy(cursor, self.tables.trips, accepted)
            _copy(cursor, self.tables.rejected, rejected)
            _copy(cursor, self.tables.shared(NOT_TRIPS), _with_service(not_trips, service))
            _add_minutes(cursor, self.tables, accepted)
            cursor.execute(
                f"UPDATE {self.tables.shared(POSITION)} SET message = %s, stream_created = %s, stored_at = now(), "
                f"behind_seconds = %s, pickup = coalesce(%s, pickup) WHERE service = %s",
                (piece.last, piece.created, time.time() - piece.sent, _last_pickup(accepted, service), service.name),
            )

    @contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        with explained(self.settings):
            if self._connection is None:
                self._connection = opened(self.settings)
            with self._connection.cursor() as cursor:
                yield cursor
            self._connection.commit()

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _position(cursor: Cursor, tables: LiveTables, lock: str) -> Position:
    cursor.execute(
        f"SELECT message, stream_created FROM {tables.shared(POSITION)} WHERE service = %s {lock}",
        (tables.service.name,),
    )
    row = cursor.fetchone()
    if row is None:
        raise StreamRefused(
            f"{tables.shared(POSITION)} has no row of {tables.service.name} any more: somebody has taken it away"
        )
    return Position(*row)


def _after(stored: int, rows: pa.RecordBatch) -> pa.RecordBatch:
    return rows.filter(pc.greater(rows[MESSAGE], stored))


def _copy(cursor: Cursor, table: str, rows: pa.RecordBatch) -> None:
    if len(rows):
        copy_batches(cursor, table, iter([rows]), freeze=False)


def _with_service(rows: pa.RecordBatch, service: Service) -> pa.RecordBatch:
    return rows.append_column("service", pa.array([service.name] * len(rows), pa.string()))


def _last_pickup(rows: pa.RecordBatch, service: Service) -> object:
    return rows[service.pickup][-1].as_py() if len(rows) else None


def _add_minutes(cursor: Cursor, tables: LiveTables, rows: pa.RecordBatch) -> None:
    """Add the rows to their zone-minutes, whenever they come: a late trip changes its minute."""
    if not len(rows):
        return
    service, names = tables.service, rows.schema.names
    none = pa.nulls(len(rows), pa.int64())
    paid = [pc.fill_null(rows[name], 0.0) for name in service.paid if name in names]
    revenue = paid[0] if paid else pc.fill_null(none.cast(pa.float64()), 0.0)
    for amount in paid[1:]:
        revenue = pc.add(revenue, amount)
    columns = {
        "zone": pc.fill_null(rows[ZONE], 0),
        "minute": pc.floor_temporal(rows[service.pickup], unit="minute"),
        "passengers": pc.fill_null(rows[PASSENGERS] if PASSENGERS in names else none, 0),
        "revenue": revenue,
    }
    summed = [("minute", "count"), ("passengers", "sum"), ("revenue", "sum")]
    found = pa.table(columns).group_by(["zone", "minute"]).aggregate(summed).combine_chunks()
    [batch] = found.rename_columns(["zone", "minute", "trips", "passengers", "revenue"]).to_batches()
    cursor.execute(f"CREATE TEMP TABLE IF NOT EXISTS live_piece (LIKE {tables.shared(MINUTES)}) ON COMMIT DELETE ROWS")
    _copy(cursor, "live_piece", _with_service(batch, service))
    cursor.execute(
        f"INSERT INTO {tables.shared(MINUTES)} AS held SELECT * FROM live_piece "
        "ON CONFLICT (service, zone, minute) DO UPDATE SET trips = held.trips + excluded.trips, "
        "passengers = held.passengers + excluded.passengers, revenue = held.revenue + excluded.revenue"
    )
