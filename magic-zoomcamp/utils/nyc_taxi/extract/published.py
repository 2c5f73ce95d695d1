"""What an origin says of a trip file before it is fetched."""

import hashlib
from dataclasses import dataclass
from datetime import date
from os.path import commonprefix

import requests

from nyc_taxi.errors import DownloadFailed, NotATripFile, NotPublished, shortened
from nyc_taxi.extract.http import ATTEMPTS, NOT_THERE, Passing, is_of_version, request, shown, version_of, with_retries
from nyc_taxi.months import Month
from nyc_taxi.run import RunContext

GS = "gs://"
LARGEST_BYTES = 4 << 30
"""A larger answer is no trip file: a month of fhvhv, the largest, has some 500 MB."""


@dataclass(frozen=True)
class Published:
    """What the origin says of a trip file before it is fetched."""

    url: str
    etag: str
    """In a bucket its generation. Else when it was changed; empty where nobody says: it is always fetched then."""
    bytes: int | None
    crc32c: str = ""
    """In base64, of a file in a bucket; empty for others: no HTTP origin names one."""
    parts: "tuple[Published, ...]" = ()
    """The files of a month that has one for each day; they stand for all of them then."""


def trip_file_url(run: RunContext) -> str:
    """The address of the run's trip file; with a * where it is one of each day."""
    return _one_address(trip_file_urls(run))


def trip_file_urls(run: RunContext) -> list[str]:
    """The address of each of the run's trip files."""
    base = run.settings.base_urls[run.origin.name].rstrip("/")
    return [f"{base}/{name}" for name in run.origin.files_of(run.service.name, run.month)]


def find_published(run: RunContext) -> Published:
    """
    Ask the origin with one HEAD request a file; NotPublished without one of them, DownloadFailed without an answer.

    After a 403 for a month that the origin surely has, it asks again: so TLC's own answers who asks too often.
    """
    urls = trip_file_urls(run)
    parts = [_find_object(run, url) if url.startswith(GS) else _find_file(run, url) for url in urls]
    if len(parts) == 1:
        return parts[0]
    etags, sizes = [part.etag for part in parts], [part.bytes for part in parts]
    etag = hashlib.sha256("\n".join(etags).encode()).hexdigest() if all(etags) else ""
    size = None if None in sizes else sum(size or 0 for size in sizes)
    return Published(_one_address(urls), etag, size, parts=tuple(parts))


def _one_address(urls: list[str]) -> str:
    if len(urls) == 1:
        return urls[0]
    begin, end = (commonprefix(texts) for texts in (urls, [url[::-1] for url in urls]))  # noqa: RUF071  of text
    return f"{begin}*{end[::-1]}"


def _find_file(run: RunContext, url: str) -> Published:
    with with_retries(url, lambda: request_file(run, "HEAD", url)) as answer:
        length = answer.headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() else None
        _check_size(url, size or 0)
        return Published(url, version_of(answer), size)


def _find_object(run: RunContext, url: str) -> Published:
    # Imported where it is needed: Google's client takes a second to start.
    from nyc_taxi.extract.bucket import find_object

    found = find_object(url, run.settings.google)
    if found is None:
        raise NotPublished(_not_published(run, url, 404))
    _check_size(url, found.bytes)
    return Published(url, found.generation, found.bytes, found.crc32c)


def _check_size(url: str, size: int) -> None:
    if size > LARGEST_BYTES:
        raise NotATripFile(f"{shown(url)} has {size:,} bytes, more than any trip file: check the base URL")


def request_file(run: RunContext, method: str, url: str, **headers: str) -> requests.Response:
    """
    The answer to a request for the run's trip file, if it is one: 200, 206 or 416.

    Raises as `request` does, NotPublished for a file that is not there, DownloadFailed for another refusal.
    """
    answer = request(method, url, **headers)
    if answer.status_code in (200, 206, 416):
        return answer
    answer.close()
    if answer.status_code == 403 and _surely_published(run):
        why = "the server answered 403, which may mean too many requests"
        raise Passing(why, answer, NotPublished(_refused(run, url)))
    if answer.status_code in NOT_THERE:
        raise NotPublished(_not_published(run, url, answer.status_code))
    raise DownloadFailed(f"{shown(url)} answered {answer.status_code}: check the base URL")


def other_version(answer: requests.Response, published: Published) -> str:
    """By what an answer, be it the whole file or its rest, is of another version than this; empty if by nothing."""
    if is_of_version(answer, published.etag) is False:
        return f"version {shortened(version_of(answer), 40)}, not {shortened(published.etag, 40)}"
    partial = answer.status_code == 206
    size = answer.headers.get("Content-Range" if partial else "Content-Length", "").rpartition("/")[-1]
    if published.bytes is None or not size.isdecimal() or int(size) == published.bytes:
        return ""
    return f"{int(size):,} bytes, not {published.bytes:,}"


def _surely_published(run: RunContext) -> bool:
    """Whether the origin must have the month: run_context refuses those before its first and after its last."""
    return run.origin.last is not None or run.month < _newest_usual(run)


def _newest_usual(run: RunContext) -> Month:
    return Month.of(date.today()).shift(-run.origin.late)


def _refused(run: RunContext, url: str) -> str:
    return (
        f"{run.service.name} {run.month} cannot be had from {run.origin.name} ({shown(url)}): 403 in {ATTEMPTS} "
        f"attempts, that is, too many requests or no such file; run again later, or check the address"
    )


def _not_published(run: RunContext, url: str, status: int) -> str:
    """The message for a trip file that is not there: what the origin usually has, or where to look."""
    missing = f"{run.service.name} {run.month} is not published at {run.origin.name} ({shown(url)})"
    if _surely_published(run):
        return f"{missing}: it answered {status}, though it should have this month; check the base URL"
    return (
        f"{missing}: {run.origin.name.upper()} publishes about {run.origin.lateness} late; "
        f"newest usual month is {_newest_usual(run)}"
    )
