"""`taxi sql`: SQL on whichever Postgres is configured; its answer whole, for a person or for a program."""

import csv
import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any

import click
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from ops.commands.arguments import Statement, examples, statement

WIDEST = 1 << 30


@click.command(
    "sql",
    cls=Statement,
    epilog=examples(
        'taxi sql "select count(*) from ny_taxi.yellow_cab_data"',
        'taxi sql "select * from ny_taxi.load_audit" > audit.csv',
        "taxi sql --file query.sql",
    ),
)
@statement
def command(statement: str) -> None:
    """
    Run STATEMENT on Postgres, committed, and show its answer.

    A table on a terminal, one record below the other where it is too narrow; CSV into a file or another program.
    Several statements, with semicolons between them, are one transaction; the answer is that of the last.
    """
    from nyc_taxi.load.postgres.connection import connect
    from nyc_taxi.settings import Settings

    from ops.stack.environment import environment

    settings = Settings.from_environment(environment())
    with connect(settings.postgres) as connection, connection.cursor() as cursor:
        leave_values_as_text(connection)
        cursor.execute(statement)
        columns = [column.name for column in cursor.description or ()]
        rows = [[value or "" for value in row] for row in (cursor.fetchall() if cursor.description else ())]
        status = cursor.statusmessage
        connection.commit()
    if not columns:
        click.echo(status)
    elif sys.stdout.isatty():
        show(columns, rows, Console())
    else:
        write_csv(columns, rows, sys.stdout)


def show(columns: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    """Print a table, or where that is wider than the console, one record below the other: nothing is cut off."""
    # As text: to rich, what is in brackets would be a colour.
    table = Table(*(Column(Text(name)) for name in columns))
    for row in rows:
        table.add_row(*map(Text, row))
    if Measurement.get(console, console.options.update(max_width=WIDEST), table).maximum <= console.width:
        console.print(table)
        return
    widest = max(map(len, columns))
    for number, row in enumerate(rows, start=1):
        console.print(Text(f"-[ record {number} ]-"))
        for column, value in zip(columns, row, strict=True):
            for line, text in enumerate(value.split("\n")):
                label = f"{'' if line else column:<{widest}} | "
                console.print(Text(f"{label}{text}"), soft_wrap=True)
    console.print(Text(f"({len(rows)} row{'' if len(rows) == 1 else 's'})"))


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[str]], file: IO[str]) -> None:
    """Names of the columns, then the rows; NULL is empty."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)


def leave_values_as_text(connection: Any) -> None:
    """Let a connection give every value as Postgres writes it, as psql would show it, and not as Python does."""
    from psycopg2 import extensions

    types = tuple(extensions.string_types)  # of any other, the driver makes nothing
    extensions.register_type(extensions.new_type(types, "TEXT", lambda value, _: value), connection)
