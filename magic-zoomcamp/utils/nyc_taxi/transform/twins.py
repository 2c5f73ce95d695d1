"""
Rows of a month that belong together: one trip recorded twice, and a trip that a negative fare takes back.

Which rows they are takes two passes over the staged file before the one that judges. In the first, a row is 64 bits
of a hash of the columns that identify a trip; in the second only rows that share them with another are looked at, by
128 bits. Two different rows of 14 million have these in common by chance in one month of 10^24.
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

PART_ROWS = 2 << 20
"""
Looked at at once in the second pass: some 100 MB, however many trips are there twice. Only of rows that are all alike
more than these are looked at together.
"""
SEEDS = (0x243F6A8885A308D3, 0x13198A2E03707344)
"""Of the two halves of a hash: the digits of pi."""
MISSING = np.uint64(0xA4093822299F31D0)

Hash: TypeAlias = NDArray[np.uint64]
Signs: TypeAlias = NDArray[np.int8]
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
    repeated = _repeated(question, len(marks))
    for start in range(0, len(repeated), PART_ROWS):
        first, second, places, signs = _rows(question, repeated[start : start + PART_ROWS])
        order = np.lexsort((places, second, first))
        first, second, places, signs = first[order], second[order], places[order], signs[order]
        starts = np.ones(len(order), bool)
        starts[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
        marks[places] = _pairs(starts, signs) if question.fare else ~starts
    return marks


def _repeated(question: _Question, rows: int) -> Hash:
    """The first halves that more than one row has, as often as rows have them, in order."""
    hashes: Hash = np.empty(rows, np.uint64)
    end = 0
    for values, signs, _ in _read(question):
        found = _hash(values, SEEDS[0])[signs != 0]
        hashes[end : end + len(found)] = found
        end += len(found)
    hashes = hashes[:end]
    hashes.sort()
    same = hashes[1:] == hashes[:-1]
    shared = np.zeros(end, bool)
    shared[1:] |= same
    shared[:-1] |= same
    repeated: Hash = hashes[shared]
    return repeated


def _rows(question: _Question, wanted: Hash) -> tuple[Hash, Hash, NDArray[np.uint32], Signs]:
    """Both halves of the hash, place and sign of the rows whose first half is one of those wanted, sorted ones."""
    found: list[tuple[Hash, Hash, NDArray[np.uint32], Signs]] = []
    for values, signs, place in _read(question):
        first = _hash(values, SEEDS[0])
        at = np.minimum(np.searchsorted(wanted, first), len(wanted) - 1)
        [rows] = np.nonzero((wanted[at] == first) & (signs != 0))
        if len(rows):
            second = _hash([each.take(pa.array(rows)) for each in values], SEEDS[1])
            found.append((first[rows], second, (rows + place).astype(np.uint32), signs[rows]))
    first, second, places, signs = map(np.concatenate, zip(*found, strict=True))
    return first, second, places, signs


def _read(question: _Question) -> Iterator[tuple[list[pa.Array], Signs, int]]:
    """In the order of the file: what twins are equal in, the sign of the fare (1 without one), the place of a row."""
    place = 0
    for rows in question.file.batches(list(dict.fromkeys((*question.columns, *question.fare)))):
        values, signs = [rows[name] for name in question.columns], np.ones(len(rows), np.int8)
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


def _pairs(starts: NDArray[np.bool_], signs: Signs) -> Marks:
    """
    1 for a negative row and 2 for a positive one that are a pair, the first of each sign with the first of the other.

    Args:
        starts: whether a row is the first of those that have the same hash.
        signs: -1 or 1, of rows by hash, then in the order of the file.
    """
    marks: Marks = np.zeros(len(signs), np.uint8)
    group = np.cumsum(starts) - 1
    sides = [signs < 0, signs > 0]
    pairs = np.minimum(*(np.bincount(group, side) for side in sides))
    for mark, side in enumerate(sides, 1):
        so_far = np.cumsum(side)
        number: NDArray[np.int64] = so_far - (so_far - side)[starts][group]
        marks[side & (number <= pairs[group])] = mark
    return marks
