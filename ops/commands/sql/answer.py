"""An answer of rows: whole, as a table or records on a terminal, as CSV for another program."""

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import IO

from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

WIDEST = 1 << 30

Rows = list[list[str]]


def print_answer(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print it as whoever reads it needs it."""
    if sys.stdout.isatty():
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


def as_text(value: object) -> str:
    """A value of Python as the databases write it: NULL is empty, a list or a structure is JSON."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, dict | list):
        return json.dumps(value, default=as_text)
    return value.hex() if isinstance(value, bytes) else str(value)
