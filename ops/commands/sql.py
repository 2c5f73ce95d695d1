"""
One SQL statement on whichever Postgres is configured, its answer as a table.

Usage: python -m ops.commands.sql "SELECT ..."
"""

import sys

from nyc_taxi.errors import TaxiError
from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.settings import Settings
from rich.console import Console
from rich.table import Table

from ops.errors import LocalStackError
from ops.stack.environment import environment


def main() -> int:
    """Run the statement of the command line, committed; the exit code is 1 if the server refuses it."""
    if len(sys.argv) != 2 or not sys.argv[1].strip():
        print('give one statement: make sql Q="select count(*) from ny_taxi.yellow_cab_data"', file=sys.stderr)
        return 2
    try:
        settings = Settings.from_environment(environment())
        with connect(settings.postgres) as connection, connection.cursor() as cursor:
            cursor.execute(sys.argv[1])
            table = Table(*[column.name for column in cursor.description or ()])
            for row in cursor.fetchall() if cursor.description else ():
                table.add_row(*["" if value is None else str(value) for value in row])
            status = cursor.statusmessage
            connection.commit()
    except (TaxiError, LocalStackError) as error:
        print(f"FAILED  {str(error).strip()}", file=sys.stderr)
        return 1
    Console().print(table if table.columns else status)
    return 0


if __name__ == "__main__":
    sys.exit(main())
