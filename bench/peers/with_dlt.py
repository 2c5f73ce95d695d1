"""The month by dlt at its fastest for Postgres: Arrow tables, loaded as CSV by COPY, no row in Python."""

import gzip
import os
import sys
import urllib.request
from collections.abc import Iterator

import dlt  # type: ignore[import-not-found,unused-ignore]
import pyarrow as pa
import pyarrow.compute as pc
from dlt.destinations import postgres  # type: ignore[import-not-found,unused-ignore]
from pyarrow import csv

WHOLE = ("VendorID", "passenger_count", "RatecodeID", "PULocationID", "DOLocationID", "payment_type")
MONEY = ("extra", "fare_amount", "mta_tax", "tip_amount", "tolls_amount", "improvement_surcharge", "total_amount")
TYPES = {
    **dict.fromkeys(WHOLE, pa.int64()),
    **dict.fromkeys((*MONEY, "trip_distance", "congestion_surcharge"), pa.float64()),
    "store_and_fwd_flag": pa.string(),
}
BLOCK_BYTES = 8 << 20


def trips(url: str) -> Iterator[pa.Table]:
    """The file's rows with passengers, in pieces."""
    # The address is that of the benchmark's own server.
    with urllib.request.urlopen(url) as answer, gzip.open(answer) as text:  # noqa: S310
        reader = csv.open_csv(
            text,
            read_options=csv.ReadOptions(block_size=BLOCK_BYTES),
            convert_options=csv.ConvertOptions(column_types=TYPES),
        )
        for batch in reader:
            yield pa.table(batch).filter(pc.greater(batch["passenger_count"], 0))


def main(url: str) -> None:
    """Load the file at a URL into the schema with_dlt."""
    place = {name: os.environ[f"PG{name.upper()}"] for name in ("host", "port", "user", "password")}
    target = postgres(
        f"postgresql://{place['user']}:{place['password']}@{place['host']}:{place['port']}/{os.environ['PGDATABASE']}"
    )
    pipeline = dlt.pipeline("with_dlt", destination=target, dataset_name="with_dlt")
    resource = dlt.resource(trips(url), name="trips", write_disposition="replace")
    pipeline.run(resource, loader_file_format="csv").raise_on_failed_jobs()


if __name__ == "__main__":
    main(sys.argv[1])
