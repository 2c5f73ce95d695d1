"""
Trip files as no origin would write them, for tests that look for what nobody thought of: strategies of hypothesis.

Each value comes with what it means in a canonical column, worked out in plain Python: a value, REJECTED where its row
is set aside, or UNKNOWN where only that it is one or the other.
"""

import gzip
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from hypothesis import strategies as st
from nyc_taxi.catalog.columns import FLAG, LICENCE, REAL, SMALL, TEXT, TIME, WHOLE, Column
from nyc_taxi.catalog.services import FHV, GREEN, Service

FILE = "green_tripdata_2020-10"
NAMES = [GREEN.pickup, "lpep_dropoff_datetime", "passenger_count", "PULocationID", "trip_distance", "total_amount",
         "store_and_fwd_flag", "request_source"]  # fmt: skip
"""Columns of green, one of each kind at least."""
EPOCH = datetime(1970, 1, 1)
NULLS = ["", "NaN", "nan", "NULL", "null"]
YEARS_1_TO_9999 = range(-62_135_596_800_000_000, 253_402_300_800_000_000)


class Outcome(Enum):
    """What becomes of what has no value."""

    REJECTED = "its row is set aside"
    UNKNOWN = "read or set aside: a spelling of a number or a time that Arrow may know"


REJECTED, UNKNOWN = Outcome


def of_microseconds(count: int) -> object:
    """A time, or nothing if not every target knows its year."""
    return EPOCH + timedelta(microseconds=count) if count in YEARS_1_TO_9999 else REJECTED


def of_whole(number: int, column: Column) -> object:
    """An integer in a column of numbers or text."""
    bits = 31 if column.type == SMALL else 63
    if column.type == REAL:
        return float(number) if abs(number) <= 2**53 else REJECTED
    if not -(2**bits) <= number < 2**bits:
        return REJECTED
    return of_words(str(number), column) if column.type == TEXT else number


def of_real(number: float, column: Column) -> object:
    """A float: nothing of it may be lost."""
    if np.isnan(number):
        return None
    if column.type == REAL:
        return number if abs(number) < 1e300 else REJECTED
    return of_whole(int(number), column) if abs(number) < 2**53 and number == int(number) else REJECTED


def of_decimal(number: Decimal, column: Column) -> object:
    """A decimal in a column of numbers."""
    if column.type == REAL:
        return float(number)
    return of_whole(int(number), column) if number == int(number) else REJECTED


def of_words(text: str, column: Column) -> object:
    """Trimmed text in a column of text."""
    if column.form == FLAG:
        return {"y": "Y", "1": "Y", "1.0": "Y", "n": "N", "0": "N", "0.0": "N"}.get(text.lower(), text)
    if column.form == LICENCE:
        return re.sub(r"(?s)^([A-Z]{1,2}[0-9]{4,5})\s.*$", r"\1", re.sub("[a-z]+", lambda word: word[0].upper(), text))
    return text


def of_bytes(raw: bytes, column: Column) -> object:
    """Text, or what should be."""
    try:
        text = raw.decode().strip()
    except UnicodeDecodeError:
        return REJECTED
    if "\0" in text:
        return REJECTED
    if text in NULLS:
        return None
    readers = {TEXT: of_words, TIME: _of_written_time}
    return readers.get(column.type, _of_written_number)(text, column)


def _of_written_time(text: str, _: Column) -> object:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}:[0-9]{2})?", text):
        return UNKNOWN
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return REJECTED


def _of_written_number(text: str, column: Column) -> object:
    if re.fullmatch(r"-?[0-9]+(\.0*)?", text) and column.type != REAL:
        return of_whole(int(text.partition(".")[0]), column)
    if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e[0-9]+)?", text):
        return of_real(float(text), column)
    return UNKNOWN if re.fullmatch(r"(?i)[-+]?[0-9.][0-9.e+-]*|[-+]?(inf|infinity|nan)", text) else REJECTED


def of_time(unit: int) -> Callable[[int, Column], object]:
    """From a count of so many nanoseconds since 1970: whole microseconds are kept."""

    def meaning(count: int, _: Column) -> object:
        whole, rest = divmod(count * unit, 1_000)
        return REJECTED if rest else of_microseconds(whole)

    return meaning


def unread(value: object, _: Column) -> object:
    """Of a type that is not read: only a column without any value is."""
    raise AssertionError(f"{value!r} has no meaning")


@dataclass(frozen=True)
class Source:
    """A type of Arrow, values that it can have, and what they mean."""

    type: pa.DataType
    values: st.SearchStrategy[Any]
    meaning: Callable[[Any, Column], object]
    read_as: tuple[pa.DataType, ...] = ()

    def array(self, values: Sequence[Any]) -> pa.Array:
        """The values, of which text may be none."""
        if self.meaning is of_bytes:
            options = pc.CastOptions(target_type=self.type, allow_invalid_utf8=True)
            return pc.cast(pa.array(values, pa.binary()), options=options)
        return pa.array(values, self.type)


def _integers(bits: int) -> st.SearchStrategy[int]:
    edges = [edge + near for edge in (0, 2**31, -(2**31), 2**53, 2**63) for near in (-1, 0, 1)]
    fitting = [edge for edge in edges if -(2 ** (bits - 1)) <= edge < 2 ** (bits - 1)]
    return (
        st.sampled_from(fitting)
        | st.integers(0, 300 if bits > 8 else 100)
        | st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    )


def _times(least: int, most: int, unit: int) -> st.SearchStrategy[int]:
    """Around now, around the ends of the years that are known, and anywhere."""
    ends = [YEARS_1_TO_9999.start * 1_000 // unit, YEARS_1_TO_9999.stop * 1_000 // unit]
    edges = [end + near for end in ends for near in (-1, 0, 1) if least <= end + near <= most] or [0]
    return st.sampled_from(edges) | st.integers(least, most) | st.integers(1_600_000_000, 1_610_000_000).map(
        lambda seconds: seconds * 1_000_000_000 // unit)  # fmt: skip


WORDS = [b"Y", b"N", b" ", b"", b"1", b"1.0", b"0", b"n ", b"B00001", b" b00001\t", b"B00001 - A. Base", b"nan",
         b"caf\xc3\xa9", b"\xe9", b"\xff\xfe", b"N\0", b"\0", b"2020-10-01 00:00:00", b"2020-10-01", b"0000-01-01",
         b"2020-02-30", b"9999-12-31 23:59:59", b"10000-01-01 00:00:00", b"2020-10-01 00:00:00Z", b"1e400", b"-1e400",
         b"inf", b"-Infinity", b"1e308", b"264.0", b"264.5", b"-0", b"0x10", b"9007199254740993", b"9007199254740993.0",
         b"2147483648", b"1,5", b"1_0", b"+1", b"\xef\xbc\x91", b"\xc2\xa0", b"\xe2\x80\x83x", b"NULL"]  # fmt: skip
BYTES = st.sampled_from(WORDS) | st.binary(max_size=6).filter(lambda raw: not re.search(rb'[,"\r\n]', raw))
DAYS = 2_932_896
PICKUPS = Source(pa.timestamp("us"), st.integers(1_600_000_000_000_000, 1_610_000_000_000_000), of_time(1_000), (TIME,))
"""Without which a month is refused."""
NUMBERS = (SMALL, WHOLE, REAL)
SOURCES = [
    *(Source(pa.type_for_alias(f"int{bits}"), _integers(bits), of_whole, (*NUMBERS, TEXT)) for bits in (8, 32, 64)),
    Source(pa.uint64(), st.integers(0, 2**64 - 1), of_whole, (*NUMBERS, TEXT)),
    Source(pa.float64(), st.floats() | st.integers(0, 300).map(float), of_real, (*NUMBERS, TEXT)),
    Source(pa.float32(), st.floats(width=32), of_real, (*NUMBERS, TEXT)),
    Source(pa.decimal128(20, 2), st.decimals(-(10**17), 10**17, places=2), of_decimal, NUMBERS),
    *(Source(kind, BYTES, of_bytes, (*NUMBERS, TEXT, TIME)) for kind in (
        pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary())),
    *(Source(pa.timestamp(name), _times(-(2**bits) + 1, 2**bits - 1, unit), of_time(unit), (TIME,))
      for name, bits, unit in (("s", 53, 10**9), ("ms", 63, 10**6), ("us", 63, 10**3), ("ns", 63, 1))),
    Source(pa.date32(), st.integers(-DAYS, 2 * DAYS), of_time(86_400 * 10**9), (TIME,)),
    *(Source(kind, st.integers(0, 10**9), unread) for kind in (
        pa.timestamp("us", "UTC"), pa.timestamp("ms", "America/New_York"), pa.duration("s"), pa.time64("us"))),
    Source(pa.bool_(), st.booleans(), unread),
    Source(pa.binary(1), st.just(b"Y"), unread),
    Source(pa.list_(pa.int64()), st.just([1]), unread),
    Source(pa.struct({"a": pa.int64()}), st.just({"a": 1}), unread),
]  # fmt: skip
COLUMNS = {column.name: column for service in (FHV, GREEN) for column in service.columns}
"""Of two services; where both have a column it is the same."""


@dataclass(frozen=True)
class OddParquet:
    """A file, and what must become of it."""

    service: Service = field(repr=False)
    columns: dict[str, pa.Array]
    meanings: list[tuple[object, ...]]
    """Per row, what each column means."""
    refused: list[str]
    """Columns of a type that is not read."""
    group: int
    """Rows of a row group."""

    def write(self, folder: Path) -> Path:
        """The file, under the name of October 2020."""
        path = folder / f"{self.service.name}_tripdata_2020-10.parquet"
        pq.write_table(pa.table(self.columns), path, row_group_size=self.group)
        return path


def _is_rejected(value: object, source: Source, column: Column) -> bool:
    return value is not None and source.meaning(value, column) in (REJECTED, UNKNOWN)


@st.composite
def odd_parquets(draw: st.DrawFn, *, loadable: bool = False, extra: Sequence[str] = ()) -> OddParquet:
    """Files of few rows; with `loadable`, all columns are of types that are read, and most values are."""
    service = draw(st.sampled_from([GREEN, FHV]))
    optional = [name for name in service.schema.names if service is FHV or name in NAMES]
    names = [service.pickup, *draw(st.lists(st.sampled_from(optional), unique=True))]
    rows = draw(st.integers(1, 8))
    arrays: dict[str, pa.Array] = {}
    refused, meanings = [], []
    for name in dict.fromkeys([*names, *(name for name in extra if name in service.schema.names)]):
        column = COLUMNS[name]
        fitting = [source for source in SOURCES if column.type in source.read_as]
        source = draw(st.sampled_from(fitting if loadable or draw(st.integers(0, 19)) else SOURCES))
        if loadable and name == service.pickup and draw(st.integers(0, 3)):
            source = PICKUPS
        values = draw(st.lists(st.none() | source.values, min_size=rows, max_size=rows))
        if loadable:
            values = [
                None if _is_rejected(value, source, column) and draw(st.integers(0, 9)) else value for value in values
            ]
        arrays[name] = source.array(values)
        if column.type in source.read_as:
            meanings.append([None if value is None else source.meaning(value, column) for value in values])
            continue
        meanings.append([None] * rows)
        if not pc.all(pc.is_null(arrays[name], nan_is_null=True)).as_py():
            refused.append(name)
    return OddParquet(service, arrays, list(zip(*meanings, strict=True)), refused, draw(st.integers(1, rows)))


FIELDS = st.sampled_from(WORDS) | st.binary(max_size=4) | st.sampled_from(
    [b"2020-10-01 00:00:00", b"1", b"2.5", b"N", b'"N"', b'"', b'"a,b"', b'a"b', b"\r", b'""'])  # fmt: skip
LINES = st.lists(FIELDS, max_size=9).map(b",".join) | st.sampled_from(
    [b"", b" ", b",,,,,,,", b"2020-10-01 00:00:00,,1,1,2.5,10,N,x"]
)


@st.composite
def odd_csvs(draw: st.DrawFn) -> bytes:
    """The unpacked content of a csv.gz of green: a sound header, and lines of odd bytes."""
    header = ",".join(NAMES).encode()
    end = draw(st.sampled_from([b"\n", b"\r\n"]))
    lines = draw(st.lists(LINES, min_size=1, max_size=12))
    return end.join([header, *lines]) + draw(st.sampled_from([b"", end]))


def write_csv(content: bytes, folder: Path) -> Path:
    """A csv.gz of green under the name of October 2020."""
    path = folder / f"{FILE}.csv.gz"
    path.write_bytes(gzip.compress(content, 1, mtime=0))
    return path
