"""Random values that trips of every service have: pickups, zones, shares, words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ops.synthetic.plan import Ints, Plan, unmetered_rows

Mask = NDArray[np.bool_]
Values = dict[str, "pa.Array[Any]"]
"""A column's values by what the column means."""

LAST_ZONE = 265
AIRPORT_ZONES = (132, 138)
CBD_FEE_START = np.datetime64("2025-01-05", "s")


def pickups(plan: Plan, rng: np.random.Generator, position: Ints, unmetered: Mask) -> Ints:
    """Pickups in seconds since 1970, New York wall clock: nearly in order within the month, but for the strays."""
    begin = np.datetime64(plan.month, "M")
    start, end = (int(month.astype("datetime64[s]").astype(np.int64)) for month in (begin, begin + 1))
    late = unmetered_rows(plan) if plan.service in ("yellow", "green") else 0
    metered = plan.rows - late
    progress = np.where(unmetered, (position - metered) / max(late, 1), position / max(metered, 1))
    jitter = rng.integers(-1_800, 1_800, len(position))
    # What falls out of the month is mirrored back into it.
    since_start = np.abs((progress * (end - start)).astype(np.int64) + jitter)
    pickup: Ints = end - 1 - np.abs(end - 1 - start - since_start)
    for number, stray in enumerate(plan.strays):
        if number == 0:
            moment = int(np.datetime64("2008-12-31T23:02:40", "s").astype(np.int64))
        else:
            minutes = 7 * number
            moment = start - 60 * minutes if number % 2 else end + 60 * minutes
        pickup[position == stray] = moment
    return pickup


def zones(rng: np.random.Generator, rows: int) -> Ints:
    """Taxi zones 1 to 265; a few of them have most of the trips, and every zone has some."""
    busy = rng.integers(0, 40, rows) * 6 + 12
    return np.where(rng.random(rows) < 0.7, busy, rng.integers(1, LAST_ZONE + 1, rows)).astype(np.int64)


def pick(rng: np.random.Generator, rows: int, values: Sequence[int], shares: Sequence[float]) -> Ints:
    """`rows` draws from `values` with the given shares, by one search instead of `Generator.choice`: faster."""
    edges = np.cumsum(shares)[:-1]
    return np.array(values, np.int64)[np.searchsorted(edges, rng.random(rows), side="right")]


def words(known: Sequence[str], index: Ints, absent: Mask | None = None) -> "pa.Array[Any]":
    """The known word of each index; none where it is absent."""
    return pa.array(known, pa.string()).take(pa.array(index, pa.int64(), mask=absent))
