"""Where reports are kept and found again: the folder of this machine, and the bucket, which outlives it."""

from pathlib import Path

from google.cloud.exceptions import NotFound

from nyc_taxi.google import REQUEST_SECONDS, bucket_of, google_errors, retry
from nyc_taxi.settings import Settings

WAIT_SECONDS = 10.0
"""How long a bucket that does not answer is asked: a person waits for the page."""
TYPES = {".html": "text/html; charset=utf-8", ".png": "image/png"}


def keep(name: str, settings: Settings) -> None:
    """Copy a page of the folder into the bucket, where REPORTS_PREFIX says so; TargetUnavailable where it cannot be."""
    if not settings.reports_prefix:
        return
    path = settings.reports_dir / name
    blob = bucket_of(settings.google).blob(f"{settings.reports_prefix}/{name}")
    with google_errors(f"gs://{settings.google.bucket}/{blob.name}", settings.google):
        blob.upload_from_filename(
            str(path), content_type=TYPES[path.suffix], timeout=REQUEST_SECONDS, retry=retry(), checksum="crc32c"
        )


def find(name: str, settings: Settings) -> bytes | None:
    """A page, <service>/<month>/trip_report.html, from the folder, else from the bucket; None where it is not."""
    path = settings.reports_dir / name
    if path.is_file() and path.resolve().is_relative_to(settings.reports_dir):
        return path.read_bytes()
    if not settings.reports_prefix:
        return None
    blob = bucket_of(settings.google).blob(f"{settings.reports_prefix}/{name}")
    with google_errors(f"gs://{settings.google.bucket}/{blob.name}", settings.google):
        try:
            patient = retry().with_timeout(WAIT_SECONDS)
            return bytes(blob.download_as_bytes(timeout=REQUEST_SECONDS, retry=patient))
        except NotFound:
            return None


def address(name: str, settings: Settings) -> str:
    """Where a page can be opened: in the web UI, else the file."""
    path: Path = settings.reports_dir / name
    return f"{settings.public_url}/reports/{name}" if settings.public_url else str(path)
