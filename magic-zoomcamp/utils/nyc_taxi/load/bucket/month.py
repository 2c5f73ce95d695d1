"""
Months of trips as Parquet objects: one object a month, and one day's trips on demand.

TLC's own column names, all canonical columns in every object, times in microseconds without a zone. Names depend on
service and month only. The manifest travels in the Parquet footer, so that whoever finds the object knows its numbers.
"""

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from google.cloud.storage import Blob, Bucket

from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import CountsDisagree, NotATripFile, NotPublished
from nyc_taxi.google import REQUEST_SECONDS, bucket_of, google_errors, retry
from nyc_taxi.load.bucket.objects import look_again, scratch_folder, tail
from nyc_taxi.load.bucket.pair import look, month_object, pair_of, rejected_object, replace_pair
from nyc_taxi.load.bucket.parquet import (
    Encoder,
    TripsWriter,
    free_unused,
    measure_stream,
    rejected_schema,
    to_schema,
)
from nyc_taxi.manifest import StagedFile, sums_agree
from nyc_taxi.months import Month
from nyc_taxi.settings import GoogleSettings
from nyc_taxi.transform.rules import judged, malformed, split

MANIFEST_KEY = b"nyc_taxi.manifest"
FOOTER_BYTES = 64 << 10
"""Read at the first try; a big month's footer takes a second one."""
LARGEST_FOOTER = 1 << 20


def replace_month(file: StagedFile, google: GoogleSettings) -> None:
    """
    Replace the month's object, atomically; its rejected rows go to an object of their own right after it.

    Two runs of one month at once end as one of them, both objects of it.

    Raises CountsDisagree (nothing changed) if the rows or sums written are not those of the manifest, NotATripFile if
    the staged file is gone, TargetUnavailable if the bucket cannot be reached or refuses, UnknownName if none is set.
    """
    file.check_conservation()
    bucket = bucket_of(google)
    where = f"gs://{bucket.name}/{month_object(file.service, file.month)}"
    with google_errors(where, google), scratch_folder(file.staged) as folder:
        kept, rejected = _write_files(file, folder)
        replace_pair(bucket, *pair_of(file, kept, rejected))
        print(f"{where}: {file.rows_accepted:,} rows, {kept.stat().st_size / 1e6:,.1f} MB", flush=True)


def find_month(service: Service, month: Month, google: GoogleSettings) -> StagedFile:
    """
    The manifest of the month in the lake, its path the object's; reads the object's footer only.

    Raises NotPublished when there is no such object, NotATripFile when it is no Parquet, has another schema, or belongs
    to another service or month.
    """
    bucket = bucket_of(google)
    where = f"gs://{bucket.name}/{month_object(service, month)}"
    with google_errors(where, google):
        metadata = look_again(lambda: _footer(_existing(bucket, service, month), where))
    schema = metadata.schema.to_arrow_schema()
    _refuse_other_schema(schema, service, where)
    kept = (schema.metadata or {}).get(MANIFEST_KEY)
    if not kept:
        raise NotATripFile(f"{where} carries no manifest: another program wrote it; move it and run api_to_gcs")
    try:
        file = replace(StagedFile.of_row(json.loads(kept)), path=where)
    except (ValueError, TypeError, AttributeError):  # not JSON, or the fields of another version
        raise NotATripFile(f"{where} carries a manifest of another form: run api_to_gcs to replace it") from None
    if (file.service_name, file.month) != (service.name, month) or metadata.num_rows != file.rows_accepted:
        raise NotATripFile(
            f"{where} holds {metadata.num_rows:,} rows and says it is {file.service_name} {file.month} with "
            f"{file.rows_accepted:,}: run api_to_gcs for {service.name} {month} to replace it"
        )
    return file


def check_month(file: StagedFile, google: GoogleSettings) -> None:
    """Raise CountsDisagree unless the lake holds the month that the manifest counts, and its rejected rows."""
    found = find_month(file.service, file.month, google)
    if (found.rows_accepted, found.sha256, found.rules) != (file.rows_accepted, file.sha256, file.rules):
        raise CountsDisagree(
            f"{found.path} holds {found.rows_accepted:,} rows of trip file {found.sha256[:12]}, the manifest "
            f"{file.rows_accepted:,} of {file.sha256[:12]}: another run replaced the month"
        )
    if count_rejected(file.service, file.month, google) != file.rows_rejected:
        raise _two_versions(file.service, file.month, google)


def count_rejected(service: Service, month: Month, google: GoogleSettings) -> int:
    """
    Rows of the month's rejected object, as it tells them; 0 where there is none.

    Raises CountsDisagree when it belongs to another version of the month than the month's object, NotPublished when
    there is no such month.
    """
    bucket = bucket_of(google)
    with google_errors(f"gs://{bucket.name}/{rejected_object(service, month)}", google):
        told = _existing(bucket, service, month).metadata or {}
        rejected = look(bucket, rejected_object(service, month))
    about = (rejected.metadata or {}) if rejected else {**told, "rows": "0"}
    if not about or any(told.get(name) != about.get(name) for name in ("trip_file_sha256", "rules")):
        raise _two_versions(service, month, google)
    return int(about["rows"])


def _two_versions(service: Service, month: Month, google: GoogleSettings) -> CountsDisagree:
    return CountsDisagree(
        f"gs://{google.bucket}/{rejected_object(service, month)} has not the rejected rows of the month's object: a "
        f"run was stopped between the two, or another runs now; run api_to_gcs for {service.name} {month} again"
    )


def measure_month(service: Service, month: Month, google: GoogleSettings) -> tuple[int, dict[str, float]]:
    """
    What the month's object really holds: rows, and the sum of each measure; reads only those columns.

    Raises NotPublished and NotATripFile as find_month does.
    """
    bucket = bucket_of(google)
    where = f"gs://{bucket.name}/{month_object(service, month)}"

    def read() -> tuple[int, dict[str, float]]:
        blob = _existing(bucket, service, month)
        _refuse_other_schema(_footer(blob, where).schema.to_arrow_schema(), service, where)
        # Of its own accord the client would fetch 40 MB wherever a column begins.
        with blob.open("rb", chunk_size=FOOTER_BYTES, timeout=REQUEST_SECONDS, retry=retry()) as stream:
            return measure_stream(pq.ParquetFile(stream), service)

    with google_errors(where, google):
        return look_again(read)


def _write_files(file: StagedFile, folder: Path) -> tuple[Path, Path]:
    """Accepted and rejected rows as two Parquet files, in one pass over the staged file."""
    # Without what differs from machine to machine: the same month is the same bytes.
    row = replace(file, path="", malformed_path="").to_row()
    if not file.warned:
        del row["warned"]  # nor than it was before there were warnings
    schema = file.service.schema.with_metadata({MANIFEST_KEY: json.dumps(row)})
    schema_rejected = rejected_schema(file.service)
    with ExitStack() as stack:
        encoder = stack.enter_context(Encoder(threads=1))  # one file's row groups follow each other
        kept = stack.enter_context(TripsWriter(folder / "kept.parquet", schema, file.service.measures, encoder))
        rejected = stack.enter_context(TripsWriter(folder / "rejected.parquet", schema_rejected, (), encoder))
        for passed, failed in (split(rows, why) for rows, why in judged(file)):
            if len(passed):
                kept.write(passed)
            if len(failed):
                rejected.write(to_schema(failed, schema_rejected))
        for batch in malformed(file):
            rejected.write(to_schema(batch, schema_rejected))
    if (kept.rows, rejected.rows) != (file.rows_accepted, file.rows_rejected) or not sums_agree(kept.sums, file.sums):
        raise CountsDisagree(
            f"{file.service_name} {file.month}: {file.rows_accepted:,} accepted and {file.rows_rejected:,} rejected "
            f"rows and sums {file.sums} expected, {kept.rows:,}, {rejected.rows:,} and {kept.sums} were written; "
            f"nothing was changed: run the pipeline again"
        )
    free_unused()
    return folder / "kept.parquet", folder / "rejected.parquet"


def _existing(bucket: Bucket, service: Service, month: Month) -> Blob:
    name = month_object(service, month)
    blob = look(bucket, name)
    if blob is None:
        raise NotPublished(f"gs://{bucket.name}/{name} does not exist: run api_to_gcs for {service.name} {month} first")
    return blob


def _footer(blob: Blob, where: str) -> pq.FileMetaData:
    """Read as little of an object as tells its schema; a Parquet file ends with its footer, its length and PAR1."""
    end = tail(blob, FOOTER_BYTES)
    needed = int.from_bytes(end[-8:-4], "little") + 8
    if end[-4:] != b"PAR1" or needed > min(blob.size, LARGEST_FOOTER):
        raise NotATripFile(f"{where} is no Parquet file (it ends with {end[-4:]!r}): run api_to_gcs to replace it")
    try:
        return pq.read_metadata(pa.BufferReader(end if needed <= len(end) else tail(blob, needed)))
    except (pa.ArrowInvalid, OSError) as error:
        said = " ".join(str(error).split())
        raise NotATripFile(f"{where} has a damaged footer ({said}): run api_to_gcs to replace it") from None


def _refuse_other_schema(schema: pa.Schema, service: Service, where: str) -> None:
    if schema.equals(service.schema, check_metadata=False):
        return
    wanted, found = ({field.name: str(field.type) for field in each} for each in (service.schema, schema))
    differing = [f"{name} is {found.get(name, 'missing')}" for name, kind in wanted.items() if found.get(name) != kind]
    unknown = sorted(found.keys() - wanted.keys())
    how = ", ".join([*differing, *unknown][:5]) or "another order, or columns that must not be null"
    raise NotATripFile(
        f"{where} has not the columns of {service.name} ({how}): another program "
        f"wrote it, or an older version; run api_to_gcs to replace it"
    )
