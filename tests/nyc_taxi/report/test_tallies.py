"""What is counted of trips: half-open months and bins, and nothing lost between them."""

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from nyc_taxi.catalog.services import FHV, YELLOW
from nyc_taxi.months import Month
from nyc_taxi.report.tallies import Calendar, Histogram, Quality, Sums, Values

MONTH = Month(2021, 2)
moments = st.datetimes(datetime(2021, 1, 30), datetime(2021, 3, 2))


def trips(pickups: list[datetime | None]) -> pa.RecordBatch:
    """Rows of fhv, of which only the pickup is known."""
    rows = {"pickup_datetime": pa.array(pickups, pa.timestamp("us"))}
    nothing = [pa.nulls(len(pickups), kind) for kind in FHV.schema.types]
    return pa.RecordBatch.from_arrays(
        [rows.get(name, null) for name, null in zip(FHV.schema.names, nothing, strict=True)], schema=FHV.schema
    )


def test_the_first_moment_of_a_month_is_in_it_and_the_first_of_the_next_is_not() -> None:
    calendar, quality = Calendar(FHV, MONTH), Quality(FHV, MONTH)
    start, end = MONTH.bounds()
    tick = timedelta(microseconds=1)
    rows = trips([start, end - tick, start - tick, end, None])
    calendar.add(rows)
    quality.add(rows)
    assert (calendar.trips[0], calendar.trips[-1], calendar.trips.sum()) == (1, 1, 2)
    assert (calendar.outside, calendar.without_pickup) == (2, 1)
    assert (quality.outside, quality.nulls["pickup_datetime"], quality.rows) == (2, 1, 5)
    # 2021-02-01 was a Monday, 2021-02-28 a Sunday.
    assert (calendar.week[0, 0], calendar.week[6, 23]) == (1, 1)


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), moments), max_size=50), st.integers(0, 50))
def test_every_trip_is_counted_once_however_the_rows_are_cut(pickups: list[datetime | None], cut: int) -> None:
    calendar = Calendar(FHV, MONTH)
    for part in (pickups[:cut], pickups[cut:]):
        calendar.add(trips(part))
    inside = [moment for moment in pickups if moment and (moment.year, moment.month) == (2021, 2)]
    assert calendar.trips.tolist() == [sum(moment.day == day for moment in inside) for day in range(1, 29)]
    assert calendar.week.sum() == len(inside)
    assert len(inside) + calendar.outside + calendar.without_pickup == len(pickups)
    for moment in inside:
        assert calendar.week[moment.weekday(), moment.hour] > 0


def test_an_hour_is_averaged_over_the_weekdays_of_the_month() -> None:
    calendar = Calendar(FHV, Month(2021, 1))  # five Fridays, four Mondays
    calendar.add(trips([datetime(2021, 1, day, 8) for day in (1, 8, 15, 22, 29, 4)]))
    assert (calendar.per_hour[4, 8], calendar.per_hour[0, 8]) == (1, 0.25)


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(-50, 150))))
def test_every_value_has_its_bin_or_its_side(values: list[float | None]) -> None:
    histogram = Histogram("x", 2.5, 100)
    histogram.add(pa.record_batch({"x": pa.array(values, pa.float64())}))
    known = [value for value in values if value is not None]
    assert histogram.below == sum(value < 0 for value in known)
    assert histogram.beyond == sum(value >= 100 for value in known)
    for start, count in zip(histogram.starts, histogram.counts, strict=True):
        assert count == sum(start <= value < start + 2.5 for value in known)
    if histogram.half is not None:
        assert 2 * sum(value < histogram.half for value in known) >= len(known) > 0


def test_nothing_has_no_half_and_neither_has_what_lies_beyond_the_bins() -> None:
    histogram = Histogram("x", 0.5, 20)
    assert histogram.half is None
    histogram.add(pa.record_batch({"x": [50.0, 60.0, 1.0]}))
    assert histogram.half is None
    histogram.add(pa.record_batch({"x": [1.2]}))
    assert histogram.half == 1.5


def test_values_are_ranked_by_how_often_they_occur() -> None:
    values = Values("x")
    for part in ([3, 1, None], [1, 2, None, 2]):
        values.add(pa.record_batch({"x": pa.array(part, pa.int64())}))
    assert values.most() == [(1, 2), (2, 2), (3, 1)]
    assert values.counts[None] == 2


def test_sums_leave_out_what_is_missing() -> None:
    sums = Sums(["x"])
    sums.add(pa.record_batch({"x": pa.array([1.5, None, 2.0])}))
    assert (sums.totals, sums.values) == ({"x": 3.5}, {"x": 2})


def test_a_calendar_without_money_reads_the_pickup_alone() -> None:
    assert Calendar(YELLOW, MONTH, with_money=False).columns == ["tpep_pickup_datetime"]
    assert Calendar(YELLOW, MONTH).columns == ["tpep_pickup_datetime", "total_amount"]
    assert Calendar(FHV, MONTH).paid.tolist() == np.zeros(28).tolist()
