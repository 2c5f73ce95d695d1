"""SQL on whichever Postgres is configured."""

from typing import Any

from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.settings import PostgresSettings

from ops.commands.sql.answer import Rows


def ask(statement: str, settings: PostgresSettings) -> tuple[list[str], Rows, str]:
    """Run it, committed: columns, rows and what Postgres says of it, such as UPDATE 1."""
    with connect(settings) as connection, connection.cursor() as cursor:
        leave_values_as_text(connection)
        cursor.execute(statement)
        columns = [column.name for column in cursor.description or ()]
        rows = [[value or "" for value in row] for row in (cursor.fetchall() if cursor.description else ())]
        status = cursor.statusmessage or ""
        connection.commit()
    return columns, rows, status


def leave_values_as_text(connection: Any) -> None:
    """Let a connection give every value as Postgres writes it, as psql would show it, and not as Python does."""
    from psycopg2 import extensions

    types = tuple(extensions.string_types)  # of any other, the driver makes nothing
    extensions.register_type(extensions.new_type(types, "TEXT", lambda value, _: value), connection)
