"""Values of yellow and green trips: fares that add up, trips without a meter record, trips that are taken back."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ops.synthetic import eras
from ops.synthetic.draws import AIRPORT_ZONES, CBD_FEE_START, Mask, Values, pick, pickups, words, zones
from ops.synthetic.plan import Ints, Plan, unmetered_rows

NO_PASSENGER_SHARE = 0.02
NO_DISTANCE_SHARE = 0.02
REVERSAL_SHARE = 0.003
PAYMENT_WORDS_2009 = ("", "Credit", "CASH", "No Charge", "Dispute", "Unknown")
PAYMENT_WORDS_2010 = ("", "CRE", "CAS", "NOC", "DIS", "UNK")

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


def taxi(plan: Plan, rng: np.random.Generator, first: int, rows: int) -> Values:
    """Yellow or green trips at the positions `first <= position < first + rows`."""
    position = np.arange(first, first + rows, dtype=np.int64)
    unmetered = position >= plan.rows - unmetered_rows(plan)
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
    values["store_and_fwd_flag"] = words(("N", "Y"), trip["flag"], absent["store_and_fwd_flag"])
    values["request_source"] = words(("street", "app"), trip["source"])
    values["vendor_word"] = words(("CMT", "VTS", "DDS"), trip["legacy_vendor"])
    if plan.month < "2010-01":
        values["payment_type"] = words(PAYMENT_WORDS_2009, trip["payment_type"])
        del values["ratecodeid"]  # TLC left it empty in 2009
    elif plan.month < "2011-01":
        values["payment_type"] = words(PAYMENT_WORDS_2010, trip["payment_type"])
    return values


def _taxi_trips(plan: Plan, rng: np.random.Generator, position: Ints, unmetered: Mask) -> dict[str, NDArray[Any]]:
    """One array per property of a trip: pickup in seconds since 1970, distance in hundredths of a mile."""
    rows = len(position)
    pickup = pickups(plan, rng, position, unmetered)
    hundredths = np.minimum(rng.lognormal(5.2, 0.9, rows), 9_000).astype(np.int64) + 1
    seconds = 60 + (hundredths * rng.uniform(1.5, 4.5, rows)).astype(np.int64)
    hundredths[rng.random(rows) < NO_DISTANCE_SHARE] = 0
    passengers = pick(rng, rows, (1, 2, 3, 4, 5, 6), (0.74, 0.14, 0.04, 0.02, 0.035, 0.025))
    passengers[rng.random(rows) < NO_PASSENGER_SHARE] = 0
    payment = pick(rng, rows, (1, 2, 3, 4, 5), (0.72, 0.262, 0.01, 0.007, 0.001))
    payment[unmetered] = 0
    trip: dict[str, NDArray[Any]] = {
        # Trips without a meter record are written to the minute.
        "pickup": np.where(unmetered, pickup // 60 * 60, pickup),
        "seconds": np.where(unmetered, seconds // 60 * 60, seconds),
        "hundredths": hundredths,
        "passenger_count": passengers,
        "payment_type": payment,
        "vendorid": pick(rng, rows, (1, 2), (0.33, 0.67)),
        "legacy_vendor": pick(rng, rows, (0, 1, 2), (0.45, 0.48, 0.07)),
        "ratecodeid": pick(rng, rows, (1, 2, 3, 4, 5, 99), (0.955, 0.02, 0.003, 0.002, 0.015, 0.005)),
        "pulocationid": zones(rng, rows),
        "dolocationid": zones(rng, rows),
        "flag": pick(rng, rows, (0, 1), (0.99, 0.01)),
        "trip_type": pick(rng, rows, (1, 2), (0.97, 0.03)),
        "source": pick(rng, rows, (0, 1), (0.9, 0.1)),
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
    extra = pick(rng, rows, (0, 50, 100, 250), (0.4, 0.3, 0.2, 0.1))
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


def _reversed_pairs(rng: np.random.Generator, reserved: Mask) -> Ints:
    """Rows that the row after them takes back, drawn among pairs of rows that are not reserved."""
    pairs = len(reserved) // 2
    free = np.flatnonzero(~reserved[0 : 2 * pairs : 2] & ~reserved[1 : 2 * pairs : 2])
    count = min(int(np.ceil(len(reserved) * REVERSAL_SHARE)), len(free))
    return 2 * np.sort(rng.choice(free, count, replace=False)).astype(np.int64)
