"""
Trip files to canonical tables, piece by piece.

A CSV file is parsed block by block at full speed. Only a block that fails is parsed again, carefully: cut in halves
until the offending lines stand alone, and its values read like the text of a Parquet file, integers as `264.0` too.
"""

import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from nyc_taxi.catalog.origins import Origin
from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import NotATripFile
from nyc_taxi.extract.conform import Columns, Conformed, Malformed, UnreadableType, as_text, to_canonical
from nyc_taxi.extract.header import columns_of, split_header
from nyc_taxi.extract.unpack import BLOCK_BYTES, first_line, header_and_blocks
from nyc_taxi.extract.values import NULLS

CAREFUL_LINES = 512
PARQUET_ROWS = 65_536
_HEXADECIMAL = re.compile(rb"(^|[,;\t|\"\n])\s*-?0[xX]")
"""What Arrow's parser would take for a number."""


def open_trip_file(path: Path, service: Service, origin: Origin) -> tuple[Columns, Iterator[Conformed]]:
    """The columns of a trip file, and its rows in pieces, as the origin says that it is written."""
    if origin.suffix == "parquet":
        return open_parquet(path, service)
    return open_csv(path, service, origin.delimiter, origin.encoding)


def open_csv(
    path: Path, service: Service, delimiter: str = "", encoding: str = "utf-8"
) -> tuple[Columns, Iterator[Conformed]]:
    """The columns of a CSV trip file, packed or not, and its rows in pieces; an empty delimiter is found out."""
    header, blocks = header_and_blocks(path, encoding)
    names, delimiter = split_header(header.decode("utf-8", "backslashreplace"), path.name, delimiter)
    columns = columns_of(names, service, path.name)
    return columns, _CsvReader(columns, service, delimiter).read(blocks)


def open_parquet(path: Path, service: Service) -> tuple[Columns, Iterator[Conformed]]:
    """The columns of a Parquet trip file, and its rows in pieces."""
    try:
        names = pq.read_schema(path).names
    except (pa.ArrowInvalid, OSError) as error:
        raise NotATripFile(
            f"{path.name} cannot be read as Parquet ({first_line(error)}): run again to fetch it anew"
        ) from None
    columns = columns_of(names, service, path.name)
    return columns, _read_parquet(path, columns, service)


def count_rows(path: Path) -> int:
    """Rows of a trip file, neither the header nor blank lines counted."""
    if path.suffix == ".parquet":
        return int(pq.read_metadata(path).num_rows)
    _, blocks = header_and_blocks(path)
    return sum(bool(line.strip()) for block in blocks for line in _lines(block))


def _lines(block: bytes) -> list[bytes]:
    """The lines of a block without their ends."""
    lines = [line.removesuffix(b"\r") for line in block.split(b"\n")]
    return lines if lines[-1] else lines[:-1]


class _CsvReader:
    """Blocks of one file's lines to canonical tables."""

    def __init__(self, columns: Columns, service: Service, delimiter: str) -> None:
        self.service = service
        self.form = csv.ParseOptions(delimiter=delimiter)
        self.columns = columns
        self.names = [name or f"dropped {i}" for i, name in enumerate(columns.canonical)]
        self.exact = {name: service.schema.field(name).type for name in columns.present}
        self.lenient = dict.fromkeys(self.exact, pa.binary())
        self.lines = 0

    def read(self, blocks: Iterable[bytes]) -> Iterator[Conformed]:
        for block in blocks:
            lines = block.count(b"\n") + (not block.endswith(b"\n"))
            try:
                if (b"x" in block or b"X" in block) and _HEXADECIMAL.search(block):
                    raise pa.ArrowInvalid("0x10 is no number of a trip file; the parser would take it for 16")
                conformed = to_canonical(self._parse(block, lines, self.exact), self.service)
            except pa.ArrowInvalid:
                yield from self._read_carefully(_lines(block))
            else:
                self.lines += lines
                yield conformed

    def _parse(self, block: bytes, lines: int, types: dict[str, pa.DataType]) -> pa.Table:
        if b"\0" in block:
            raise pa.ArrowInvalid("no database takes a NUL character as text")
        if _has_open_quotes(block):
            raise pa.ArrowInvalid("a line with an odd number of quotation marks is no whole row")
        table = csv.read_csv(
            pa.BufferReader(block),
            read_options=csv.ReadOptions(column_names=self.names, block_size=BLOCK_BYTES // 8, use_threads=lines > 1),
            parse_options=self.form,
            convert_options=csv.ConvertOptions(
                column_types=types,
                include_columns=list(self.columns.present),
                null_values=NULLS,
                strings_can_be_null=True,
            ),
        )
        if len(table) != lines:
            # A stray quotation mark makes one row of all lines up to the next one.
            raise pa.ArrowInvalid(f"{lines} lines, but {len(table)} rows")
        return table

    def _read_carefully(self, lines: list[bytes]) -> Iterator[Conformed]:
        for start in range(0, len(lines), CAREFUL_LINES):
            piece = lines[start : start + CAREFUL_LINES]
            numbered = [(self.lines + i, line) for i, line in enumerate(piece, 1) if line.strip()]
            self.lines += len(piece)
            yield from self._halve(numbered)

    def _halve(self, lines: list[tuple[int, bytes]]) -> Iterator[Conformed]:
        """Parse the lines, or, where that fails, each half of them, until a malformed line stands alone."""
        if not lines:
            return
        try:
            table = self._parse(b"\n".join(line for _, line in lines), len(lines), self.lenient)
        except pa.ArrowInvalid:
            if len(lines) == 1:
                [(number, line)] = lines
                yield Conformed(self.service.schema.empty_table(), [Malformed(number, _text(line), _reason(line))])
            else:
                yield from self._halve(lines[: len(lines) // 2])
                yield from self._halve(lines[len(lines) // 2 :])
        else:
            yield to_canonical(table, self.service, lambda row: (lines[row][0], _text(lines[row][1])))


def _reason(line: bytes) -> str:
    """Why a line cannot be split into fields; what its fields hold is judged as that of a Parquet file is."""
    return "malformed: NUL character" if b"\0" in line else "malformed: number of fields"


def _has_open_quotes(block: bytes) -> bool:
    """Whether a line has an odd number of quotation marks: half of a row with a line break in a value, for one."""
    if b'"' not in block:
        return False
    found = np.frombuffer(block, np.uint8)
    line_of_quote = np.searchsorted(np.flatnonzero(found == ord("\n")), np.flatnonzero(found == ord('"')))
    return bool(np.any(np.bincount(line_of_quote) % 2))


def _text(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def _read_parquet(path: Path, columns: Columns, service: Service) -> Iterator[Conformed]:
    rows = 0
    try:
        # buffer_size: pages are read as they are needed, not a whole row group, which may be the whole month.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(PARQUET_ROWS):
                source = pa.table(
                    [column for column, name in zip(batch.columns, columns.canonical, strict=True) if name],
                    names=list(columns.present),
                )
                yield to_canonical(source, service, partial(_parquet_row, source, rows))
                rows += len(batch)
    except UnreadableType as error:
        raise NotATripFile(f"{path.name}: {error}") from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise NotATripFile(f"{path.name} is damaged ({first_line(error)}): run again to fetch it anew") from None


def _parquet_row(source: pa.Table, before: int, row: int) -> tuple[int, str]:
    return before + row + 1, as_text(source.slice(row, 1))
