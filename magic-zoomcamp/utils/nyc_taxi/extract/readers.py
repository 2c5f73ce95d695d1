"""
Trip files to canonical tables, piece by piece.

A CSV file is parsed block by block at full speed. Only a block that fails is parsed again, carefully: with integers
allowed to look like `264.0`, and cut in halves until the offending lines stand alone. One parser serves both ways, so
that a value means the same in each.
"""

import json
import re
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq
from isal import igzip_lib, igzip_threaded
from pyarrow import csv

from nyc_taxi.catalog.columns import REAL
from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import NotATripFile
from nyc_taxi.extract.conform import NULLS, Columns, Conformed, Malformed, match_columns, to_canonical

BLOCK_BYTES = 8 << 20
CAREFUL_LINES = 512
PARQUET_ROWS = 65_536
LINE_BYTES = 1 << 20
"""A longer line is no line of a trip file: those of the city have up to 277 bytes."""
EXPANSION = 100
"""Times its own size that a csv.gz may unpack to: the city's files give 3 to 5 times, a bomb a thousand."""
SMALL_BYTES = 64 << 20
"""What any file may unpack to."""
# The stub of IsalError calls it an instance; it is a class.
UNPACKING_ERRORS = (EOFError, OSError, zlib.error, cast(type[Exception], igzip_lib.IsalError))
_ERROR_COLUMN = re.compile(r"In CSV column #(\d+)")


def open_csv(path: Path, service: Service) -> tuple[Columns, Iterator[Conformed]]:
    """The columns of a csv.gz trip file, and its rows in pieces."""
    blocks = _blocks(path)
    header = next(blocks, b"").decode("utf-8-sig", "backslashreplace").strip()
    names = header.split(",") if header else []
    columns = match_columns(names, service, path.name)
    return columns, _CsvReader(columns, service).read(blocks)


def open_parquet(path: Path, service: Service) -> tuple[Columns, Iterator[Conformed]]:
    """The columns of a Parquet trip file, and its rows in pieces."""
    try:
        names = pq.read_schema(path).names
    except (pa.ArrowInvalid, OSError) as error:
        raise NotATripFile(
            f"{path.name} cannot be read as Parquet ({_first_line(error)}): run again to fetch it anew"
        ) from None
    columns = match_columns(names, service, path.name)
    return columns, _read_parquet(path, columns, service)


def count_rows(path: Path) -> int:
    """Rows of a trip file, the header not counted."""
    if path.suffix == ".parquet":
        return int(pq.read_metadata(path).num_rows)
    blocks = _blocks(path)
    next(blocks, b"")
    return sum(len(_lines(block)) for block in blocks)


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _blocks(path: Path) -> Iterator[bytes]:
    """The header line, then blocks of whole lines."""
    try:
        # A thread of the library unpacks ahead of the parser.
        with igzip_threaded.open(path, "rb", threads=1) as stream:  # type: ignore[no-untyped-call]
            yield from _bounded(_whole_lines(stream, path.name), path)
    except UNPACKING_ERRORS as error:
        raise NotATripFile(
            f"{path.name} is truncated or damaged ({_first_line(error)}): run again to fetch it anew"
        ) from None


def _whole_lines(stream: BinaryIO, name: str) -> Iterator[bytes]:
    yield _line(stream.readline(LINE_BYTES + 1), name)
    rest = b""
    while chunk := stream.read(BLOCK_BYTES):
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield rest + chunk[:cut]
            rest = _line(chunk[cut:], name)
        else:
            rest = _line(rest + chunk, name)
    if rest:
        yield rest


def _line(begun: bytes, name: str) -> bytes:
    if len(begun) > LINE_BYTES:
        raise NotATripFile(f"{name} has a line of more than {LINE_BYTES:,} bytes: it is no trip file; check the origin")
    return begun


def _bounded(blocks: Iterable[bytes], path: Path) -> Iterator[bytes]:
    """The same blocks, until they are more than a trip file of this size can hold: a bomb must not fill the disk."""
    most, unpacked = max(SMALL_BYTES, path.stat().st_size * EXPANSION), 0
    for block in blocks:
        unpacked += len(block)
        if unpacked > most:
            raise NotATripFile(
                f"{path.name} unpacks to more than {EXPANSION} times its size: it is no trip file; check the origin"
            )
        yield block


def _lines(block: bytes) -> list[bytes]:
    """The lines of a block without their ends."""
    lines = [line.removesuffix(b"\r") for line in block.split(b"\n")]
    return lines if lines[-1] else lines[:-1]


class _CsvReader:
    """Blocks of one file's lines to canonical tables."""

    def __init__(self, columns: Columns, service: Service) -> None:
        self.service = service
        self.columns = columns
        self.names = [name or f"dropped {i}" for i, name in enumerate(columns.canonical)]
        self.exact = {name: service.schema.field(name).type for name in columns.present}
        # Integers may arrive as 264.0 in some eras.
        self.lenient = {name: REAL if pa.types.is_integer(kind) else kind for name, kind in self.exact.items()}
        self.lines = 0

    def read(self, blocks: Iterable[bytes]) -> Iterator[Conformed]:
        for block in blocks:
            try:
                table = self._parse(block, block.count(b"\n") + (not block.endswith(b"\n")), self.exact)
            except pa.ArrowInvalid:
                yield from self._read_carefully(_lines(block))
            else:
                self.lines += len(table)
                yield to_canonical(table, self.service)

    def _parse(self, block: bytes, lines: int, types: dict[str, pa.DataType]) -> pa.Table:
        if b"\0" in block:
            raise pa.ArrowInvalid("no database takes a NUL character as text")
        # One line alone: its columns one after another, so that the error names the first that does not fit.
        table = csv.read_csv(
            pa.BufferReader(block),
            read_options=csv.ReadOptions(column_names=self.names, block_size=BLOCK_BYTES // 8, use_threads=lines > 1),
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
        except pa.ArrowInvalid as error:
            if len(lines) == 1:
                [(number, line)] = lines
                yield Conformed(
                    self.service.schema.empty_table(), [Malformed(number, _text(line), self._reason(line, error))]
                )
            else:
                yield from self._halve(lines[: len(lines) // 2])
                yield from self._halve(lines[len(lines) // 2 :])
        else:
            yield to_canonical(table, self.service, lambda row: (lines[row][0], _text(lines[row][1])))

    def _reason(self, line: bytes, error: pa.ArrowInvalid) -> str:
        if b"\0" in line:
            return "malformed: NUL character"
        column = _ERROR_COLUMN.search(str(error))
        return f"malformed: {self.names[int(column[1])] if column else 'number of fields'}"


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
    except pa.ArrowNotImplementedError as error:
        raise NotATripFile(f"{path.name}: {error}. TLC changed its type: conform.cast must learn it") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise NotATripFile(f"{path.name} is damaged ({_first_line(error)}): run again to fetch it anew") from None


def _parquet_row(source: pa.Table, before: int, row: int) -> tuple[int, str]:
    return before + row + 1, json.dumps(source.slice(row, 1).to_pylist()[0], default=str)
