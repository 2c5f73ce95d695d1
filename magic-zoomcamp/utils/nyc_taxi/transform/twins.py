"""
Rows of a month that belong together: one trip recorded twice, and a trip that a negative fare takes back.

Which rows they are takes two passes over the staged file before the one that judges. In the first, a row is 64 bits
of a hash of the columns that identify a trip; in the second, only rows that may have a twin are looked at, by 128 bits.
Of 14 million rows, two that differ are taken for twins in one month of 10^24, and one is overlooked in one of 10^5.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pandas.util import hash_array

from nyc_taxi.manifest import StagedFile
from nyc_taxi.transform.rule import Judge, Reasons

PART = 4 << 20
"""Hashes that are looked at at once in the second pass: of each 25 bytes are kept, however many rows have it."""
SEEDS = (0x243F6A8885A308D3, 0x13198A2E03707344)
"""Of the two halves of a hash: the digits of pi."""
MISSING = np.uint64(0xA4093822299F31D0)

Hash: TypeAlias = NDArray[np.uint64]
Signs: TypeAlias = NDArray[np.int8]
Numbers: TypeAlias = NDArray[np.int64]
Marks: TypeAlias = NDArray[np.uint8]
"""One number per row of a staged file: 0 where nothing is wrong, else the index of a reason, from 1 on."""


@dataclass(frozen=True)
class _Question:
    """Which rows of a file are twins: the same question has the same answer."""

    file: StagedFile = field(compare=False)
    version: tuple[str, int, int]
    """Path, time and size: another file at the same place is another question."""
    columns: tuple[str, ...]
    """What twins are equal in."""
    fare: tuple[str, ...] = ()
    """What twins are opposite in; none for duplicates."""


def duplicate(file: StagedFile, *_: str) -> Judge:
    """A trip is there once: of rows that are equal in what identifies a trip, the first in the file passes."""
    return _judge(_marks(_Question(file, _version(file), _identity(file))), "duplicate")


def reversal(file: StagedFile, fare: str) -> Judge:
    """No fare takes another one back: a negative one is a reversal, its positive twin is the trip reversed."""
    columns = tuple(name for name in _identity(file) if name not in file.service.amounts)
    return _judge(_marks(_Question(file, _version(file), columns, (fare,))), "reversal", "reversed")


def _identity(file: StagedFile) -> tuple[str, ...]:
    """The columns that identify a trip, as far as the file has them; all where the service names none."""
    return tuple(name for name in file.service.identity or file.columns if name in file.columns)


def _version(file: StagedFile) -> tuple[str, int, int]:
    found = file.staged.stat()
    return file.path, found.st_mtime_ns, found.st_size


def _judge(marks: Marks, *reasons: str) -> Judge:
    words = pa.array([None, *reasons], pa.string())

    def judge(rows: pa.RecordBatch, place: int) -> Reasons:
        return words.take(pa.array(marks[place : place + len(rows)]))

    return judge


@lru_cache(maxsize=4)  # whoever counts the rows asks first, then whoever loads them
def _marks(question: _Question) -> Marks:
    marks: Marks = np.zeros(question.file.rows_staged, np.uint8)
    hashes = _wanted(question, len(marks))
    for start in range(0, len(hashes), PART):
        wanted = hashes[start : start + PART]
        pairs = _pairs(question, wanted) if question.fare else None
        so_far = np.zeros((2, len(wanted)), np.int32)
        for at, positive, places in _twins(question, wanted):
            for side in (0, 1):
                rows = positive == side
                number = _numbered(at[rows], so_far[side])
                marks[places[rows]] = number > 1 if pairs is None else (number <= pairs[at[rows]]) * (1 + side)
    return marks


def _wanted(question: _Question, rows: int) -> Hash:
    """The first halves, in their order, of all that may have a twin: with a negative fare, or with another row."""
    hashes: Hash = np.empty(rows, np.uint64)
    end = 0
    for values, signs, _ in _read(question):
        found = _hash(_taken(values, np.flatnonzero(signs < 0)), SEEDS[0])
        hashes[end : end + len(found)] = found
        end += len(found)
    hashes = hashes[:end]
    hashes.sort()
    same = hashes[1:] == hashes[:-1]
    if question.fare:
        return np.append(hashes[:1], hashes[1:][~same])
    same[1:] &= ~same[:-1]
    repeated: Hash = hashes[:-1][same]
    return repeated


def _taken(values: list[pa.Array], rows: Numbers) -> list[pa.Array]:
    return values if len(rows) == len(values[0]) else [each.take(pa.array(rows)) for each in values]


def _twins(question: _Question, wanted: Hash) -> Iterator[tuple[Numbers, NDArray[np.bool_], Numbers]]:
    """
    The rows that have one of the first halves, and the same second half as the first of them, in the order of the file.

    Per row, the index of its first half, whether its fare is positive, and its place.
    """
    halves, known = np.zeros(len(wanted), np.uint64), np.zeros(len(wanted), bool)
    for values, signs, place in _read(question):
        first = _hash(values, SEEDS[0])
        at = np.minimum(np.searchsorted(wanted, first), len(wanted) - 1)
        [rows] = np.nonzero((wanted[at] == first) & (signs != 0))
        if not len(rows):
            continue
        at, second = at[rows], _hash(_taken(values, rows), SEEDS[1])
        found, first_rows = np.unique(at, return_index=True)
        new = ~known[found]
        halves[found[new]], known[found] = second[first_rows[new]], True
        same = halves[at] == second
        yield at[same], signs[rows][same] > 0, rows[same] + place


def _pairs(question: _Question, wanted: Hash) -> Numbers:
    """Per hash, how many rows with a negative fare have one with a positive fare."""
    totals = np.zeros((2, len(wanted)), np.int32)
    for at, positive, _ in _twins(question, wanted):
        np.add.at(totals, (positive.astype(np.intp), at), 1)
    pairs: Numbers = totals.min(axis=0)
    return pairs


def _numbered(at: Numbers, so_far: NDArray[np.int32]) -> Numbers:
    """Of each row its number among those with the same hash, from 1 on; `so_far`, their number by hash, grows."""
    order = np.argsort(at, kind="stable")
    ordered = at[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    lengths = np.diff(np.append(starts, len(at)))
    numbers: Numbers = np.empty(len(at), np.int64)
    numbers[order] = so_far[ordered] + np.arange(len(at)) - np.repeat(starts, lengths) + 1
    so_far[ordered[starts]] += lengths.astype(np.int32)
    return numbers


def _read(question: _Question) -> Iterator[tuple[list[pa.Array], Signs, int]]:
    """In the order of the file: what twins are equal in, the sign of the fare (-1 without one), the first place."""
    place = 0
    for rows in question.file.batches(list(dict.fromkeys((*question.columns, *question.fare)))):
        values, signs = [rows[name] for name in question.columns], np.full(len(rows), -1, np.int8)
        for name in question.fare:
            values.append(pc.abs(rows[name]))
            signs = pc.fill_null(pc.sign(rows[name]), 0).to_numpy().astype(np.int8)
        yield values, signs, place
        place += len(rows)


def _hash(columns: list[pa.Array], seed: int) -> Hash:
    state = np.full(len(columns[0]), seed, np.uint64)
    for values in columns:
        state ^= _words(values, seed)
        # The finalizer of splitmix64: each bit of the input changes half of the bits of the output.
        state += np.uint64(0x9E3779B97F4A7C15)
        state ^= state >> np.uint64(30)
        state *= np.uint64(0xBF58476D1CE4E5B9)
        state ^= state >> np.uint64(27)
        state *= np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
        if values.null_count:
            state[values.is_null().to_numpy(zero_copy_only=False)] ^= MISSING
    return state


def _words(values: pa.Array, seed: int) -> Hash:
    """64 bits of each value, the same for equal ones; of a text a hash, of which the seed is the key."""
    if pa.types.is_string(values.type):
        encoded = values.dictionary_encode()
        texts = encoded.dictionary.to_numpy(zero_copy_only=False)
        hashes = np.append(hash_array(texts, hash_key=f"{seed:016x}", categorize=False), np.uint64(0))
        words: Hash = hashes[pc.fill_null(encoded.indices, len(texts)).to_numpy()]
        return words
    if pa.types.is_floating(values.type):
        numbers = pc.fill_null(values, 0.0).to_numpy() + 0.0  # which makes -0.0 the 0.0 that it equals
    else:
        numbers = pc.fill_null(values.cast(pa.int64()), 0).to_numpy()
    bits: Hash = numbers.view(np.uint64)
    return bits
