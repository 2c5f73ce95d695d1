"""
Rows of a month that belong together: one trip recorded twice, and a trip that a negative fare takes back.

Which rows they are takes a pass over the staged file before the one that judges. In it a row is 128 bits, a hash of
the columns that identify a trip, and some PART_ROWS of them are in memory at once: a larger month is read once for
each part of the hashes. Two different rows of 14 million have the same hash by chance in one month of 10^24.
"""

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

PART_ROWS = 8 << 20
"""Of 21 bytes each, and as many again while they are sorted: some 350 MB."""
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
    rows = question.file.rows_staged
    marks: Marks = np.zeros(rows, np.uint8)
    parts = -(-rows // PART_ROWS)
    for part in range(parts):
        first, second, places, signs = _rows(question, part, parts)
        twins = _repeated(first)
        order = twins[np.lexsort((places[twins], second[twins], first[twins]))]
        first, second, places, signs = first[order], second[order], places[order], signs[order]
        starts = np.ones(len(order), bool)
        starts[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
        marks[places] = _pairs(starts, signs) if question.fare else ~starts
    return marks


def _rows(question: _Question, part: int, parts: int) -> tuple[Hash, Hash, NDArray[np.uint32], Signs]:
    """Of a part of the rows that may have a twin: both halves of the hash, the place, the sign of the fare."""
    found: list[tuple[Hash, Hash, NDArray[np.uint32], Signs]] = []
    place = 0
    for rows in question.file.batches(list(dict.fromkeys((*question.columns, *question.fare)))):
        signs = np.ones(len(rows), np.int8)
        values = [rows[name] for name in question.columns]
        for name in question.fare:
            signs = pc.fill_null(pc.sign(rows[name]), 0).to_numpy().astype(np.int8)
            values.append(pc.abs(rows[name]))
        first, second = (_hash(values, seed) for seed in SEEDS)
        wanted = (signs != 0) & (first % np.uint64(parts) == part)
        places = np.arange(place, place + len(rows), dtype=np.uint32)
        found.append((first[wanted], second[wanted], places[wanted], signs[wanted]))
        place += len(rows)
    first, second, places, signs = map(np.concatenate, zip(*found, strict=True))
    return first, second, places, signs


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


def _repeated(first: Hash) -> NDArray[np.int64]:
    """The indices of the values that occur more than once."""
    order = np.argsort(first)
    ordered = first[order]
    same = ordered[1:] == ordered[:-1]
    repeated = np.zeros(len(order), bool)
    repeated[1:] |= same
    repeated[:-1] |= same
    indices: NDArray[np.int64] = order[repeated]
    return indices


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
