"""Columns and values of every era to the canonical ones: pure functions on Arrow data."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from nyc_taxi.catalog.columns import TEXT, Column
from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import NotATripFile, UnknownColumn, few
from nyc_taxi.extract.values import SOURCE_TYPES, cast, is_empty, is_readable, plain

Bools: TypeAlias = NDArray[np.bool_]


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
    blank: int = 0
    """Rows without any value, which are no trips: neither here nor malformed."""


class UnreadableType(Exception):
    """A column of a type that is not read as its canonical one; the message says which is."""


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
    if unknown and len(unknown) == len(names):
        raise UnknownColumn(
            f"{file}: its first line is no header of {service.name}: {few(map(repr, unknown), 3)}. Give it one, or "
            f"take away what stands before it"
        )
    if unknown:
        raise UnknownColumn(
            f"{file}: column {few(map(repr, unknown), 3)} is not known for {service.name}. If its publisher added "
            f"it, add it to services.py (docs/new-column.md); else this is another service's file"
        )
    columns = Columns(
        canonical=tuple(known.get(key) for key in trimmed),
        dropped=tuple(name.strip() for name, key in zip(names, trimmed, strict=True) if key not in known),
    )
    twice = [name for name, times in Counter(columns.present).items() if times > 1]
    if twice:
        raise NotATripFile(f"{file}: column {few(twice, 3)} is there twice; which one counts cannot be told")
    if service.pickup not in columns.present:
        found = f"its columns are {few(names, 3)}" if names else "it is empty"
        raise NotATripFile(f"{file} is no {service.name} file: it has no column {service.pickup}; {found}")
    return columns


def to_canonical(
    source: pa.Table, service: Service, where: Callable[[int], tuple[int, str]] | None = None
) -> Conformed:
    """
    Cast a table whose columns have canonical names to the canonical schema.

    Rows that do not fit are set aside with the first column that does not, rows without any value are left out.
    Raises UnreadableType for a column whose type no era had, and ArrowInvalid when a row does not fit and `where` does
    not say which it is.

    Args:
        source: any subset of the service's columns, in any type that an era used.
        service: whose schema to cast to.
        where: number in the file and text of a row of the source.
    """
    arrays: list[pa.Array | pa.ChunkedArray] = []
    unfit: dict[int, str] = {}
    for column in service.columns:
        if column.name not in source.column_names:
            arrays.append(pa.nulls(len(source), column.type))
            continue
        spellings = service.spellings.get(column.name)
        values = _readable(source[column.name], column)
        try:
            arrays.append(cast(values, column, spellings))
        except pa.ArrowInvalid:
            if where is None:
                raise
            fits = _fits(values.combine_chunks(), column, spellings)
            for row in np.flatnonzero(~fits).tolist():
                unfit.setdefault(row, _reason(values[row], column))
            arrays.append(cast(pc.if_else(pa.array(fits), values, None), column, spellings))
    table = pa.table(arrays, schema=service.schema)
    keep = _has_value(table, unfit)
    malformed = [Malformed(*where(row), reason) for row, reason in sorted(unfit.items())] if where else []
    if keep is None:
        return Conformed(table)
    kept = table.filter(pa.array(keep))
    return Conformed(kept, malformed, len(table) - len(kept) - len(malformed))


def _readable(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    values = plain(values)
    if is_readable(values.type, column.type):
        return values
    if is_empty(values):
        return pa.chunked_array([pa.nulls(len(values), column.type)])
    raise UnreadableType(
        f"column {column.name} of type {str(values.type)[:60]} cannot be read as {column.type}: write it as one of "
        f"{SOURCE_TYPES[column.type][0]}"
    )


def _reason(value: pa.Scalar, column: Column) -> str:
    has_nul = value.type == TEXT and b"\0" in value.as_buffer().to_pybytes()
    return "malformed: NUL character" if has_nul else f"malformed: {column.name}"


def _has_value(table: pa.Table, unfit: Collection[int]) -> Bools | None:
    """Per row, whether it is kept, being neither unfit nor without any value; None if all are."""
    if not unfit and not all(column.null_count for column in table.columns):
        return None
    keep = np.zeros(len(table), bool)
    for column in table.columns:
        if column.null_count < len(column):
            keep |= column.is_valid().to_numpy()
    keep[list(unfit)] = False
    return keep


def _fits(values: pa.Array, column: Column, spellings: Mapping[str, int] | None) -> Bools:
    """Whether each value can be cast, found by halving."""
    try:
        cast(values, column, spellings)
        return np.ones(len(values), bool)
    except pa.ArrowInvalid:
        if len(values) == 1:
            return np.zeros(1, bool)
        half = len(values) // 2
        return np.concatenate([_fits(part, column, spellings) for part in (values[:half], values[half:])])


def as_text(row: pa.Table) -> str:
    """The first row of a table as JSON, whatever its values: what cannot be shown is escaped."""
    return json.dumps({name: _shown(plain(row[name])[0]) for name in row.column_names}, default=str)


def _shown(value: pa.Scalar) -> object:
    """A value for a person; Python knows fewer times than Arrow, and no text that is no UTF-8."""
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return value.as_buffer().to_pybytes().decode("utf-8", "backslashreplace")
    except (ValueError, OverflowError):
        unit = value.type.unit if pa.types.is_timestamp(value.type) else "D" if value.type == pa.date32() else "ms"
        return str(np.datetime64(value.value, unit))
