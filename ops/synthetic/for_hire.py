"""Values of for-hire trips: fhv, which knows base and zones only, and fhvhv, the trips of Uber and Lyft."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ops.synthetic.draws import AIRPORT_ZONES, CBD_FEE_START, Values, pick, pickups, words, zones
from ops.synthetic.plan import Plan

LYFT, UBER = "HV0005", "HV0003"
FAR_DROPOFF = np.datetime64("3019-02-03T17:30:32", "s")


def fhv(plan: Plan, rng: np.random.Generator, first: int, rows: int) -> Values:
    """For-hire trips at the positions `first <= position < first + rows`."""
    position = np.arange(first, first + rows, dtype=np.int64)
    pickup = pickups(plan, rng, position, np.zeros(rows, np.bool_))
    dropoff = pickup + rng.integers(60, 5_400, rows)
    dropoff[position == plan.far] = FAR_DROPOFF.astype(np.int64)
    bases = tuple(f"B{number:05d}" for number in range(9, 3_009, 10))
    base = rng.integers(0, len(bases), rows)
    affiliated = np.where(rng.random(rows) < 0.8, base, rng.integers(0, len(bases), rows))
    is_n, no_flag = pick(rng, rows, (0, 1), (0.75, 0.25)), rng.random(rows) > 0.02
    return {
        "dispatching_base_num": words(bases, base),
        "affiliated_base_number": words(bases, affiliated, absent=rng.random(rows) < 0.01),
        "pickup_datetime": pa.array(pickup.astype("datetime64[s]")),
        "dropoff_datetime": pa.array(dropoff.astype("datetime64[s]")),
        "pulocationid": pa.array(zones(rng, rows), mask=rng.random(rows) < 0.6),
        "dolocationid": pa.array(zones(rng, rows), mask=rng.random(rows) < 0.15),
        "sr_flag": words(("1", "N"), is_n, absent=no_flag)
        if plan.origin == "dtc"
        # A column of numbers cannot hold the 'N' that the text files have.
        else pa.array(np.ones(rows, np.int64), mask=no_flag),
    }


def fhvhv(plan: Plan, rng: np.random.Generator, first: int, rows: int) -> Values:
    """High-volume for-hire trips at the positions `first <= position < first + rows`."""
    position = np.arange(first, first + rows, dtype=np.int64)
    pickup = pickups(plan, rng, position, np.zeros(rows, np.bool_))
    on_scene = pickup - rng.integers(5, 180, rows)
    request = on_scene - rng.integers(30, 600, rows)
    hundredths = np.minimum(rng.lognormal(5.6, 0.9, rows), 9_000).astype(np.int64) + 10
    seconds = 90 + (hundredths * rng.uniform(1.5, 3.5, rows)).astype(np.int64)
    lyft = rng.random(rows) < 0.27
    pickup_zone, dropoff_zone = zones(rng, rows), zones(rng, rows)
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
    values |= {name: words(("N", "Y"), flag.astype(np.int64)) for name, flag in yes.items()}
    return values | {
        "hvfhs_license_num": words((UBER, LYFT), lyft.astype(np.int64)),
        "dispatching_base_num": words(("B02764", "B02510"), lyft.astype(np.int64)),
        "affiliated_base_number": words(("B02764", "B02510"), lyft.astype(np.int64)),
        # Lyft reports neither the originating base nor the arrival.
        "originating_base_num": words(("B02764", "B02510"), lyft.astype(np.int64), absent=lyft),
        "on_scene_datetime": pa.array(on_scene.astype("datetime64[s]"), mask=lyft),
        "request_datetime": pa.array(request.astype("datetime64[s]")),
        "pickup_datetime": pa.array(pickup.astype("datetime64[s]")),
        "dropoff_datetime": pa.array((pickup + seconds).astype("datetime64[s]")),
        "pulocationid": pa.array(pickup_zone),
        "dolocationid": pa.array(dropoff_zone),
        "trip_miles": pa.array(hundredths / 100),
        "trip_time": pa.array(seconds),
        "access_a_ride_flag": words((" ", "N"), lyft.astype(np.int64)),
        "sr_flag": pa.array(np.ones(rows, np.int64), mask=rng.random(rows) > 0.05),
    }
