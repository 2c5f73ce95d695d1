"""Read the month's file into one DataFrame."""

import pandas as pd

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test

WHOLE = ("VendorID", "passenger_count", "RatecodeID", "PULocationID", "DOLocationID", "payment_type")
REAL = (
    "trip_distance",
    "fare_amount",
    "extra",
    "mta_tax",
    "tip_amount",
    "tolls_amount",
    "improvement_surcharge",
    "total_amount",
    "congestion_surcharge",
)
TYPES = {**dict.fromkeys(WHOLE, "Int64"), **dict.fromkeys(REAL, "float64"), "store_and_fwd_flag": "str"}
TIMES = ["tpep_pickup_datetime", "tpep_dropoff_datetime"]


@data_loader
def read_trips(*args, **kwargs):
    """The rows of the csv.gz at the variable `url`."""
    return pd.read_csv(kwargs["url"], sep=",", compression="gzip", dtype=TYPES, parse_dates=TIMES)


@test
def test_has_rows(trips, *args) -> None:
    """Something was read."""
    assert len(trips) > 0, "no trips were read"  # noqa: S101
