"""Columns and values of every era to the canonical ones: pure functions on Arrow data."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nyc_taxi.catalog.columns import REAL, TEXT, WHOLE
from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import NotATripFile, UnknownColumn, some_of

EXACT = 2**53
"""From here on, a 64-bit float no longer tells neighbouring integers apart."""
NULLS = ["", "NaN", "nan", "NULL", "null"]


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
            f"{file}: column {some_of([*map(repr, unknown)])} is not known for {service.name}. If its publisher added "
            f"it, add it to services.py (columns, renames, dropped); otherwise this is another service's file"
        )
    columns = Columns(
        canonical=tuple(known.get(key) for key in trimmed),
        dropped=tuple(name.strip() for name, key in zip(names, trimmed, strict=True) if key not in known),
    )
    twice = [name for name, times in Counter(columns.present).items() if times > 1]
    if twice:
        raise NotATripFile(f"{file}: column {some_of(twice)} is there twice; which one counts cannot be told")
    if service.pickup not in columns.present:
        found = f"its columns are {some_of(names)}" if names else "it is empty"
        raise NotATripFile(f"{file} is no {service.name} file: it has no column {service.pickup}; {found}")
    return columns


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
            arrays.append(cast(source[name], kind, service.spellings.get(name)))
        except pa.ArrowNotImplementedError:
            raise pa.ArrowNotImplementedError(
                f"column {name} of type {source[name].type} cannot be read as {kind}"
            ) from None
        except pa.ArrowInvalid:
            fits = _fits(source[name].combine_chunks(), kind, service.spellings.get(name))
            unfit |= {row: name for row in np.flatnonzero(~fits).tolist() if row not in unfit}
            arrays.append(cast(pc.if_else(pa.array(fits), source[name], None), kind, service.spellings.get(name)))
    table = pa.table(arrays, schema=service.schema)
    if not unfit or where is None:
        return Conformed(table)
    keep = np.ones(len(table), bool)
    keep[list(unfit)] = False
    malformed = [Malformed(*where(row), f"malformed: {name}") for row, name in sorted(unfit.items())]
    return Conformed(table.filter(pa.array(keep)), malformed)


def _fits(
    values: pa.Array, kind: pa.DataType, spellings: Mapping[str, int] | None
) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Whether each value can be cast, found by halving."""
    try:
        cast(values, kind, spellings)
        return np.ones(len(values), bool)
    except pa.ArrowInvalid:
        if len(values) == 1:
            return np.zeros(1, bool)
        half = len(values) // 2
        return np.concatenate([_fits(values[:half], kind, spellings), _fits(values[half:], kind, spellings)])


def cast(
    values: pa.Array | pa.ChunkedArray, kind: pa.DataType, spellings: Mapping[str, int] | None = None
) -> pa.Array | pa.ChunkedArray:
    """
    Cast to a canonical type without losing anything: NaN is null, a fraction or an overflow raises ArrowInvalid.

    Args:
        values: one column, of whatever type its era used.
        kind: the canonical type.
        spellings: the words, in lower case, that early eras wrote for integer codes.
    """
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_floating(values.type) and pc.any(pc.is_nan(values)).as_py():
        values = pc.if_else(pc.is_nan(values), None, values)
    if values.type == kind:
        return values
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return _cast_text(values, kind, spellings)
    if kind == TEXT and pa.types.is_floating(values.type):
        # A flag that an era kept as a number: 1.0 is written 1.
        values = values.cast(WHOLE)
    if pa.types.is_floating(values.type) and kind == WHOLE and (pc.max(pc.abs(values)).as_py() or 0) >= EXACT:
        raise pa.ArrowInvalid("a float this large may stand for several integers")
    return values.cast(kind)


def _cast_text(
    values: pa.Array | pa.ChunkedArray, kind: pa.DataType, spellings: Mapping[str, int] | None
) -> pa.Array | pa.ChunkedArray:
    if kind == TEXT:
        return values.cast(TEXT)
    values = pc.utf8_trim_whitespace(values.cast(TEXT))
    values = pc.if_else(pc.is_in(values, pa.array(NULLS)), None, values)
    if spellings:
        place = pc.index_in(pc.utf8_lower(values), pa.array(spellings))
        values = pc.coalesce(pc.take(pa.array([str(code) for code in spellings.values()]), place), values)
    return cast(values.cast(REAL), kind) if pa.types.is_integer(kind) else values.cast(kind)
