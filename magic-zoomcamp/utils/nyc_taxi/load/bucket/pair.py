"""A month's object and the one of its rejected rows: two names, written so that they are always of one version."""

from pathlib import Path

from google.cloud.storage import Blob, Bucket

from nyc_taxi.catalog.services import Service
from nyc_taxi.google import REQUEST_SECONDS, retry
from nyc_taxi.load.bucket.objects import NewObject, aside, copy_object, refuse_foreign, remove, until_ours, upload
from nyc_taxi.manifest import StagedFile
from nyc_taxi.months import Month


def month_object(service: Service, month: Month) -> str:
    """Name of the object that holds a month's accepted trips."""
    return f"trips/{service.name}/{service.name}_tripdata_{month}.parquet"


def rejected_object(service: Service, month: Month) -> str:
    """Name of the object that holds a month's rejected trips; absent when there are none."""
    return f"trips_rejected/{service.name}/{service.name}_tripdata_{month}.parquet"


def described(file: StagedFile) -> dict[str, str]:
    """What an object tells of itself beside its content."""
    return {
        "service": file.service_name,
        "month": file.month_text,
        "origin": file.origin,
        "trip_file_sha256": file.sha256,
        "rules": ",".join(file.rules) or "none",
    }


def pair_of(file: StagedFile, kept: Path, rejected: Path) -> tuple[NewObject, NewObject]:
    """The month's object and that of its rejected rows; one without rows is not to be there."""
    about = described(file)
    sums = {f"sum_{measure}": repr(total) for measure, total in file.sums.items()}
    told = about | sums | {"rows": str(file.rows_accepted), "url": file.url, "bytes": str(file.bytes)}
    etag = {"etag": file.etag} if file.etag else {}
    return (
        NewObject(kept, month_object(file.service, file.month), told | etag),
        NewObject(rejected, rejected_object(file.service, file.month), about | {"rows": str(file.rows_rejected)}),
    )


def replace_pair(bucket: Bucket, kept: NewObject, rejected: NewObject) -> None:
    """
    Write both, or the first and see to it that the other is not there.

    The rejected rows are uploaded aside before the month, and put in place by the service right after it: what
    interrupts an upload leaves both objects as they were. Two runs at once end as one of them.
    """
    refuse_foreign(bucket, [look(bucket, new.name) for new in (kept, rejected)])
    empty = rejected.metadata["rows"] == "0"
    with aside(bucket, [] if empty else [rejected], rejected.name) as incoming:

        def change() -> None:
            seen = look(bucket, rejected.name)
            upload(bucket, kept)
            for uploaded in incoming:
                copy_object(bucket, uploaded, rejected)
            if empty and seen:
                remove(bucket, [seen])  # as it was before: what another run has written since is that one's

        until_ours(f"gs://{bucket.name}/{kept.name}", change, lambda: is_there(bucket, kept, rejected))


def is_there(bucket: Bucket, *pair: NewObject) -> bool:
    """Whether both objects are these, by what they tell of themselves."""
    for new in pair:
        told = getattr(look(bucket, new.name), "metadata", None)
        if told is None and new.metadata["rows"] == "0":
            continue
        if not new.metadata.items() <= (told or {}).items():
            return False
    return True


def look(bucket: Bucket, name: str) -> Blob | None:
    """The object as it is now, without its content; None when it is not there."""
    return bucket.get_blob(name, timeout=REQUEST_SECONDS, retry=retry())
