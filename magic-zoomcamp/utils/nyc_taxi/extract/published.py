"""What an origin says of a trip file before it is fetched."""

from dataclasses import dataclass
from datetime import date

from nyc_taxi.catalog.origins import ORIGINS
from nyc_taxi.errors import DownloadFailed, NotATripFile, NotPublished
from nyc_taxi.extract.http import NOT_THERE, request, with_retries
from nyc_taxi.months import Month
from nyc_taxi.run import RunContext

LARGEST_BYTES = 4 << 30
"""A larger answer is no trip file: a month of fhvhv, the largest, has some 500 MB."""


@dataclass(frozen=True)
class Published:
    """What the origin says of a trip file before it is fetched."""

    url: str
    etag: str
    """Empty when the origin names none: such a file is fetched every time."""
    bytes: int | None


def trip_file_url(run: RunContext) -> str:
    """The address of the run's trip file."""
    base = run.settings.base_urls[run.origin.name].rstrip("/")
    return f"{base}/{run.origin.file_of(run.service, run.month)}"


def find_published(run: RunContext) -> Published:
    """Ask the origin with one HEAD request; NotPublished without such a file, DownloadFailed without an answer."""
    url = trip_file_url(run)
    with with_retries(url, lambda: request("HEAD", url)) as answer:
        if answer.status_code in NOT_THERE:
            raise NotPublished(not_published(run, url))
        if answer.status_code != 200:
            raise DownloadFailed(f"{url} answered {answer.status_code}: check the base URL")
        size = answer.headers.get("Content-Length")
        if size and int(size) > LARGEST_BYTES:
            raise NotATripFile(f"{url} has {int(size):,} bytes, more than any trip file: check the base URL")
        return Published(url, answer.headers.get("ETag", ""), int(size) if size else None)


def not_published(run: RunContext, url: str) -> str:
    """The message for a trip file that is not there: what the origin has, and where to look."""
    origin = run.origin
    if origin.last:
        others = [other.name for other in ORIGINS.values() if run.service.name in other.first and not other.last]
        known = f"origin {origin.name} ends with {origin.last}, newer months are at {', '.join(others) or 'no other'}"
    else:
        usual = Month.of(date.today()).shift(-origin.late)
        known = f"{origin.name.upper()} publishes about {origin.lateness} late; newest usual month is {usual}"
    return f"{run.service.name} {run.month} is not published at {origin.name} ({url}): {known}"
