"""
Trip files laid out and spelled as the two origins publish them, of any size, without the internet.

    taxi generate yellow 2021-01 dtc 100000

The same arguments give the same bytes. Memory is bounded by one chunk, whatever the number of rows.
The list of taxi zones, which lies beside the Parquet files, is synthetic too.
"""

import io
from collections.abc import Callable, Iterator
from gzip import GzipFile
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from isal import igzip
from nyc_taxi.files import replacing

from ops.synthetic import eras
from ops.synthetic.draws import LAST_ZONE
from ops.synthetic.plan import Plan, plan_file
from ops.synthetic.trips import make_chunk

CSV_CHUNK_ROWS = 200_000
# The row group size of TLC's own files since 2023.
PARQUET_CHUNK_ROWS = 1_048_576
SPREADSHEET_DATE = b"01/01/2021 0:30"
BOROUGHS = ("Bronx", "Brooklyn", "Manhattan", "Queens", "Staten Island")


def generate(
    service: str, month: str, origin: str, rows: int, folder: Path, *, seed: int = 0, malformed: int = 0
) -> Path:
    """
    Write one trip file of `rows` data rows under `folder` and return its path; an old file is replaced in one step.

    `dtc` gives `folder/dtc/{service}/{service}_tripdata_{month}.csv.gz` (gzip CSV, CRLF line ends), `tlc` gives
    `folder/trip-data/{service}_tripdata_{month}.parquet`; the list of taxi zones comes with either. `malformed` CSV
    lines among the `rows` are broken, evenly spread and in turn: a field too few, a word where a number belongs, a
    spreadsheet's date.
    Raises ValueError for a file that the origin does not publish, or counts that do not fit.
    """
    plan = plan_file(service, month, origin, rows, seed, malformed)
    path = trip_path(service, month, origin, folder)
    write = _write_csv if origin == "dtc" else _write_parquet
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, locked=False) as part:
        write(plan, part)
    generate_zones(folder)
    return path


def generate_zones(folder: Path) -> Path:
    """Write the list of taxi zones, with synthetic names, as `folder/misc/taxi_zone_lookup.csv`; return its path."""
    path = folder / "misc" / "taxi_zone_lookup.csv"
    rows = [
        (zone, BOROUGHS[zone % len(BOROUGHS)], f"Zone {zone}", "Synthetic Zone") for zone in range(1, LAST_ZONE + 1)
    ]
    rows[-2:] = [(LAST_ZONE - 1, "Unknown", "N/A", "N/A"), (LAST_ZONE, "N/A", "Outside of NYC", "N/A")]
    named = [f'{zone},"{borough}","{name}","{kind}"\n' for zone, borough, name, kind in rows]
    text = '"LocationID","Borough","Zone","service_zone"\n' + "".join(named)
    # Left alone when it is there: written anew, it would have another ETag and be fetched again.
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, locked=False) as part:
            part.write_text(text)
    return path


def trip_path(service: str, month: str, origin: str, folder: Path) -> Path:
    """Where the file of an origin lies under `folder`; the paths below it are those of the origin's base URL."""
    if origin == "dtc":
        return folder / "dtc" / service / f"{service}_tripdata_{month}.csv.gz"
    return folder / "trip-data" / f"{service}_tripdata_{month}.parquet"


def _chunks(plan: Plan, size: int) -> Iterator[tuple[int, pa.Table]]:
    """The file in order, as (position of the first row, rows)."""
    for number, first in enumerate(range(0, plan.rows, size)):
        yield first, make_chunk(plan, number, first, min(size, plan.rows - first))


def _write_csv(plan: Plan, path: Path) -> None:
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    with open(path, "wb") as raw, _gzip(raw) as file:
        file.write(",".join(plan.schema.names).encode() + b"\r\n")
        for first, table in _chunks(plan, CSV_CHUNK_ROWS):
            buffer = io.BytesIO()
            pyarrow.csv.write_csv(table, buffer, options)
            text = _break_lines(plan, first, table.num_rows, buffer.getvalue())
            file.write(text.replace(b"\n", b"\r\n"))


def _gzip(raw: IO[bytes]) -> GzipFile:
    # Neither a name nor a time in the header: the same rows are the same bytes.
    file: GzipFile = igzip.IGzipFile("", "wb", 1, raw, mtime=0)  # type: ignore[no-untyped-call]
    return file


def _write_parquet(plan: Plan, path: Path) -> None:
    # TLC changed its writer in 2023-02, and with it codec and types.
    modern = plan.month >= "2023-02"
    with pq.ParquetWriter(
        path,
        plan.schema,
        compression="zstd" if modern else "gzip",
        compression_level=1,
        version="2.6" if modern else "1.0",
    ) as writer:
        for _, table in _chunks(plan, PARQUET_CHUNK_ROWS):
            writer.write_table(table, row_group_size=PARQUET_CHUNK_ROWS)


def _break_lines(plan: Plan, first: int, rows: int, text: bytes) -> bytes:
    """Break the lines of this chunk that the plan says: `text` has `rows` lines, the first at position `first`."""
    here = [(number, int(at) - first) for number, at in enumerate(plan.malformed) if first <= at < first + rows]
    if not here:
        return text
    names = [eras.meaning(name) for name in plan.schema.names]
    # The for-hire CSV files have no money; a zone is a number as well.
    number_column = names.index("fare_amount" if "fare_amount" in names else "pulocationid")
    pickup_column = names.index("pickup_datetime")

    def a_field_too_few(fields: list[bytes]) -> list[bytes]:
        return fields[:-1]

    def not_a_number(fields: list[bytes]) -> list[bytes]:
        return [*fields[:number_column], b"n/a", *fields[number_column + 1 :]]

    def spreadsheet_date(fields: list[bytes]) -> list[bytes]:
        return [*fields[:pickup_column], SPREADSHEET_DATE, *fields[pickup_column + 1 :]]

    faults: list[Callable[[list[bytes]], list[bytes]]] = [a_field_too_few, not_a_number, spreadsheet_date]
    lines = text.split(b"\n")
    for number, line in here:
        lines[line] = b",".join(faults[number % len(faults)](lines[line].split(b",")))
    return b"\n".join(lines)
