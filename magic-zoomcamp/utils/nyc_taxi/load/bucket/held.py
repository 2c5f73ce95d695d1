"""What the bucket holds of all months, as its objects' metadata tell it: no object is opened."""

import re
from collections.abc import Iterator
from dataclasses import replace

from google.cloud.storage import Blob, Bucket

from nyc_taxi.catalog.services import SERVICES, Service
from nyc_taxi.google import REQUEST_SECONDS, bucket_of, google_errors, retry
from nyc_taxi.load.bucket.days import added_up, day_object
from nyc_taxi.load.bucket.pair import month_object
from nyc_taxi.load.holding import PATIENCE_SECONDS, Holding, Holdings
from nyc_taxi.months import Month
from nyc_taxi.settings import GoogleSettings

FIELDS = "items(name,metadata,updated),nextPageToken"
_MONTH = re.compile(r"_tripdata_(\d{4})-(0[1-9]|1[0-2])\.parquet$")


def held_months(google: GoogleSettings) -> Holdings:
    """The months that have an object, and whether their day objects are of it; TargetUnavailable, UnknownName."""
    bucket = bucket_of(google)
    held: Holdings = {}
    with google_errors(f"gs://{bucket.name}", google):
        for service in SERVICES.values():
            days: dict[Month, list[dict[str, str]]] = {}
            for month, blob in _objects(bucket, day_object(service, Month(2021, 1), "").partition("=")[0]):
                days.setdefault(month, []).append(blob.metadata or {})
            for month, blob in _objects(bucket, f"trips/{service.name}/"):
                if blob.name == month_object(service, month):
                    held[service.name, month] = _holding(service, blob, days.get(month, []))
    return held


def _objects(bucket: Bucket, prefix: str) -> Iterator[tuple[Month, Blob]]:
    """The objects below a prefix that are named after a month."""
    patient = retry().with_timeout(PATIENCE_SECONDS)
    for blob in bucket.list_blobs(prefix=prefix, fields=FIELDS, timeout=REQUEST_SECONDS, retry=patient):
        if found := _MONTH.search(blob.name):
            yield Month(int(found[1]), int(found[2])), blob


def _holding(service: Service, blob: Blob, days: list[dict[str, str]]) -> Holding:
    told = blob.metadata or {}
    if not told.get("rows", "").isdecimal():
        return Holding(None, loaded_at=blob.updated, odd=("another program wrote the object",))
    rules = told.get("rules", "")
    holding = Holding(
        rows=int(told["rows"]),
        sums=_sums(service, [told]),
        trip_file=told.get("trip_file_sha256", ""),
        rules=tuple(name for name in rules.split(",") if name != "none") if rules else None,
        origin=told.get("origin", ""),
        url=told.get("url", ""),
        etag=told.get("etag", ""),
        bytes=int(told["bytes"]) if told.get("bytes", "").isdecimal() else None,
        loaded_at=blob.updated,
    )
    if not days:
        return replace(holding, odd=("it has no day objects",))
    if len({day.get("version") for day in days}) > 1 or not all(day.get("rows", "").isdecimal() for day in days):
        return replace(holding, odd=("its day objects are of two versions",))
    rows = sum(int(day["rows"]) for day in days)
    if rows != holding.rows or any(day.get("trip_file_sha256") != holding.trip_file for day in days):
        return replace(holding, odd=(f"its day objects hold {rows:,} rows of another version",))
    return replace(holding, sums=holding.sums or _sums(service, days))


def _sums(service: Service, told: list[dict[str, str]]) -> dict[str, float] | None:
    """The sums that the objects tell; None where one does not."""
    try:
        return added_up({name: float(each[f"sum_{name}"]) for name in service.measures} for each in told)
    except (KeyError, ValueError):
        return None
