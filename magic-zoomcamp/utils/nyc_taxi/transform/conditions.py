"""
The conditions of the rules: from values to one reason per row, null where the row passes.

A row without a value that a condition needs breaks it: nobody can tell that it is right.
"""

import pyarrow as pa
import pyarrow.compute as pc

from nyc_taxi.manifest import StagedFile
from nyc_taxi.transform.rule import Judge, Reasons

LAST_ZONE = 265
"""TLC's taxi zones are 1 to 265; 264 is an unknown one, 265 lies outside of the city."""
HOUR = 3_600_000_000
"""Microseconds."""
_PASSES = pa.scalar(None, pa.string())


def _where(wrong: pa.Array, reason: str) -> Reasons:
    """The reason where a row is wrong; what is missing is neither."""
    return pc.if_else(pc.fill_null(wrong, False), reason, _PASSES)


def no_passengers(count: pa.Array) -> Reasons:
    """A trip needs at least one passenger."""
    empty = pc.if_else(pc.greater(count, 0), _PASSES, "no_passengers")
    return pc.if_else(pc.is_null(count), "passenger_count_missing", empty)


def no_distance(miles: pa.Array) -> Reasons:
    """A trip needs a distance above zero."""
    return pc.if_else(pc.fill_null(pc.greater(miles, 0), False), _PASSES, "no_distance")


def outside_month(file: StagedFile, pickup: str) -> Judge:
    """A trip needs a pickup in the month of its file."""
    start, end = file.month.bounds()

    def judge(rows: pa.RecordBatch, _: int) -> Reasons:
        when = rows[pickup]
        outside = pc.or_(pc.less(when, start), pc.greater_equal(when, end))
        return pc.coalesce(_where(pc.is_null(when), "pickup_missing"), _where(outside, "outside_month"))

    return judge


def no_duration(pickup: pa.Array, dropoff: pa.Array) -> Reasons:
    """A trip ends after it began."""
    return pc.coalesce(
        _where(pc.is_null(pickup), "pickup_missing"),
        _where(pc.is_null(dropoff), "dropoff_missing"),
        _where(pc.less_equal(dropoff, pickup), "dropoff_not_after_pickup"),
    )


def too_fast(pickup: pa.Array, dropoff: pa.Array, miles: pa.Array, max_mph: float) -> Reasons:
    """A trip is at most so fast on average, in miles per hour; a distance in no time is too fast at any speed."""
    hours = pc.divide(pc.subtract(dropoff, pickup).cast(pa.int64()).cast(pa.float64(), safe=False), float(HOUR))
    possible = pc.multiply(pc.max_element_wise(hours, 0.0, skip_nulls=False), float(max_mph))
    return pc.coalesce(
        _where(pc.is_null(pickup), "pickup_missing"),
        _where(pc.is_null(dropoff), "dropoff_missing"),
        _where(pc.is_null(miles), "distance_missing"),
        _where(pc.greater(miles, possible), "too_fast"),
    )


def odd_fare(fare: pa.Array, min_usd: float, max_usd: float) -> Reasons:
    """A fare lies between two amounts in USD, both allowed."""
    return pc.coalesce(
        _where(pc.is_null(fare), "fare_missing"),
        _where(pc.less(fare, float(min_usd)), "fare_too_low"),
        _where(pc.greater(fare, float(max_usd)), "fare_too_high"),
    )


def unknown_zone(pickup: pa.Array, dropoff: pa.Array) -> Reasons:
    """Both zones are TLC's."""
    return pc.coalesce(*(reasons for each in (("pickup", pickup), ("dropoff", dropoff)) for reasons in _zone(*each)))


def _zone(name: str, zone: pa.Array) -> tuple[Reasons, Reasons]:
    unknown = pc.or_(pc.less(zone, 1), pc.greater(zone, LAST_ZONE))
    return _where(pc.is_null(zone), f"{name}_zone_missing"), _where(unknown, f"{name}_zone_unknown")
