"""
One column's values to its canonical type: from which types, and what text, numbers and times must be.

Whole columns are looked at by Arrow's kernels; a value alone only where its column does not pass.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from nyc_taxi.catalog.columns import FLAG, LICENCE, REAL, SMALL, TEXT, TIME, WHOLE, Column

EXACT = 2**53
"""From here on, a 64-bit float no longer tells neighbouring integers apart."""
LARGEST = 1e300
"""A number from here on is not finite for us: the sum of a month of them would not be."""
FIRST_TIME, LAST_TIME = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Microseconds since 1970 of the years 1 to 9999, which Postgres, BigQuery and Python all know."""
NULLS = ["", "NaN", "nan", "NULL", "null"]

_IS_TEXT = (
    pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view,
    pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view,
)  # fmt: skip
_IS_NUMBER = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)


def _is_wall_clock(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) and kind.tz is None


SOURCE_TYPES: dict[pa.DataType, tuple[str, tuple[Callable[[pa.DataType], bool], ...]]] = {
    TIME: ("timestamps without a zone, dates and text", (_is_wall_clock, pa.types.is_date, *_IS_TEXT)),
    SMALL: ("numbers and text", (*_IS_NUMBER, *_IS_TEXT)),
    WHOLE: ("numbers and text", (*_IS_NUMBER, *_IS_TEXT)),
    REAL: ("numbers and text", (*_IS_NUMBER, *_IS_TEXT)),
    TEXT: ("text and numbers", (pa.types.is_integer, pa.types.is_floating, *_IS_TEXT)),
}
"""
Per canonical type, what is read as it: in words, and by Arrow's type. Nothing else is, whatever Arrow could cast: an
instant with a zone is no wall clock, a count of seconds or a truth value is no time, no amount and no flag.
"""


def plain(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The same values without a dictionary, and every kind of text or bytes as one; text is not checked yet."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if values.type != TEXT and any(is_text(values.type) for is_text in _IS_TEXT):
        return pc.cast(values, options=pc.CastOptions(target_type=TEXT, allow_invalid_utf8=True))
    return values.cast(pa.float32()) if pa.types.is_float16(values.type) else values


def is_readable(source: pa.DataType, kind: pa.DataType) -> bool:
    """Whether a column of the one type is read as the other, which is canonical."""
    return any(fits(source) for fits in SOURCE_TYPES[kind][1])


def is_empty(values: pa.Array | pa.ChunkedArray) -> bool:
    """Whether there is no value: null, or NaN, throughout."""
    if pa.types.is_floating(values.type):
        return bool(pc.all(pc.is_null(values, nan_is_null=True)).as_py())
    return bool(values.null_count == len(values))


def cast(
    values: pa.Array | pa.ChunkedArray, column: Column, spellings: Mapping[str, int] | None = None
) -> pa.Array | pa.ChunkedArray:
    """
    Cast plain values to a column's canonical type; ArrowInvalid unless every one of them fits.

    What fits: NaN is null, infinity never fits, no fraction and no digit is lost, a time lies in the years 1 to 9999, a
    text is UTF-8 without NUL. Text is trimmed, and blank is null.

    Args:
        values: one column, of a type of SOURCE_TYPES.
        column: the canonical one.
        spellings: the words, in lower case, that early eras wrote for integer codes.
    """
    if pa.types.is_floating(values.type):
        values = _finite(values, whole=column.type != REAL)
    elif values.type == TEXT:
        return _of_text(values, column, spellings)
    if column.type == TEXT:
        # A flag that an era kept as a number: 1.0 is written 1.
        return _of_text(values.cast(WHOLE).cast(TEXT), column, None)
    return _in_range(values.cast(column.type))


def _finite(values: pa.Array | pa.ChunkedArray, *, whole: bool) -> pa.Array | pa.ChunkedArray:
    """NaN as null; ArrowInvalid for infinity, and for a float that may stand for several integers if it must be one."""
    limit = EXACT if whole else LARGEST
    sizes = pc.abs(values)
    if (pc.sum(sizes).as_py() or 0) < limit:  # which no NaN and no infinity is
        return values
    is_nan = pc.is_nan(values)
    if (pc.max(pc.if_else(is_nan, None, sizes)).as_py() or 0) >= limit:
        raise pa.ArrowInvalid("infinite, or too large")
    return pc.if_else(is_nan, None, values)


def _in_range(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    if values.type == TIME:
        ends = pc.min_max(values.cast(WHOLE))
        first, last = ends["min"].as_py(), ends["max"].as_py()
        if first is not None and not FIRST_TIME <= first <= last <= LAST_TIME:
            raise pa.ArrowInvalid("a year outside of 1 to 9999")
    return values


def _of_text(
    values: pa.Array | pa.ChunkedArray, column: Column, spellings: Mapping[str, int] | None
) -> pa.Array | pa.ChunkedArray:
    form = FORMS[column.form] if column.type == TEXT else None
    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    if form and all(map(form.holds, chunks)):
        # One blank is how TLC leaves a flag open, in most rows of fhvhv.
        return pc.if_else(pc.equal(values, " "), None, values) if any(map(_has_blank, chunks)) else values
    values.validate(full=True)
    if pc.any(pc.match_substring(values, "\0")).as_py():
        raise pa.ArrowInvalid("no database takes a NUL character as text")
    values = pc.utf8_trim_whitespace(values)
    values = pc.if_else(pc.is_in(values, pa.array(NULLS)), None, values)
    if form:
        return form.normalised(values)
    if spellings:
        values = _spelled(values, {word: str(code) for word, code in spellings.items()})
    if pa.types.is_integer(column.type):
        return _whole_numbers(values, column)
    return cast(values.cast(column.type), column)


def _spelled(values: pa.Array | pa.ChunkedArray, words: Mapping[str, str]) -> pa.Array | pa.ChunkedArray:
    place = pc.index_in(pc.utf8_lower(values), pa.array(words))
    return pc.coalesce(pc.take(pa.array(words.values()), place), values)


def _whole_numbers(values: pa.Array | pa.ChunkedArray, column: Column) -> pa.Array | pa.ChunkedArray:
    """Digits to the integer that they are, also as 264.0, without the detour over a float, which others take."""
    digits = pc.replace_substring_regex(values, r"^(-?[0-9]+)\.0*$", r"\1")
    exact = pc.match_substring_regex(digits, r"^-?[0-9]+$")
    others = cast(pc.if_else(exact, None, values).cast(REAL), column)
    return pc.coalesce(pc.if_else(exact, digits, None).cast(column.type), others)


@dataclass(frozen=True)
class _Form:
    """How a text column's values are written."""

    first: str
    last: str
    """Text of these characters only is normalised already."""
    normalised: Callable[[pa.Array | pa.ChunkedArray], pa.Array | pa.ChunkedArray]
    """From trimmed text, blank ones null."""

    def holds(self, values: pa.Array) -> bool:
        """Whether no value needs a look, but for single blanks: told from all bytes at once, and from the lengths."""
        found, lengths = _bytes_of(values)
        longest = lengths.max(initial=0)
        if np.count_nonzero(lengths) < len(values) - values.null_count or any(
            np.any(lengths == length) for length in _NULL_LENGTHS if length <= longest
        ):
            return False
        if found.min(initial=255) == _BLANK and longest == 1:
            found = found[found != _BLANK]
        return bool(ord(self.first) <= found.min(initial=255) and found.max(initial=0) <= ord(self.last))


def _bytes_of(values: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """The bytes of all values of a text column, one after another, and the length of each; what null holds counts."""
    if not len(values):
        return np.empty(0, np.uint8), np.empty(0, np.int32)
    _, offsets, data = values.buffers()
    ends = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    return np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]], np.diff(ends)


def _has_blank(values: pa.Array) -> bool:
    return bool(_bytes_of(values)[0].min(initial=255) == _BLANK)


_BLANK = ord(" ")
_NULL_LENGTHS = (3, 4)
"""Of the words in NULLS."""
_YES_OR_NO = {"y": "Y", "1": "Y", "1.0": "Y", "n": "N", "0": "N", "0.0": "N"}


def _licence(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """In capitals; of a licence number with words behind it, as in `B00001 - A. Base`, the number."""
    return pc.replace_substring_regex(pc.ascii_upper(values), r"(?s)^([A-Z]{1,2}[0-9]{4,5})[\s\p{Z}].*$", r"\1")


FORMS = {
    None: _Form("!", "~", lambda values: values),
    LICENCE: _Form("0", "Z", _licence),
    FLAG: _Form("A", "Z", lambda values: _spelled(values, _YES_OR_NO)),
}
