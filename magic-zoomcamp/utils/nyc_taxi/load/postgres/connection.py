"""Connections to Postgres whose errors say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from nyc_taxi.errors import StorageFull, TargetUnavailable
from nyc_taxi.settings import PostgresSettings

CONNECT_SECONDS = 10
DISK_FULL = "53100"
ADVICE = {
    "No space left on device": "its disk is full: make room there and run again",
    "password authentication failed": "the password is wrong: check POSTGRES_USER and POSTGRES_PASSWORD",
    "no password supplied": "no password was given: set POSTGRES_PASSWORD",
    "no pg_hba.conf entry": "the server lets this user in from elsewhere only: check its pg_hba.conf",
    "Connection refused": "nothing listens there: start the server (taxi up), or check POSTGRES_HOST and POSTGRES_PORT",
    "could not translate host name": "there is no such host: check POSTGRES_HOST",
    "timeout expired": "it does not answer: check POSTGRES_HOST and the firewall",
    'FATAL: database "': "there is no such database: check POSTGRES_DBNAME",
    **dict.fromkeys(
        ("terminating connection", "server closed the connection", "the database system is"),
        "the server stopped in the middle; what was not committed is undone: start it and run again",
    ),
    **dict.fromkeys(
        ("permission denied", "must be owner"),
        "the user may not do this: grant it CREATE on the database, or the ownership of the tables",
    ),
    "other objects depend on it": "a view uses the old table, which is as it was: drop the view and run again",
    "invalid socket": "the connection was cut; what was not committed is undone: run again",
    "read-only transaction": "a replica, or a user that may only read: check POSTGRES_HOST and POSTGRES_USER",
    "violates": "a constraint of the table refuses a row of the file; nothing was changed: drop it, or use a rule",
    "transaction timeout": "the user's transaction_timeout is too short for a month: ALTER ROLE ... SET it to 0",
    "lock timeout": "a reader kept the table for minutes: end its transaction and run again",
}
"""What to do, by a sign in the server's message, whose white space is folded."""


@contextmanager
def connect(settings: PostgresSettings) -> Iterator[Connection]:
    """
    A connection in a transaction: what was not committed is rolled back at the end.

    Raises what `explained` makes of the driver's errors.
    """
    with explained(settings):
        connection = opened(settings)
        try:
            yield connection
        finally:
            connection.close()


def opened(settings: PostgresSettings) -> Connection:
    """A connection for who closes it by hand; the driver's errors, for `explained`."""
    return psycopg2.connect(
        host=settings.host,
        port=settings.port,
        dbname=settings.dbname,
        user=settings.user,
        password=settings.password,
        connect_timeout=CONNECT_SECONDS,
    )


def is_there(cursor: Cursor, table: str) -> bool:
    """Whether a table, schema.name, exists."""
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (table,))
    return bool(cursor.fetchone() == (True,))


@contextmanager
def explained(settings: PostgresSettings) -> Iterator[None]:
    """
    StorageFull or TargetUnavailable in the place of the driver's errors.

    The message is one line: the server, the user, what to do and what the server said; never the password.
    """
    try:
        yield
    except psycopg2.Error as error:
        text = " ".join(str(error).split())
        advice = next((advice for sign, advice in ADVICE.items() if sign in text), "")
        said = text.replace(settings.password, "***") if settings.password else text
        kind = StorageFull if error.pgcode == DISK_FULL else TargetUnavailable
        where = f"Postgres at {settings.where} as {settings.user}"
        raise kind(f"{where}: {advice} [{said}]" if advice else f"{where}: {said}") from None


def without_time_limits(cursor: Cursor) -> None:
    """For this connection, lift the limits that its role or database sets: a month takes as long as it takes."""
    limits = ("idle_in_transaction_session_timeout", "statement_timeout", "lock_timeout")
    cursor.execute("; ".join(f"SET {limit} = 0" for limit in limits))  # at once: a pause may be one limit's end
