"""Downloads of trip files that survive a bad line, and refuse what is no trip file."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import requests
from tqdm import tqdm

from nyc_taxi.errors import NotATripFile, shortened
from nyc_taxi.extract.http import WEAK, OtherVersion, fast_enough, is_of_version, pieces, shown, with_retries
from nyc_taxi.extract.published import GS, LARGEST_BYTES, Published, other_version, request_file
from nyc_taxi.run import RunContext

LOG_EVERY_SECONDS = 5
BOOT = Path("/proc/sys/kernel/random/boot_id")
"""On Linux: another text after each start of the machine."""
MAGIC = {"csv.gz": b"\x1f\x8b", "zip": b"PK", "parquet": b"PAR1"}
NO_TEXT = (*MAGIC.values(), b"\0", b"<")
"""How a plain CSV file does not begin: other files, and web pages."""


@dataclass(frozen=True)
class Downloaded:
    """A trip file on this disk, as published."""

    published: Published
    path: Path
    bytes: int
    sha256: str
    parts: "tuple[Downloaded, ...]" = ()
    """Where the month has a file for each day: those files; then bytes is their sum, and sha256 that of theirs."""

    @property
    def paths(self) -> list[Path]:
        """Of each of its files, in their order."""
        return [part.path for part in self.parts] or [self.path]


def download(run: RunContext, published: Published, folder: Path) -> Downloaded:
    """
    Stream the trip file into the folder, going on where an earlier attempt stopped.

    Raises NotATripFile as soon as the first bytes are not those of the origin's format, OtherVersion when they are of
    another version than the published one, DownloadFailed when the line fails after every retry or fewer bytes arrive
    than were announced. Where the answer names no version, that of what is returned is empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not published.parts:
        name = _name(published)
        # Two months may be fetched at once, and their files may have the same name, in folders of their own.
        return _download(run, published, folder / (name if str(run.month) in name else f"{run.month}-{name}"))
    named = [(part, f"{run.month}-{number:02d}-{_name(part)}") for number, part in enumerate(published.parts, 1)]
    parts = [_download(run, part, folder / name) for part, name in named]
    if not all(part.published.etag for part in parts):
        published = replace(published, etag="")
    sha256 = hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest()
    return Downloaded(published, folder, sum(part.bytes for part in parts), sha256, tuple(parts))


def _name(published: Published) -> str:
    return published.url.rsplit("/", 1)[-1]


def _download(run: RunContext, published: Published, path: Path) -> Downloaded:
    part = path.with_name(path.name + ".part")
    _forget_other_version(part, published)
    fetch = _fetch_object if published.url.startswith(GS) else _fetch
    with_retries(published.url, lambda: fetch(run, published, part), lambda: _continuable(published, part))
    size, sha256 = part.stat().st_size, _sha256(part)
    _check_end(run, part)
    os.replace(part, path)
    note = _version_note(part)
    if not note.exists():
        published = replace(published, etag="")
    note.unlink(missing_ok=True)
    return Downloaded(published, path, size, sha256)


def _fetch(run: RunContext, published: Published, part: Path) -> None:
    have = _continuable(published, part)
    if have and have == published.bytes:
        return
    headers = {"Range": f"bytes={have}-", "If-Range": published.etag} if have else {}
    with request_file(run, "GET", published.url, **headers) as answer:
        same = is_of_version(answer, published.etag)
        if answer.status_code != 416 and (other := other_version(answer, published)):
            part.unlink(missing_ok=True)
            raise OtherVersion(published.url, other)
        if answer.status_code == 416 or (answer.status_code == 206 and not (same and _continues(answer, have))):
            part.unlink(missing_ok=True)
            raise requests.ConnectionError("the server does not go on where the line broke; beginning anew")
        _check_packing(run, published.url, answer)
        if not same:
            _version_note(part).unlink(missing_ok=True)
        _write(run, published, part, pieces(answer), answer.status_code == 206)


def _continuable(published: Published, part: Path) -> int:
    """Bytes of the part that the rest may be put to."""
    # Without a version nothing says that it would be of the same file; a weak one does not say it of its bytes.
    sure = published.etag and not published.etag.startswith(WEAK) and _version_note(part).exists()
    return part.stat().st_size if sure and part.exists() else 0


def _fetch_object(run: RunContext, published: Published, part: Path) -> None:
    # Imported where it is needed: Google's client takes a second to start.
    from nyc_taxi.extract.bucket import crc32c_of, read_object

    have = part.stat().st_size if part.exists() else 0
    if have != published.bytes or not have:  # an empty object too makes a file, to be refused by name
        chunks = read_object(published.url, published.etag, have, run.settings.google)
        _write(run, published, part, chunks, have > 0)
    if crc32c_of(part) != published.crc32c:
        part.unlink()
        raise requests.ConnectionError("what arrived has another checksum than the object; beginning anew")


def _write(run: RunContext, published: Published, part: Path, chunks: Iterator[bytes], resumed: bool) -> None:
    most = LARGEST_BYTES if published.bytes is None else published.bytes
    with part.open("ab" if resumed else "wb") as out:
        steady = fast_enough(chunks, run.settings.slowest_download)
        for chunk in _with_progress(steady, out.tell(), published):
            if out.tell() == 0:
                _check_start(run, published.url, chunk)
            out.write(chunk)
            if out.tell() > most:
                break  # judged below; the rest may be without end
    _check_size(published, part)


def _continues(answer: requests.Response, have: int) -> bool:
    """Whether a partial answer begins where the part ends."""
    return answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _check_packing(run: RunContext, url: str, answer: requests.Response) -> None:
    """Bytes are taken as they are stored: a csv.gz that is called packed is, and nothing else was to be packed."""
    packing = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if packing != "identity" and (packing, run.origin.suffix) != ("gzip", "csv.gz"):
        raise NotATripFile(
            f"{shown(url)} comes packed by its server (Content-Encoding: {shortened(packing, 20)}), though it was "
            f"asked not to: switch that off there, or check the base URL of origin {run.origin.name}"
        )


def _with_progress(chunks: Iterator[bytes], have: int, published: Published) -> Iterator[bytes]:
    """The same chunks, with a bar on a terminal and a line every few seconds in a log."""
    name, total = _name(published), published.bytes
    quiet = not sys.stdout.isatty()
    with tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=name, file=sys.stdout, disable=quiet) as bar:
        said = monotonic()
        for chunk in chunks:
            yield chunk
            have += len(chunk)
            bar.update(len(chunk))
            if quiet and monotonic() - said > LOG_EVERY_SECONDS:
                said = monotonic()
                print(f"{name}: {have / 1e6:,.0f} of {f'{total / 1e6:,.0f}' if total else '?'} MB", flush=True)


def _check_size(published: Published, part: Path) -> None:
    """An answer that ends well and is short, or is long, is of another file than was announced."""
    got = part.stat().st_size
    if published.bytes is None and got > LARGEST_BYTES:
        part.unlink()
        raise NotATripFile(f"{shown(published.url)} sends more than {LARGEST_BYTES:,} bytes: it is no trip file")
    if published.bytes is not None and got != published.bytes:
        part.unlink()
        raise requests.ConnectionError(f"{got:,} bytes arrived, {published.bytes:,} were announced")


def _check_start(run: RunContext, url: str, chunk: bytes) -> None:
    magic = MAGIC.get(run.origin.suffix)
    # A server may send its first bytes one by one.
    if chunk.lstrip().startswith(NO_TEXT) if magic is None else chunk[: len(magic)] != magic[: len(chunk)]:
        raise NotATripFile(
            f"{shown(url)} is no {run.origin.suffix} file: it starts with {_describe(chunk)}. "
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
    # A part is not waited for until it is on the disk: after a crash of the machine its end may be zeros.
    version["boot"] = BOOT.read_text() if BOOT.exists() else ""
    # As text: a note that was cut off in the middle is another version too.
    if not published.etag or not note.exists() or note.read_text() != json.dumps(version):
        part.unlink(missing_ok=True)
        note.write_text(json.dumps(version))
