"""
Trip files of every era to canonical record batches; rows that cannot be parsed are set aside.

Pure but for reading the file: no network, no target. A CSV file is parsed block by block at full speed. Only a
block that fails is parsed again, carefully: with integers allowed to look like `264.0`, and cut in halves until
the offending lines stand alone. One parser serves both ways, so that a value means the same in each.
"""

import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO
from typing import cast as cast_type

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from isal import igzip_lib, igzip_threaded
from pyarrow import csv

from nyc_taxi.errors import NotATripFile, UnknownColumn
from nyc_taxi.services import REAL, TEXT, WHOLE, Service

BLOCK_BYTES = 4 << 20
CAREFUL_LINES = 512
PARQUET_ROWS = 65_536
EXACT = 2**53
"""From here on, a 64-bit float no longer tells neighbouring integers apart."""
NULLS = ["", "NaN", "nan", "NULL", "null"]
# The stub of IsalError calls it an instance; it is a class.
UNPACKING_ERRORS = (EOFError, OSError, zlib.error, cast_type(type[Exception], igzip_lib.IsalError))
_ERROR_COLUMN = re.compile(r"In CSV column #(\d+)")


@dataclass(frozen=True)
class Malformed:
    """A row that cannot be parsed."""

    row: int
    """Position in the file, counted from 1 without the header."""
    text: str
    """The line as it came, or the Parquet row as JSON."""
    reason: str


@dataclass
class Conformed:
    """A piece of a trip file."""

    table: pa.Table
    """Canonical columns."""
    malformed: list[Malformed] = field(default_factory=list)


@dataclass(frozen=True)
class Columns:
    """How the columns of one file map to the canonical ones."""

    canonical: tuple[str | None, ...]
    """Per column of the file; None for a column with no canonical place."""
    dropped: tuple[str, ...]

    @property
    def present(self) -> tuple[str, ...]:
        """Canonical columns that the file has."""
        return tuple(name for name in self.canonical if name)


def match_columns(names: Sequence[str], service: Service, file: str) -> Columns:
    """
    Match a file's column names to canonical ones, by name whatever the case, never by position.

    Raises UnknownColumn for a name that no era knows, NotATripFile for a missing pickup
    time or a column that is there twice.
    """
    known = {name.lower(): name for name in service.schema.names} | dict(service.renames)
    trimmed = [name.strip().strip("\ufeff").strip().lower() for name in names]
    unknown = [
        name for name, key in zip(names, trimmed, strict=True) if key not in known and key not in service.dropped
    ]
    if unknown:
        raise UnknownColumn(
            f"{file}: column {', '.join(map(repr, unknown))} is not known for {service.name}. If TLC "
            f"added it, add it to services.py (columns, renames or dropped); otherwise this is another service's file"
        )
    columns = Columns(
        canonical=tuple(known.get(key) for key in trimmed),
        dropped=tuple(name.strip() for name, key in zip(names, trimmed, strict=True) if key not in known),
    )
    twice = [name for name, times in Counter(columns.present).items() if times > 1]
    if twice:
        raise NotATripFile(f"{file}: column {', '.join(twice)} is there twice; which one counts cannot be told")
    if service.pickup not in columns.present:
        found = f"its columns are {', '.join(names)}" if names else "it is empty"
        raise NotATripFile(f"{file} is no {service.name} file: it has no column {service.pickup}; {found}")
    return columns


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
            yield from _whole_lines(stream)
    except UNPACKING_ERRORS as error:
        raise NotATripFile(
            f"{path.name} is truncated or damaged ({_first_line(error)}): run again to fetch it anew"
        ) from None


def _whole_lines(stream: BinaryIO) -> Iterator[bytes]:
    yield stream.readline()
    rest = b""
    while chunk := stream.read(BLOCK_BYTES):
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield rest + chunk[:cut]
            rest = chunk[cut:]
        else:
            rest += chunk
    if rest:
        yield rest


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
        table = csv.read_csv(
            pa.BufferReader(block),
            read_options=csv.ReadOptions(column_names=self.names, block_size=BLOCK_BYTES // 4),
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


def to_canonical(
    source: pa.Table, service: Service, where: Callable[[int], tuple[int, str]] | None = None
) -> Conformed:
    """
    Cast a table whose columns have canonical names to the canonical schema.

    Args:
        source: any subset of the service's columns, in any type that an era used.
        service: whose schema to cast to.
        where: number in the file and text of a row of the source; needed if values may not fit.
    """
    arrays: list[pa.Array | pa.ChunkedArray] = []
    unfit: dict[int, str] = {}
    for name, kind in zip(service.schema.names, service.schema.types, strict=True):
        if name not in source.column_names:
            arrays.append(pa.nulls(len(source), kind))
            continue
        try:
            arrays.append(cast(source[name], kind, service.codes.get(name)))
        except pa.ArrowNotImplementedError:
            raise pa.ArrowNotImplementedError(
                f"column {name} of type {source[name].type} cannot be read as {kind}"
            ) from None
        except pa.ArrowInvalid:
            fits = _fits(source[name].combine_chunks(), kind, service.codes.get(name))
            unfit |= {row: name for row in np.flatnonzero(~fits).tolist() if row not in unfit}
            arrays.append(cast(pc.if_else(pa.array(fits), source[name], None), kind, service.codes.get(name)))
    table = pa.table(arrays, schema=service.schema)
    if not unfit or where is None:
        return Conformed(table)
    keep = np.ones(len(table), bool)
    keep[list(unfit)] = False
    malformed = [Malformed(*where(row), f"malformed: {name}") for row, name in sorted(unfit.items())]
    return Conformed(table.filter(pa.array(keep)), malformed)


def _fits(
    values: pa.Array, kind: pa.DataType, codes: Mapping[str, int] | None
) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Whether each value can be cast, found by halving."""
    try:
        cast(values, kind, codes)
        return np.ones(len(values), bool)
    except pa.ArrowInvalid:
        if len(values) == 1:
            return np.zeros(1, bool)
        half = len(values) // 2
        return np.concatenate([_fits(values[:half], kind, codes), _fits(values[half:], kind, codes)])


def cast(
    values: pa.Array | pa.ChunkedArray, kind: pa.DataType, codes: Mapping[str, int] | None = None
) -> pa.Array | pa.ChunkedArray:
    """
    Cast to a canonical type without losing anything: NaN is null, a fraction or an overflow raises ArrowInvalid.

    Args:
        values: one column, of whatever type its era used.
        kind: the canonical type.
        codes: words, in lower case, that stand for integers in early eras.
    """
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_floating(values.type) and pc.any(pc.is_nan(values)).as_py():
        values = pc.if_else(pc.is_nan(values), None, values)
    if values.type == kind:
        return values
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return _cast_text(values, kind, codes)
    if kind == TEXT and pa.types.is_floating(values.type):
        # A flag that an era kept as a number: 1.0 is written 1.
        values = values.cast(WHOLE)
    if pa.types.is_floating(values.type) and kind == WHOLE and (pc.max(pc.abs(values)).as_py() or 0) >= EXACT:
        raise pa.ArrowInvalid("a float this large may stand for several integers")
    return values.cast(kind)


def _cast_text(
    values: pa.Array | pa.ChunkedArray, kind: pa.DataType, codes: Mapping[str, int] | None
) -> pa.Array | pa.ChunkedArray:
    if kind == TEXT:
        return values.cast(TEXT)
    values = pc.utf8_trim_whitespace(values.cast(TEXT))
    values = pc.if_else(pc.is_in(values, pa.array(NULLS)), None, values)
    if codes:
        place = pc.index_in(pc.utf8_lower(values), pa.array(codes))
        values = pc.coalesce(pc.take(pa.array([str(code) for code in codes.values()]), place), values)
    return cast(values.cast(REAL), kind) if pa.types.is_integer(kind) else values.cast(kind)
