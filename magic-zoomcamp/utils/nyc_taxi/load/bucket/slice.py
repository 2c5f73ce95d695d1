"""The trips of one day of pickup as one object, on demand: what the course's exporter by execution_date writes."""

import re
from datetime import date, datetime, time, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import CountsDisagree, NotATripFile, UnknownName
from nyc_taxi.google import REQUEST_SECONDS, bucket_of, google_errors, retry
from nyc_taxi.load.bucket.objects import NewObject, refuse_foreign, scratch_folder, upload
from nyc_taxi.load.bucket.pair import described
from nyc_taxi.load.bucket.parquet import TripsWriter
from nyc_taxi.manifest import StagedFile
from nyc_taxi.settings import GoogleSettings
from nyc_taxi.transform.rules import accepted

PREFIX = re.compile(r"([\w-]+(/[\w-]+)*)?", re.ASCII)


def slice_object(day: date, prefix: str = "") -> str:
    """Name of the object that holds the trips picked up on one day; UnknownName for a prefix that is no folder."""
    if not PREFIX.fullmatch(prefix.strip("/")):
        raise UnknownName(f"prefix {prefix!r} is no folder such as green or by_service/green: letters, digits, _ and -")
    return f"{prefix.strip('/')}/{day:%Y/%m/%d}/daily-trips.parquet".removeprefix("/")


def write_slice(file: StagedFile, day: date, google: GoogleSettings, prefix: str = "") -> int:
    """
    Write the accepted trips of a month's file that were picked up on one day; return how many they are.

    Raises NotATripFile when there are none, and CountsDisagree when the object holds another service's day.
    """
    bucket = bucket_of(google)
    name = slice_object(day, prefix)
    with google_errors(f"gs://{bucket.name}/{name}", google), scratch_folder(file.staged) as folder:
        there = bucket.get_blob(name, timeout=REQUEST_SECONDS, retry=retry())
        refuse_foreign(bucket, [there])
        if there and there.metadata["service"] != file.service_name:
            raise CountsDisagree(
                f"gs://{bucket.name}/{name} holds {there.metadata['service']} trips, which {file.service_name} would "
                f"replace: set the variable prefix, such as {file.service_name}"
            )
        with TripsWriter(folder / "slice.parquet", file.service.schema, file.service.measures) as out:
            for batch in accepted(file):
                out.write(_picked_up_on(day, batch, file.service))
        if not out.rows:
            raise NotATripFile(
                f"{file.url}: no accepted trip was picked up on {day}; gs://{bucket.name}/{name} is as it was"
            )
        upload(bucket, NewObject(folder / "slice.parquet", name, described(file) | {"rows": str(out.rows)}))
    print(f"gs://{bucket.name}/{name}: {out.rows:,} rows", flush=True)
    return out.rows


def _picked_up_on(day: date, batch: pa.RecordBatch, service: Service) -> pa.RecordBatch:
    start = datetime.combine(day, time())
    pickup = batch[service.pickup]
    return batch.filter(pc.and_(pc.greater_equal(pickup, start), pc.less(pickup, start + timedelta(days=1))))
