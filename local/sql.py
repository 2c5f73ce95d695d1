"""
One SQL statement on whichever Postgres is configured, its answer as a table.

Usage: python -m local.sql "SELECT ..."
"""

import sys

import psycopg2
from rich.console import Console
from rich.table import Table

from local.environment import environment
from local.postgres import LocalStackError


def connect(env: dict[str, str]) -> "psycopg2.extensions.connection":
    """A connection to the environment's Postgres."""
    return psycopg2.connect(
        host=env["POSTGRES_HOST"],
        port=env["POSTGRES_PORT"],
        dbname=env["POSTGRES_DBNAME"],
        user=env["POSTGRES_USER"],
        password=env.get("POSTGRES_PASSWORD", ""),
        connect_timeout=10,
    )


def main() -> int:
    """Run the statement of the command line, committed; the exit code is 1 if the server refuses it."""
    if len(sys.argv) != 2 or not sys.argv[1].strip():
        print('give one statement: make sql Q="select count(*) from ny_taxi.yellow_cab_data"', file=sys.stderr)
        return 2
    try:
        with connect(environment()) as connection, connection.cursor() as cursor:
            cursor.execute(sys.argv[1])
            table = Table(*[column.name for column in cursor.description or ()])
            for row in cursor.fetchall() if cursor.description else ():
                table.add_row(*["" if value is None else str(value) for value in row])
            status = cursor.statusmessage
    except (psycopg2.Error, LocalStackError) as error:
        print(f"FAILED  {str(error).strip()}", file=sys.stderr)
        return 1
    Console().print(table if table.columns else status)
    return 0


if __name__ == "__main__":
    sys.exit(main())
