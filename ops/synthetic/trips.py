"""
Values of synthetic trips that behave like the real ones: shares, sums, strays and gaps as TLC publishes them.

Nothing here reads or writes a file. All values follow from the plan of a file and the number of a chunk, so that
any chunk can be made alone and a file of any size needs the memory of one chunk.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ops.synthetic import eras

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Values = dict[str, "pa.Array[Any]"]

UNMETERED_SHARE = 0.07
NO_PASSENGER_SHARE = 0.02
NO_DISTANCE_SHARE = 0.02
REVERSAL_SHARE = 0.003
LAST_ZONE = 265
AIRPORT_ZONES = (132, 138)
PAYMENT_WORDS_2009 = ("", "Credit", "CASH", "No Charge", "Dispute", "Unknown")
PAYMENT_WORDS_2010 = ("", "CRE", "CAS", "NOC", "DIS", "UNK")
LYFT, UBER = "HV0005", "HV0003"
# One fhv trip of these years ends a thousand years later: nanosecond timestamps cannot hold it.
FAR_YEARS = ("2019", "2020", "2021", "2022")
FAR_DROPOFF = np.datetime64("3019-02-03T17:30:32", "s")
CBD_FEE_START = np.datetime64("2025-01-05", "s")

_PARTS_OF_TOTAL = (
    "fare_amount",
    "extra",
    "mta_tax",
    "tip_amount",
    "tolls_amount",
    "improvement_surcharge",
    "congestion_surcharge",
    "airport_fee",
    "cbd_congestion_fee",
)


@dataclass(frozen=True)
class Plan:
    """What is decided once for a file of `rows` rows; positions are row numbers from 0 in file order."""

    service: str
    month: str
    origin: str
    rows: int
    seed: int
    schema: pa.Schema
    malformed: Ints
    """Positions of the broken lines."""
    strays: Ints
    """Positions of trips whose pickup lies outside the month, the first of them in 2008."""
    far: int
    """Position of the drop-off in the year 3019, or -1."""

    def rng(self, stream: int) -> np.random.Generator:
        """Random numbers of one stream: 0 for the plan, 1 + n for chunk n."""
        name = zlib.crc32(f"{self.service} {self.month} {self.origin}".encode())
        return np.random.default_rng([self.seed, name, stream])


def plan_file(service: str, month: str, origin: str, rows: int, seed: int = 0, malformed: int = 0) -> Plan:
    """
    Decide what a file holds: era, broken lines, strays.

    A taxi file has 2 to 10 strays, fewer where that would be more than a tenth of the rows.
    Raises ValueError for a file that the origin does not publish and for counts that do not fit.
    """
    schema = eras.schema(service, month, origin)
    if rows < 0 or not 0 <= malformed <= rows:
        raise ValueError(f"malformed lines ({malformed}) must be between 0 and the rows ({rows}) of the file")
    if malformed and origin != "dtc":
        raise ValueError("only CSV lines can be malformed: use origin dtc")
    if seed < 0:
        raise ValueError(f"seed {seed} is negative")
    broken = (2 * np.arange(malformed, dtype=np.int64) + 1) * rows // max(2 * malformed, 1)
    nobody: Ints = np.empty(0, np.int64)
    plan = Plan(service, month, origin, rows, seed, schema, broken, nobody, -1)
    rng = plan.rng(0)
    count = min(int(rng.integers(2, 11)), rows // 10)
    sample = rng.integers(0, max(rows, 1), 200)
    free = sample[~np.isin(sample, broken)]
    _, first_seen = np.unique(free, return_index=True)
    chosen: Ints = free[np.sort(first_seen)]
    if service in ("yellow", "green"):
        return Plan(service, month, origin, rows, seed, schema, broken, chosen[:count], -1)
    has_far = service == "fhv" and month[:4] in FAR_YEARS and rows > 0 and len(chosen) > 0
    return Plan(service, month, origin, rows, seed, schema, broken, nobody, int(chosen[0]) if has_far else -1)


def make_chunk(plan: Plan, chunk: int, first: int, rows: int) -> pa.Table:
    """Rows `first <= position < first + rows` of the file, in the columns and types of its era."""
    makers = {"yellow": _taxi, "green": _taxi, "fhv": _fhv, "fhvhv": _fhvhv}
    values = makers[plan.service](plan, plan.rng(1 + chunk), first, rows)
    arrays = [
        # Columns without a maker (null-typed ones, ehail_fee) are empty in the real files too.
        values[eras.meaning(field.name)].cast(field.type)
        if eras.meaning(field.name) in values and not pa.types.is_null(field.type)
        else pa.nulls(rows, field.type)
        for field in plan.schema
    ]
    return pa.Table.from_arrays(arrays, schema=plan.schema)


def _taxi(plan: Plan, rng: np.random.Generator, first: int, rows: int) -> Values:
    position = np.arange(first, first + rows, dtype=np.int64)
    unmetered = position >= plan.rows - _unmetered_rows(plan)
    trip = _taxi_trips(plan, rng, position, unmetered)
    cents = _taxi_cents(plan, rng, trip, unmetered)

    # Drawn last, so that the trips above are the same whichever rows are free for a pair.
    reserved = np.isin(position, plan.malformed) | np.isin(position, plan.strays) | unmetered
    kept = _reversed_pairs(rng, reserved)
    trip["payment_type"][kept] = 4
    cents["tip_amount"][kept] = 0
    for of_trip in trip.values():
        of_trip[kept + 1] = of_trip[kept]
    for amount in cents.values():
        amount[kept + 1] = -amount[kept]

    numbers: dict[str, NDArray[Any]] = {name: amount / 100 for name, amount in cents.items()}
    numbers |= trip | {
        "pickup_datetime": trip["pickup"].astype("datetime64[s]"),
        "dropoff_datetime": (trip["pickup"] + trip["seconds"]).astype("datetime64[s]"),
        "trip_distance": trip["hundredths"] / 100,
        "total_amount": sum(cents.values(), np.zeros(rows, np.int64)) / 100,
        "__index_level_0__": position,
    }
    absent = _taxi_gaps(plan, unmetered)
    values: Values = {name: pa.array(number, mask=absent.get(name)) for name, number in numbers.items()}
    values["store_and_fwd_flag"] = _words(("N", "Y"), trip["flag"], absent["store_and_fwd_flag"])
    values["request_source"] = _words(("street", "app"), trip["source"])
    values["vendor_word"] = _words(("CMT", "VTS", "DDS"), trip["legacy_vendor"])
    if plan.month < "2010-01":
        values["payment_type"] = _words(PAYMENT_WORDS_2009, trip["payment_type"])
        del values["ratecodeid"]  # TLC left it empty in 2009
    elif plan.month < "2011-01":
        values["payment_type"] = _words(PAYMENT_WORDS_2010, trip["payment_type"])
    return values


def _taxi_trips(plan: Plan, rng: np.random.Generator, position: Ints, unmetered: Mask) -> dict[str, NDArray[Any]]:
    """One array per property of a trip: pickup in seconds since 1970, distance in hundredths of a mile."""
    rows = len(position)
    pickup = _pickups(plan, rng, position, unmetered)
    hundredths = np.minimum(rng.lognormal(5.2, 0.9, rows), 9_000).astype(np.int64) + 1
    seconds = 60 + (hundredths * rng.uniform(1.5, 4.5, rows)).astype(np.int64)
    hundredths[rng.random(rows) < NO_DISTANCE_SHARE] = 0
    passengers = _pick(rng, rows, (1, 2, 3, 4, 5, 6), (0.74, 0.14, 0.04, 0.02, 0.035, 0.025))
    passengers[rng.random(rows) < NO_PASSENGER_SHARE] = 0
    payment = _pick(rng, rows, (1, 2, 3, 4, 5), (0.72, 0.262, 0.01, 0.007, 0.001))
    payment[unmetered] = 0
    trip: dict[str, NDArray[Any]] = {
        # Trips without a meter record are written to the minute.
        "pickup": np.where(unmetered, pickup // 60 * 60, pickup),
        "seconds": np.where(unmetered, seconds // 60 * 60, seconds),
        "hundredths": hundredths,
        "passenger_count": passengers,
        "payment_type": payment,
        "vendorid": _pick(rng, rows, (1, 2), (0.33, 0.67)),
        "legacy_vendor": _pick(rng, rows, (0, 1, 2), (0.45, 0.48, 0.07)),
        "ratecodeid": _pick(rng, rows, (1, 2, 3, 4, 5, 99), (0.955, 0.02, 0.003, 0.002, 0.015, 0.005)),
        "pulocationid": _zones(rng, rows),
        "dolocationid": _zones(rng, rows),
        "flag": _pick(rng, rows, (0, 1), (0.99, 0.01)),
        "trip_type": _pick(rng, rows, (1, 2), (0.97, 0.03)),
        "source": _pick(rng, rows, (0, 1), (0.9, 0.1)),
    }
    if plan.service == "yellow" and plan.month < "2011-01":
        for end in ("pickup", "dropoff"):
            trip[f"{end}_longitude"] = rng.normal(-73.98, 0.04, rows).round(6)
            trip[f"{end}_latitude"] = rng.normal(40.75, 0.03, rows).round(6)
    return trip


def _taxi_gaps(plan: Plan, unmetered: Mask) -> dict[str, Mask | None]:
    """Which rows have no value, per column that has gaps."""
    csv, green = plan.origin == "dtc", plan.service == "green"
    return {
        "vendorid": unmetered if csv else None,
        "passenger_count": unmetered,
        "ratecodeid": unmetered,
        "store_and_fwd_flag": unmetered,
        # Yellow Parquet files write payment type 0 here; the CSV files and green leave it empty.
        "payment_type": unmetered if csv or green else None,
        "trip_type": unmetered,
        "congestion_surcharge": unmetered if green or not csv else None,
        "airport_fee": unmetered,
        "cbd_congestion_fee": unmetered if green else None,
        # The state's tax began in 2009-11; the column is empty before.
        "mta_tax": np.full(len(unmetered), plan.month < "2009-11"),
    }


def _taxi_cents(
    plan: Plan, rng: np.random.Generator, trip: dict[str, NDArray[Any]], unmetered: Mask
) -> dict[str, Ints]:
    """Parts of the total that this era has a column for, in US cents: whole numbers, so that sums are exact."""
    rows, month = len(unmetered), plan.month
    pickup, hundredths = trip["pickup"], trip["hundredths"]
    fare = np.where(trip["ratecodeid"] == 2, 5_200, 250 + hundredths * 250 // 100 // 50 * 50)
    tipped = (trip["payment_type"] == 1) | (unmetered & (rng.random(rows) < 0.3))
    extra = _pick(rng, rows, (0, 50, 100, 250), (0.4, 0.3, 0.2, 0.1))
    improvement = 0 if month < "2015-01" else 30 if month < "2023-01" else 100
    airport = 0 if month < "2020-11" else 125 if month < "2023-01" else 175
    congestion = 0 if month < "2019-02" else 250 if plan.service == "yellow" else 275
    in_centre = rng.random(rows) < (0.8 if plan.service == "yellow" else 0.2)
    # Where a column is empty for trips without a meter record, its charge is no part of their total.
    no_congestion = unmetered & (plan.service == "green" or plan.origin == "tlc")
    cents: dict[str, Ints] = {
        "fare_amount": fare,
        "extra": np.where(unmetered, 0, extra),
        "mta_tax": np.where(unmetered, 0, 50 if month >= "2009-11" else 0),
        "tip_amount": np.where(tipped, (fare * rng.uniform(0.1, 0.3, rows)).astype(np.int64), 0),
        "tolls_amount": np.where(rng.random(rows) < 0.04, 612, 0),
        "improvement_surcharge": np.full(rows, improvement),
        "congestion_surcharge": np.where(in_centre & ~no_congestion, congestion, 0),
        "airport_fee": np.where(np.isin(trip["pulocationid"], AIRPORT_ZONES) & ~unmetered, airport, 0),
        "cbd_congestion_fee": np.where(
            in_centre & (pickup >= CBD_FEE_START.astype(np.int64)) & ~(unmetered & (plan.service == "green")),
            75,
            0,
        ),
    }
    live = {eras.meaning(field.name) for field in plan.schema if not pa.types.is_null(field.type)}
    return {name: cents[name].astype(np.int64) for name in _PARTS_OF_TOTAL if name in live}


def _fhv(plan: Plan, rng: np.random.Generator, first: int, rows: int) -> Values:
    position = np.arange(first, first + rows, dtype=np.int64)
    pickup = _pickups(plan, rng, position, np.zeros(rows, np.bool_))
    dropoff = pickup + rng.integers(60, 5_400, rows)
    dropoff[position == plan.far] = FAR_DROPOFF.astype(np.int64)
    bases = tuple(f"B{number:05d}" for number in range(9, 3_009, 10))
    base = rng.integers(0, len(bases), rows)
    affiliated = np.where(rng.random(rows) < 0.8, base, rng.integers(0, len(bases), rows))
    is_n, no_flag = _pick(rng, rows, (0, 1), (0.75, 0.25)), rng.random(rows) > 0.02
    return {
        "dispatching_base_num": _words(bases, base),
        "affiliated_base_number": _words(bases, affiliated, absent=rng.random(rows) < 0.01),
        "pickup_datetime": pa.array(pickup.astype("datetime64[s]")),
        "dropoff_datetime": pa.array(dropoff.astype("datetime64[s]")),
        "pulocationid": pa.array(_zones(rng, rows), mask=rng.random(rows) < 0.6),
        "dolocationid": pa.array(_zones(rng, rows), mask=rng.random(rows) < 0.15),
        "sr_flag": _words(("1", "N"), is_n, absent=no_flag)
        if plan.origin == "dtc"
        # A column of numbers cannot hold the 'N' that the text files have.
        else pa.array(np.ones(rows, np.int64), mask=no_flag),
    }


def _fhvhv(plan: Plan, rng: np.random.Generator, first: int, rows: int) -> Values:
    position = np.arange(first, first + rows, dtype=np.int64)
    pickup = _pickups(plan, rng, position, np.zeros(rows, np.bool_))
    on_scene = pickup - rng.integers(5, 180, rows)
    request = on_scene - rng.integers(30, 600, rows)
    hundredths = np.minimum(rng.lognormal(5.6, 0.9, rows), 9_000).astype(np.int64) + 10
    seconds = 90 + (hundredths * rng.uniform(1.5, 3.5, rows)).astype(np.int64)
    lyft = rng.random(rows) < 0.27
    pickup_zone, dropoff_zone = _zones(rng, rows), _zones(rng, rows)
    fare = 400 + hundredths * 2 + seconds // 2
    at_airport = np.isin(pickup_zone, AIRPORT_ZONES)
    in_centre = rng.random(rows) < 0.4
    cents: dict[str, NDArray[Any]] = {
        "base_passenger_fare": fare,
        "tolls": np.where(rng.random(rows) < 0.08, 655, 0),
        "bcf": fare * 25 // 1_000,
        "sales_tax": fare * 8_875 // 100_000,
        "congestion_surcharge": np.where(in_centre, 275, 0),
        "airport_fee": np.where(at_airport, 250, 0),
        "tips": np.where(rng.random(rows) < 0.18, fare * 15 // 100, 0),
        "driver_pay": fare * 76 // 100,
        "cbd_congestion_fee": np.where(in_centre & (pickup >= CBD_FEE_START.astype(np.int64)), 150, 0),
    }
    yes = {name: rng.random(rows) < share for name, share in (
        ("shared_request_flag", 0.05), ("shared_match_flag", 0.02), ("wav_request_flag", 0.002),
        ("wav_match_flag", 0.06))}  # fmt: skip
    values = {name: pa.array(amount / 100) for name, amount in cents.items()}
    values |= {name: _words(("N", "Y"), flag.astype(np.int64)) for name, flag in yes.items()}
    return values | {
        "hvfhs_license_num": _words((UBER, LYFT), lyft.astype(np.int64)),
        "dispatching_base_num": _words(("B02764", "B02510"), lyft.astype(np.int64)),
        "affiliated_base_number": _words(("B02764", "B02510"), lyft.astype(np.int64)),
        # Lyft reports neither the originating base nor the arrival.
        "originating_base_num": _words(("B02764", "B02510"), lyft.astype(np.int64), absent=lyft),
        "on_scene_datetime": pa.array(on_scene.astype("datetime64[s]"), mask=lyft),
        "request_datetime": pa.array(request.astype("datetime64[s]")),
        "pickup_datetime": pa.array(pickup.astype("datetime64[s]")),
        "dropoff_datetime": pa.array((pickup + seconds).astype("datetime64[s]")),
        "pulocationid": pa.array(pickup_zone),
        "dolocationid": pa.array(dropoff_zone),
        "trip_miles": pa.array(hundredths / 100),
        "trip_time": pa.array(seconds),
        "access_a_ride_flag": _words((" ", "N"), lyft.astype(np.int64)),
        "sr_flag": pa.array(np.ones(rows, np.int64), mask=rng.random(rows) > 0.05),
    }


def _unmetered_rows(plan: Plan) -> int:
    """
    Trips without a meter record stand at the end of a file, where a reader that guesses types does not look.

    Yellow files have none before 2018-07, when their whole-number columns became doubles to hold the gaps.
    """
    if plan.service == "yellow" and plan.month < "2018-07":
        return 0
    return round(plan.rows * UNMETERED_SHARE)


def _pickups(plan: Plan, rng: np.random.Generator, position: Ints, unmetered: Mask) -> Ints:
    """Pickups in seconds since 1970, New York wall clock: nearly in order within the month, but for the strays."""
    begin = np.datetime64(plan.month, "M")
    start, end = (int(month.astype("datetime64[s]").astype(np.int64)) for month in (begin, begin + 1))
    late = _unmetered_rows(plan) if plan.service in ("yellow", "green") else 0
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


def _reversed_pairs(rng: np.random.Generator, reserved: Mask) -> Ints:
    """Rows that the row after them takes back, drawn among pairs of rows that are not reserved."""
    pairs = len(reserved) // 2
    free = np.flatnonzero(~reserved[0 : 2 * pairs : 2] & ~reserved[1 : 2 * pairs : 2])
    count = min(int(np.ceil(len(reserved) * REVERSAL_SHARE)), len(free))
    return 2 * np.sort(rng.choice(free, count, replace=False)).astype(np.int64)


def _zones(rng: np.random.Generator, rows: int) -> Ints:
    """Taxi zones 1 to 265; a few of them have most of the trips, and every zone has some."""
    busy = rng.integers(0, 40, rows) * 6 + 12
    return np.where(rng.random(rows) < 0.7, busy, rng.integers(1, LAST_ZONE + 1, rows)).astype(np.int64)


def _pick(rng: np.random.Generator, rows: int, values: Sequence[int], shares: Sequence[float]) -> Ints:
    """`rows` draws from `values` with the given shares, by one search instead of `Generator.choice`: faster."""
    edges = np.cumsum(shares)[:-1]
    return np.array(values, np.int64)[np.searchsorted(edges, rng.random(rows), side="right")]


def _words(words: Sequence[str], index: Ints, absent: Mask | None = None) -> "pa.Array[Any]":
    return pa.array(words, pa.string()).take(pa.array(index, pa.int64(), mask=absent))
