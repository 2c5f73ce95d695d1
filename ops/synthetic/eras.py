"""
Which columns a published trip file has: names, order and Arrow types, for every era of both origins.

The files changed many times since 2009. Each table below starts with a whole layout and goes on with what changed
and when, so that a new era is one more line. Timestamps are New York wall clock, without a zone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

YELLOW_2009 = """
    vendor_name string, Trip_Pickup_DateTime string, Trip_Dropoff_DateTime string, Passenger_Count int64,
    Trip_Distance double, Start_Lon double, Start_Lat double, Rate_Code double, store_and_forward double,
    End_Lon double, End_Lat double, Payment_Type string, Fare_Amt double, surcharge double, mta_tax double,
    Tip_Amt double, Tolls_Amt double, Total_Amt double
"""
YELLOW_2010 = """
    vendor_id string, pickup_datetime string, dropoff_datetime string, passenger_count int64, trip_distance double,
    pickup_longitude double, pickup_latitude double, rate_code string, store_and_fwd_flag string,
    dropoff_longitude double, dropoff_latitude double, payment_type string, fare_amount double, surcharge double,
    mta_tax double, tip_amount double, tolls_amount double, total_amount double
"""
YELLOW = """
    VendorID int64, tpep_pickup_datetime timestamp, tpep_dropoff_datetime timestamp, passenger_count int64,
    trip_distance double, RatecodeID int64, store_and_fwd_flag string, PULocationID int64, DOLocationID int64,
    payment_type int64, fare_amount double, extra double, mta_tax double, tip_amount double, tolls_amount double,
    improvement_surcharge double, total_amount double, congestion_surcharge null, airport_fee null
"""
YELLOW_CSV = """
    VendorID int64, tpep_pickup_datetime timestamp, tpep_dropoff_datetime timestamp, passenger_count int64,
    trip_distance double, RatecodeID int64, store_and_fwd_flag string, PULocationID int64, DOLocationID int64,
    payment_type int64, fare_amount double, extra double, mta_tax double, tip_amount double, tolls_amount double,
    improvement_surcharge double, total_amount double, congestion_surcharge double
"""
GREEN = """
    VendorID int64, lpep_pickup_datetime timestamp, lpep_dropoff_datetime timestamp, store_and_fwd_flag string,
    RatecodeID double, PULocationID int64, DOLocationID int64, passenger_count double, trip_distance double,
    fare_amount double, extra double, mta_tax double, tip_amount double, tolls_amount double, ehail_fee double,
    improvement_surcharge double, total_amount double, payment_type double, trip_type double,
    congestion_surcharge null
"""
GREEN_CSV = """
    VendorID int64, lpep_pickup_datetime timestamp, lpep_dropoff_datetime timestamp, store_and_fwd_flag string,
    RatecodeID int64, PULocationID int64, DOLocationID int64, passenger_count int64, trip_distance double,
    fare_amount double, extra double, mta_tax double, tip_amount double, tolls_amount double, ehail_fee null,
    improvement_surcharge double, total_amount double, payment_type int64, trip_type int64,
    congestion_surcharge double
"""
FHV = """
    dispatching_base_num string, pickup_datetime timestamp, dropOff_datetime timestamp, PUlocationID double,
    DOlocationID double, SR_Flag double, Affiliated_base_number string
"""
FHV_CSV_2019 = """
    dispatching_base_num string, pickup_datetime timestamp, dropOff_datetime timestamp, PUlocationID int64,
    DOlocationID int64, SR_Flag string, Affiliated_base_number string
"""
FHV_CSV_2020 = """
    dispatching_base_num string, pickup_datetime timestamp, dropoff_datetime timestamp, PULocationID int64,
    DOLocationID int64, SR_Flag string, Affiliated_base_number string
"""
FHVHV = """
    hvfhs_license_num string, dispatching_base_num string, originating_base_num string, request_datetime timestamp,
    on_scene_datetime timestamp, pickup_datetime timestamp, dropoff_datetime timestamp, PULocationID int64,
    DOLocationID int64, trip_miles double, trip_time int64, base_passenger_fare double, tolls double, bcf double,
    sales_tax double, congestion_surcharge double, airport_fee null, tips double, driver_pay double,
    shared_request_flag string, shared_match_flag string, access_a_ride_flag string, wav_request_flag string,
    wav_match_flag null
"""
FHVHV_CSV_2019 = """
    hvfhs_license_num string, dispatching_base_num string, pickup_datetime timestamp, dropoff_datetime timestamp,
    PULocationID int64, DOLocationID int64, SR_Flag int64
"""
FHVHV_CSV_2021 = """
    dispatching_base_num string, pickup_datetime timestamp, dropoff_datetime timestamp, PULocationID int64,
    DOLocationID int64, SR_Flag int64, Affiliated_base_number string
"""


@dataclass(frozen=True)
class Era:
    """
    What a file looks like from `month` on: a whole new `layout`, or what differs from the era before.

    `changes` gives a known column a new type and appends an unknown one; `renames` keep place and type.
    """

    month: str
    layout: str = ""
    changes: str = ""
    renames: Mapping[str, str] = field(default_factory=dict)


PARQUET_ERAS: dict[str, tuple[Era, ...]] = {
    "yellow": (
        Era("2009-01", layout=YELLOW_2009),
        Era("2010-01", layout=YELLOW_2010),
        Era("2010-02", changes="__index_level_0__ int64"),
        Era("2010-04", layout=YELLOW_2010),
        Era("2011-01", layout=YELLOW),
        Era("2018-07", changes="passenger_count double, RatecodeID double"),
        Era("2019-01", changes="congestion_surcharge double"),
        Era("2020-08", changes="airport_fee double"),
        Era("2020-10", changes="airport_fee null"),
        Era("2020-11", changes="airport_fee double"),
        Era(
            "2023-02",
            changes="VendorID int32, PULocationID int32, DOLocationID int32, passenger_count int64, RatecodeID int64,"
            "store_and_fwd_flag large_string",
            renames={"airport_fee": "Airport_fee"},
        ),
        Era("2025-01", changes="cbd_congestion_fee double"),
        Era("2026-06", changes="request_source string"),
    ),
    "green": (
        Era("2013-08", layout=GREEN),
        Era("2019-01", changes="congestion_surcharge double"),
        Era("2019-09", changes="ehail_fee null"),
        Era(
            "2023-02",
            changes="VendorID int32, PULocationID int32, DOLocationID int32, passenger_count int64, RatecodeID int64,"
            "store_and_fwd_flag large_string, payment_type int64, trip_type int64, ehail_fee double",
        ),
        Era("2025-01", changes="cbd_congestion_fee double"),
        Era("2026-06", changes="request_source string"),
    ),
    "fhv": (
        Era("2015-01", layout=FHV),
        Era("2019-03", changes="SR_Flag null"),
        Era("2019-05", changes="PUlocationID int64, DOlocationID int64"),
        Era("2019-06", changes="PUlocationID double, DOlocationID double"),
        Era("2020-07", changes="PUlocationID int64, DOlocationID int64"),
        Era("2020-08", changes="PUlocationID double, DOlocationID double"),
        Era(
            "2023-02",
            changes="dispatching_base_num large_string, Affiliated_base_number large_string,"
            "PUlocationID int64, DOlocationID int64, SR_Flag int64",
        ),
    ),
    "fhvhv": (
        Era("2019-02", layout=FHVHV),
        Era("2019-03", changes="wav_match_flag string"),
        # TLC alternates airport_fee between the two types; that both exist matters here, not each month.
        Era("2019-08", changes="airport_fee double"),
        Era("2020-01", changes="airport_fee null"),
        Era("2021-01", changes="airport_fee double"),
        Era(
            "2023-02",
            changes="hvfhs_license_num large_string, dispatching_base_num large_string,"
            "originating_base_num large_string, PULocationID int32, DOLocationID int32,"
            "shared_request_flag large_string, shared_match_flag large_string, access_a_ride_flag large_string,"
            "wav_request_flag large_string, wav_match_flag large_string",
        ),
        Era("2025-01", changes="cbd_congestion_fee double"),
    ),
}
CSV_ERAS: dict[str, tuple[Era, ...]] = {
    "yellow": (Era("2019-01", layout=YELLOW_CSV),),
    "green": (Era("2019-01", layout=GREEN_CSV),),
    "fhv": (Era("2019-01", layout=FHV_CSV_2019), Era("2020-01", layout=FHV_CSV_2020)),
    "fhvhv": (Era("2019-02", layout=FHVHV_CSV_2019), Era("2021-06", layout=FHVHV_CSV_2021)),
}
ERAS = {"dtc": CSV_ERAS, "tlc": PARQUET_ERAS}
LAST_MONTH = {"dtc": "2021-07", "tlc": "2026-12"}
SERVICES = tuple(PARQUET_ERAS)
ORIGINS = tuple(ERAS)

# Old spellings of a column, in lower case, and the word that the value makers use for it.
MEANINGS = {
    "vendor_name": "vendor_word",
    "vendor_id": "vendor_word",
    "trip_pickup_datetime": "pickup_datetime",
    "tpep_pickup_datetime": "pickup_datetime",
    "lpep_pickup_datetime": "pickup_datetime",
    "trip_dropoff_datetime": "dropoff_datetime",
    "tpep_dropoff_datetime": "dropoff_datetime",
    "lpep_dropoff_datetime": "dropoff_datetime",
    "start_lon": "pickup_longitude",
    "start_lat": "pickup_latitude",
    "end_lon": "dropoff_longitude",
    "end_lat": "dropoff_latitude",
    "rate_code": "ratecodeid",
    "store_and_forward": "store_and_forward_number",
    "fare_amt": "fare_amount",
    "surcharge": "extra",
    "tip_amt": "tip_amount",
    "tolls_amt": "tolls_amount",
    "total_amt": "total_amount",
}
_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


def meaning(column: str) -> str:
    """The word for what a column holds, whatever the era calls it: `Fare_Amt` is `fare_amount`."""
    return MEANINGS.get(column.lower(), column.lower())


def schema(service: str, month: str, origin: str) -> pa.Schema:
    """
    The columns of one trip file in their published order; timestamps in seconds for CSV, microseconds for Parquet.

    Raises ValueError for a service, origin or month (YYYY-MM) that the origin does not publish.
    """
    check_published(service, month, origin)
    columns: dict[str, str] = {}
    for era in ERAS[origin][service]:
        if era.month > month:
            break
        if era.layout:
            columns = {}
        columns.update(_parse(era.layout or era.changes))
        columns = {era.renames.get(name, name): kind for name, kind in columns.items()}
    types = {
        "int32": pa.int32(),
        "int64": pa.int64(),
        "double": pa.float64(),
        "string": pa.string(),
        "large_string": pa.large_string(),
        "null": pa.null(),
        # CSV text has whole seconds; Parquet stores microseconds.
        "timestamp": pa.timestamp("s") if origin == "dtc" else pa.timestamp("us"),
    }
    return pa.schema([pa.field(name, types[kind]) for name, kind in columns.items()])


def check_published(service: str, month: str, origin: str) -> None:
    """Raise ValueError, naming what is allowed, unless `origin` publishes `service` for `month` (YYYY-MM)."""
    if origin not in ORIGINS:
        raise ValueError(f"origin {origin!r} is not one of {', '.join(ORIGINS)}")
    if service not in SERVICES:
        raise ValueError(f"service {service!r} is not one of {', '.join(SERVICES)}")
    first, last = ERAS[origin][service][0].month, LAST_MONTH[origin]
    if not _MONTH.fullmatch(month) or not first <= month <= last:
        raise ValueError(f"month {month!r}: {origin} has {service} files from {first} to {last}, written YYYY-MM")


def _parse(columns: str) -> dict[str, str]:
    return dict(column.split() for column in columns.split(","))
