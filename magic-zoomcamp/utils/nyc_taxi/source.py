"""Trip files at their origins: addresses, what is published, and downloads that survive a bad line."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from tqdm import tqdm

from nyc_taxi.errors import DownloadFailed, NotATripFile, NotPublished
from nyc_taxi.months import Month
from nyc_taxi.services import ORIGINS
from nyc_taxi.settings import RunContext

T = TypeVar("T")

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = (10, 60)
"""To connect, and between two pieces of data."""
ATTEMPTS = 5
LOG_EVERY_SECONDS = 5
MAGIC = {"csv.gz": b"\x1f\x8b", "parquet": b"PAR1"}
LARGEST_BYTES = 4 << 30
"""A larger answer is no trip file: a month of fhvhv, the largest, has some 500 MB."""
REDIRECTS = 5
DELIVERS = {"github.com": ".githubusercontent.com"}
"""Hosts that send their files from hosts of another name."""
NOT_THERE = (403, 404, 410)
"""TLC's own origin answers 403 for a file that does not exist."""


@dataclass(frozen=True)
class Published:
    """What the origin says of a trip file before it is fetched."""

    url: str
    etag: str
    """Empty when the origin names none: such a file is fetched every time."""
    bytes: int | None


@dataclass(frozen=True)
class Downloaded:
    """A trip file on this disk, as published."""

    published: Published
    path: Path
    bytes: int
    sha256: str


def trip_file_url(run: RunContext) -> str:
    """The address of the run's trip file."""
    base = run.settings.base_urls[run.origin.name].rstrip("/")
    return f"{base}/{run.origin.file_of(run.service, run.month)}"


def find(run: RunContext) -> Published:
    """Ask the origin with one HEAD request; NotPublished without such a file, DownloadFailed without an answer."""
    url = trip_file_url(run)
    with _retried(url, lambda: _request("HEAD", url)) as answer:
        if answer.status_code in NOT_THERE:
            raise NotPublished(_not_published(run, url))
        if answer.status_code != 200:
            raise DownloadFailed(f"{url} answered {answer.status_code}: check the base URL")
        size = answer.headers.get("Content-Length")
        if size and int(size) > LARGEST_BYTES:
            raise NotATripFile(f"{url} has {int(size):,} bytes, more than any trip file: check the base URL")
        return Published(url, answer.headers.get("ETag", ""), int(size) if size else None)


def download(run: RunContext, published: Published, folder: Path) -> Downloaded:
    """
    Stream the trip file into the folder, going on where an earlier attempt stopped.

    Raises NotATripFile as soon as the first bytes are not those of the origin's format, DownloadFailed when the
    line fails after every retry or fewer bytes arrive than were announced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / published.url.rsplit("/", 1)[-1]
    part = path.with_name(path.name + ".part")
    _forget_other_version(part, published)
    _retried(published.url, lambda: _fetch(run, published, part))
    size, sha256 = part.stat().st_size, _sha256(part)
    _check_end(run, part)
    os.replace(part, path)
    _version_note(part).unlink(missing_ok=True)
    return Downloaded(published, path, size, sha256)


def fetch_if_changed(url: str, etag: str) -> tuple[bytes, str] | None:
    """
    A small file and its ETag in one request; None when the origin says that it is still the one of the given ETag.

    Raises NotPublished without such a file, NotATripFile for one of more than a megabyte, DownloadFailed without an
    answer.
    """

    def fetch() -> tuple[bytes, str] | None:
        with _request("GET", url, **({"If-None-Match": etag} if etag else {})) as answer:
            if answer.status_code == 304:
                return None
            if answer.status_code in NOT_THERE:
                raise NotPublished(f"{url} is not published (answer {answer.status_code}): check the base URL")
            if answer.status_code != 200:
                raise DownloadFailed(f"{url} answered {answer.status_code}: check the base URL")
            content = bytearray()
            for chunk in answer.iter_content(CHUNK_BYTES):
                content += chunk
                if len(content) > CHUNK_BYTES:
                    raise NotATripFile(f"{url} sends more than {CHUNK_BYTES:,} bytes: check the base URL")
            return bytes(content), answer.headers.get("ETag", "")

    return _retried(url, fetch)


def _not_published(run: RunContext, url: str) -> str:
    origin = run.origin
    if origin.last:
        others = [other.name for other in ORIGINS.values() if run.service.name in other.first and not other.last]
        known = f"origin {origin.name} ends with {origin.last}, newer months are at {', '.join(others) or 'no other'}"
    else:
        usual = Month.of(date.today()).shift(-origin.late)
        known = f"{origin.name.upper()} publishes about {origin.lateness} late; newest usual month is {usual}"
    return f"{run.service.name} {run.month} is not published at {origin.name} ({url}): {known}"


def _request(method: str, url: str, **headers: str) -> requests.Response:
    # "identity": a server that compresses on the fly would change the size and make Range meaningless.
    headers["Accept-Encoding"] = "identity"
    for _ in range(REDIRECTS):
        answer = requests.request(
            method, url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS, allow_redirects=False
        )
        if not answer.is_redirect:
            break
        answer.close()
        url = _redirected(url, answer.headers["Location"])
    else:
        raise DownloadFailed(f"{url}: more than {REDIRECTS} redirects; check the base URL")
    if answer.status_code >= 500 or answer.status_code == 429:
        answer.close()
        raise requests.ConnectionError(f"the server answered {answer.status_code}")
    return answer


def _redirected(url: str, location: str) -> str:
    """The address to go on with; DownloadFailed when it is another host's: it could be one that only we can reach."""
    target = urljoin(url, location)
    old, new = urlsplit(url), urlsplit(target)
    host, delivers = str(new.hostname), DELIVERS.get(str(old.hostname))
    same = (old.scheme, old.netloc) == (new.scheme, new.netloc)
    if not same and not (
        new.scheme == "https" and (host == old.hostname or (delivers is not None and host.endswith(delivers)))
    ):
        raise DownloadFailed(f"{url} redirects to {new.scheme}://{new.netloc}: if you trust it, make it the base URL")
    return target


def _retried(url: str, action: Callable[[], T]) -> T:
    """Call the action until it succeeds, waiting 1, 2, 4, 8 seconds after failures of the line or the server."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except requests.RequestException as error:
            if attempt == ATTEMPTS:
                raise DownloadFailed(
                    f"{url} could not be fetched in {ATTEMPTS} attempts ({_cause(error)}): "
                    f"check the network and the base URL"
                ) from None
            print(f"{url}: {_cause(error)}; attempt {attempt + 1} of {ATTEMPTS} follows", flush=True)
            sleep(2 ** (attempt - 1))
    raise AssertionError("unreachable")


def _cause(error: BaseException) -> str:
    """The innermost cause of a network error, without the wrapping of three libraries."""
    while error.args and isinstance(error.args[-1], BaseException):
        error = error.args[-1]
    reason = getattr(error, "reason", None)
    return _cause(reason) if isinstance(reason, BaseException) else str(error) or type(error).__name__


def _fetch(run: RunContext, published: Published, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    most = LARGEST_BYTES if published.bytes is None else published.bytes
    if have and have == published.bytes:
        return
    # Without an ETag nothing says that the rest would be of the same file.
    headers = {"Range": f"bytes={have}-", "If-Range": published.etag} if have and published.etag else {}
    with _request("GET", published.url, **headers) as answer:
        if answer.status_code in NOT_THERE:
            raise NotPublished(_not_published(run, published.url))
        if answer.status_code == 416 or (answer.status_code == 206 and not _continues(answer, have, published)):
            part.unlink()
            raise requests.ConnectionError("the server does not go on where the line broke; beginning anew")
        if answer.status_code not in (200, 206):
            raise DownloadFailed(f"{published.url} answered {answer.status_code}: check the base URL")
        resumed = answer.status_code == 206
        with part.open("ab" if resumed else "wb") as out:
            for chunk in _with_progress(answer, have if resumed else 0, published):
                if out.tell() == 0:
                    _check_start(run, published.url, chunk)
                out.write(chunk)
                if out.tell() > most:
                    break  # judged below; the rest may be without end
        _check_size(published, part)


def _continues(answer: requests.Response, have: int, published: Published) -> bool:
    """Whether a partial answer is the rest of the same file: not every server heeds If-Range."""
    same = answer.headers.get("ETag", published.etag) == published.etag
    return same and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _with_progress(answer: requests.Response, have: int, published: Published) -> Iterator[bytes]:
    """The answer's chunks, with a bar on a terminal and a line every few seconds in a log."""
    name, total = published.url.rsplit("/", 1)[-1], published.bytes
    quiet = not sys.stdout.isatty()
    with tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=name, file=sys.stdout, disable=quiet) as bar:
        said = monotonic()
        for chunk in answer.iter_content(CHUNK_BYTES):
            yield chunk
            have += len(chunk)
            bar.update(len(chunk))
            if quiet and monotonic() - said > LOG_EVERY_SECONDS:
                said = monotonic()
                print(f"{name}: {have / 1e6:,.0f} of {f'{total / 1e6:,.0f}' if total else '?'} MB", flush=True)


def _check_size(published: Published, part: Path) -> None:
    """A short answer is a broken line: it is tried again and resumed. A long one is another file."""
    got = part.stat().st_size
    if published.bytes is None and got > LARGEST_BYTES:
        part.unlink()
        raise NotATripFile(f"{published.url} sends more than {LARGEST_BYTES:,} bytes: it is no trip file")
    if published.bytes is not None and got < published.bytes:
        raise requests.ConnectionError(f"{got:,} of {published.bytes:,} bytes arrived")
    if published.bytes is not None and got > published.bytes:
        part.unlink()
        raise requests.ConnectionError(f"{got:,} bytes arrived, {published.bytes:,} were announced")


def _check_start(run: RunContext, url: str, chunk: bytes) -> None:
    magic = MAGIC[run.origin.suffix]
    if chunk[: len(magic)] != magic[: len(chunk)]:  # a server may send its first bytes one by one
        raise NotATripFile(
            f"{url} is no {run.origin.suffix} file: it starts with {_describe(chunk)}. "
            f"Open the address in a browser; check the base URL of origin {run.origin.name}"
        )


def _check_end(run: RunContext, path: Path) -> None:
    """Parquet keeps its index at the end: without the magic there, the file is cut."""
    if run.origin.suffix != "parquet":
        return
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4))
        tail = file.read()
    if tail != MAGIC["parquet"]:
        path.unlink()
        raise NotATripFile(
            f"{path.stem} of {run} is truncated: its last four bytes are not PAR1. Run again to fetch it anew"
        )


def _describe(chunk: bytes) -> str:
    start = chunk[:200].lstrip().lower()
    kind = (
        "an HTML page"
        if start.startswith((b"<!doctype", b"<html"))
        else "an XML message"
        if start.startswith(b"<?xml")
        else "bytes"
    )
    return f"{kind} ({chunk.lstrip()[:40]!r})"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version_note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _forget_other_version(part: Path, published: Published) -> None:
    """Keep the part of an earlier attempt only if it is surely of the same version of the file."""
    note, version = _version_note(part), {"url": published.url, "etag": published.etag, "bytes": published.bytes}
    # As text: a note that was cut off in the middle is another version too.
    if not published.etag or not note.exists() or note.read_text() != json.dumps(version):
        part.unlink(missing_ok=True)
        note.write_text(json.dumps(version))
