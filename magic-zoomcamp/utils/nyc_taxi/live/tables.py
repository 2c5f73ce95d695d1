"""The tables of a stream in Postgres: made before its first message, and never silently made anew after it."""

from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor

from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import StreamRefused
from nyc_taxi.load.postgres.connection import is_there
from nyc_taxi.load.postgres.tables import TYPES, comment, ensure_schema

POSITION, MINUTES, NOT_TRIPS = "live_position", "live_zone_minutes", "live_not_trips"
SHARED = {
    POSITION: "service text PRIMARY KEY, message bigint NOT NULL, stream_created text NOT NULL, stored_at timestamptz, "
    "behind_seconds double precision, pickup timestamp without time zone",
    MINUTES: "service text, zone integer, minute timestamp without time zone, trips bigint NOT NULL, "
    "passengers bigint NOT NULL, revenue double precision NOT NULL, PRIMARY KEY (service, zone, minute)",
    NOT_TRIPS: "service text, message bigint, reason text NOT NULL, body text NOT NULL, PRIMARY KEY (service, message)",
}
"""The tables that all services share, with their columns."""
ABOUT = {
    POSITION: "By service, the last message of its stream that is stored, moved in the transaction that stores it",
    MINUTES: "Trips, passengers and revenue in USD by taxi zone, 0 for none, and minute of pickup",
    NOT_TRIPS: "Messages that are no trips, as they came, and why",
}


@dataclass(frozen=True)
class LiveTables:
    """The tables that a service's stream goes to."""

    schema: str
    service: Service

    @property
    def trips(self) -> str:
        """The accepted trips, schema.name."""
        return f"{self.schema}.{self.service.table}_live"

    @property
    def rejected(self) -> str:
        """The rejected trips, with their reasons."""
        return f"{self.trips}_rejected"

    def shared(self, name: str) -> str:
        """A shared table."""
        return f"{self.schema}.{name}"


def ensure_live_tables(cursor: Cursor, tables: LiveTables) -> None:
    """
    Make what is missing before the first message, and the columns that the service has got since.

    StreamRefused for a table that has gone since: made anew, it would hide that its rows are lost.
    """
    ensure_schema(cursor, tables.schema)
    stored: dict[str, int] = {}
    if is_there(cursor, tables.shared(POSITION)):
        cursor.execute(f"SELECT service, message FROM {tables.shared(POSITION)} WHERE message > 0")
        stored = dict(cursor.fetchall())
    last = stored.get(tables.service.name, 0)
    for name, columns in SHARED.items():
        _ensure(cursor, tables, tables.shared(name), columns, ABOUT[name], max(stored.values(), default=0))
    about = f"Accepted {tables.service.name} trips of the stream by number of message; times are NYC wall clock"
    _ensure_own(cursor, tables, tables.trips, "", about, last)
    _ensure_own(cursor, tables, tables.rejected, ", reason text NOT NULL", about.replace("Accepted", "Rejected"), last)
    if not last:
        cursor.execute(f"SELECT EXISTS (SELECT FROM {tables.trips})")
        if cursor.fetchone() == (True,):
            raise _lost(tables, f"the row of {tables.service.name} in {tables.shared(POSITION)}", "its trips are there")
        cursor.execute(
            f"INSERT INTO {tables.shared(POSITION)} VALUES (%s, 0, '') ON CONFLICT DO NOTHING", (tables.service.name,)
        )


def forget_stream(cursor: Cursor, tables: LiveTables) -> None:
    """Drop the service's tables and its rows in the shared ones, so that its stream is stored from the beginning."""
    for name in (tables.trips, tables.rejected):
        cursor.execute(f"DROP TABLE IF EXISTS {name}")
    for name in SHARED:
        if is_there(cursor, tables.shared(name)):
            cursor.execute(f"DELETE FROM {tables.shared(name)} WHERE service = %s", (tables.service.name,))


def _ensure_own(cursor: Cursor, tables: LiveTables, name: str, more: str, about: str, last: int) -> None:
    types = {column.name.lower(): TYPES[column.type] for column in tables.service.columns}
    columns = ", ".join(f"{column} {kind}" for column, kind in types.items())
    _ensure(cursor, tables, name, f"{columns}, file_month date, message bigint PRIMARY KEY{more}", about, last)
    cursor.execute("SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s)", (name,))
    for column in types.keys() - {column for (column,) in cursor.fetchall()}:
        cursor.execute(f"ALTER TABLE {name} ADD COLUMN {column} {types[column]}")
    comment(cursor, name, about, tables.service.columns)


def _ensure(cursor: Cursor, tables: LiveTables, name: str, columns: str, about: str, last: int) -> None:
    if is_there(cursor, name):
        return
    if last:
        raise _lost(tables, name, f"messages up to {last:,} are stored")
    cursor.execute(f"CREATE TABLE {name} ({columns})")
    comment(cursor, name, about, ())


def _lost(tables: LiveTables, what: str, though: str) -> StreamRefused:
    return StreamRefused(
        f"{what} is gone, though {though}: restore it, or let taxi live --forget --service {tables.service.name} drop "
        f"what is left and store the stream from its beginning"
    )
