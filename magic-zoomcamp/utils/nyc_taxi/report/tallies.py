"""
What is counted of trips for reports and charts: tallies over record batches, whose memory does not grow with the rows.

`tally` streams a staged file past as many of them as are wanted, and reads only the columns that they look at.
"""

from calendar import monthrange
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from nyc_taxi.catalog.services import Service
from nyc_taxi.manifest import StagedFile
from nyc_taxi.months import Month
from nyc_taxi.transform.rules import judged, passing

HOUR = 3_600_000_000
"""Microseconds, the unit of the trips' times."""
DAY = 24 * HOUR
THURSDAY = 3
"""The weekday of 1970-01-01, counted from Monday."""

Counts = NDArray[np.int64]


class Tally(Protocol):
    """A number of things that is kept up to date while rows stream by."""

    @property
    def columns(self) -> Sequence[str]:
        """The columns that it looks at."""

    def add(self, rows: pa.RecordBatch) -> None:
        """Count these rows too."""


class Calendar:
    """Trips and USD per day of the month, and trips per weekday and hour; pickups elsewhere are counted apart."""

    def __init__(self, service: Service, month: Month, with_money: bool = True) -> None:
        self.month = month
        self.trips: Counts = np.zeros(monthrange(month.year, month.number)[1], np.int64)
        self.paid = np.zeros(len(self.trips), np.float64)
        """USD, by day of pickup; what passengers paid."""
        self.week: Counts = np.zeros((7, 24), np.int64)
        """Trips by weekday, Monday first, and hour of pickup, over the whole month."""
        self.outside = self.without_pickup = 0
        self._paid = service.paid if with_money else ()
        self._pickup, self._start = service.pickup, _microseconds(month)
        self.columns = [self._pickup, *self._paid]

    @property
    def days(self) -> list[date]:
        """The days of the month, in the order of `trips` and `paid`."""
        return [self.month.first_day + timedelta(days=number) for number in range(len(self.trips))]

    @property
    def per_hour(self) -> NDArray[np.float64]:
        """Trips in one hour of one such weekday, on average: the month has four or five of each."""
        times = Counter(day.weekday() for day in self.days)
        days: Counts = np.array([[times[weekday]] for weekday in range(7)])
        return np.divide(self.week, days)

    def add(self, rows: pa.RecordBatch) -> None:
        """Count these trips by their pickup."""
        pickup = rows[self._pickup].cast(pa.int64())
        self.without_pickup += pickup.null_count
        moment = pc.fill_null(pickup, self._start - 1).to_numpy()
        day = (moment - self._start) // DAY
        inside = (day >= 0) & (day < len(self.trips))
        self.outside += len(rows) - int(inside.sum()) - pickup.null_count
        self.trips += np.bincount(day[inside], minlength=len(self.trips))
        hour = (moment[inside] // HOUR + THURSDAY * 24) % (7 * 24)
        self.week += np.bincount(hour, minlength=7 * 24).reshape(7, 24)
        for name in self._paid:
            amount = pc.fill_null(rows[name], 0).to_numpy()
            self.paid += np.bincount(day[inside], amount[inside], len(self.paid))


class Histogram:
    """How many values lie in each bin of one width; values below 0 and from the end on are counted apart."""

    def __init__(self, column: str, width: float, end: float) -> None:
        self.columns = [column]
        self.width, self.end = width, end
        self.starts = np.arange(0, end, width)
        self._edges = np.append(self.starts, end)
        self._counts: Counts = np.zeros(len(self._edges) + 1, np.int64)

    @property
    def counts(self) -> Counts:
        """Values `start <= value < start + width`, by bin."""
        return self._counts[1:-1]

    @property
    def below(self) -> int:
        """Values below 0."""
        return int(self._counts[0])

    @property
    def beyond(self) -> int:
        """Values of the end and more."""
        return int(self._counts[-1])

    @property
    def half(self) -> float | None:
        """Half of the values, or more, are less than this; None when they lie beyond the bins, or there are none."""
        reached = np.cumsum(self._counts[:-1]) * 2 >= max(int(self._counts.sum()), 1)
        return float(self._edges[int(np.argmax(reached))]) if reached.any() else None

    def add(self, rows: pa.RecordBatch) -> None:
        """Count these values; nulls have no place."""
        values = rows[self.columns[0]].drop_null().to_numpy()
        self._counts += np.bincount(np.searchsorted(self._edges, values, side="right"), minlength=len(self._counts))


class Values:
    """How often each value of a column occurs, None among them."""

    def __init__(self, column: str) -> None:
        self.columns = [column]
        self.counts: Counter[int | None] = Counter()

    def add(self, rows: pa.RecordBatch) -> None:
        """Count these values."""
        found = pc.value_counts(rows[self.columns[0]])
        self.counts.update({each["values"]: each["counts"] for each in found.to_pylist()})

    def most(self) -> list[tuple[int, int]]:
        """The values with how often each occurs, most first, equals in their own order; without None."""
        known = ((value, times) for value, times in self.counts.items() if value is not None)
        return sorted(known, key=lambda each: (-each[1], each[0]))


class Sums:
    """The sum of each column; nulls add nothing."""

    def __init__(self, columns: Iterable[str]) -> None:
        self.columns = list(columns)
        self.totals = dict.fromkeys(self.columns, 0.0)
        self.values = dict.fromkeys(self.columns, 0)
        """How many values there are; what is missing is no zero in an average."""

    def add(self, rows: pa.RecordBatch) -> None:
        """Add these values."""
        for name in self.columns:
            self.totals[name] += float(pc.sum(rows[name]).as_py() or 0)
            self.values[name] += len(rows) - rows[name].null_count


class Quality:
    """What is odd about rows: pickups outside the month, amounts and distances of zero or less, missing values."""

    def __init__(self, service: Service, month: Month) -> None:
        self.columns = service.schema.names
        self.nulls = dict.fromkeys(self.columns, 0)
        watched = {"fare": service.fare, "distance": service.distance}
        self._watched = {name: column for name, column in watched.items() if column}
        self.negative, self.zero = dict.fromkeys(self._watched, 0), dict.fromkeys(self._watched, 0)
        self.rows = self.outside = 0
        self._pickup = service.pickup
        self._start, self._end = month.bounds()

    def add(self, rows: pa.RecordBatch) -> None:
        """Look at these rows too."""
        self.rows += len(rows)
        for name in self.columns:
            self.nulls[name] += rows[name].null_count
        inside = pc.and_(pc.greater_equal(rows[self._pickup], self._start), pc.less(rows[self._pickup], self._end))
        self.outside += len(rows) - inside.null_count - (pc.sum(inside).as_py() or 0)
        for name, column in self._watched.items():
            self.negative[name] += pc.sum(pc.less(rows[column], 0)).as_py() or 0
            self.zero[name] += pc.sum(pc.equal(rows[column], 0)).as_py() or 0


def tally(file: StagedFile, accepted: Sequence[Tally], parsed: Sequence[Tally] = ()) -> int:
    """
    Stream the staged rows once: all of them past `parsed`, those that pass the file's rules past `accepted`.

    Only the columns that they look at are read. Returns how many rows were accepted.
    """
    wanted = [name for each in (*accepted, *parsed) for name in each.columns]
    rows_accepted = 0
    for rows, why in judged(file, wanted):
        for each in parsed:
            each.add(rows)
        kept = passing(rows, why)
        rows_accepted += len(kept)
        for each in accepted:
            each.add(kept)
    return rows_accepted


def _microseconds(month: Month) -> int:
    """The start of the month in microseconds since 1970, as Arrow and numpy count wall clock time."""
    return int(np.datetime64(month.first_day, "us").astype(np.int64))
