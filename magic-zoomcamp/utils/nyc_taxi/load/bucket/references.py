"""The reference tables in the bucket: an object each, `reference/taxi_zones.parquet` and the others."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq

from nyc_taxi.catalog.references import StagedReference
from nyc_taxi.errors import CountsDisagree
from nyc_taxi.google import REQUEST_SECONDS, bucket_of, google_errors, retry
from nyc_taxi.load.bucket.objects import NewObject, refuse_foreign, upload
from nyc_taxi.settings import GoogleSettings


def replace_references(staged: Sequence[StagedReference], google: GoogleSettings) -> None:
    """
    Write every table's object: readers see the old one until the new one is whole.

    Raises TargetUnavailable when the bucket cannot be reached or refuses, or an object is another program's.
    """
    bucket = bucket_of(google)
    with google_errors(f"gs://{bucket.name}/reference", google):
        names = [each.object for each in staged]
        refuse_foreign(bucket, [bucket.get_blob(name, timeout=REQUEST_SECONDS, retry=retry()) for name in names])
        for each, name in zip(staged, names, strict=True):
            about = {"service": "reference", "url": each.url, "sha256": each.sha256, "rows": str(each.rows)}
            upload(bucket, NewObject(Path(each.path), name, about))
            print(f"gs://{bucket.name}/{name}: {each.rows:,} rows", flush=True)


def check_references(staged: Sequence[StagedReference], google: GoogleSettings) -> None:
    """Raise CountsDisagree unless every object holds exactly the staged rows."""
    bucket = bucket_of(google)
    for each in staged:
        where = f"gs://{bucket.name}/{each.object}"
        with google_errors(where, google):
            content = bucket.blob(each.object).download_as_bytes(timeout=REQUEST_SECONDS, retry=retry())
        if not pq.read_table(BytesIO(content)).equals(each.table()):
            raise CountsDisagree(f"{where} holds other rows than {each.url}: run again")
