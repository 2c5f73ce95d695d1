"""A trip file from its origin to a staged file: fetched once, conformed once, however often it is asked for."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import sleep

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from nyc_taxi.errors import few
from nyc_taxi.extract.download import download
from nyc_taxi.extract.http import OtherVersion, shown
from nyc_taxi.extract.published import Published, find_published
from nyc_taxi.extract.staged_file import StagedFileWriter
from nyc_taxi.files import replacing, writing_to
from nyc_taxi.manifest import Manifest, StagedFile
from nyc_taxi.run import RunContext
from nyc_taxi.space import in_use, room_for

FORMAT = 2
"""Raise it when the same trip file would be staged differently: older staged files are then made anew."""
LOOKS = 3
"""How often the origin is asked which version there is, when it sends another than it named."""
TIMES_PUBLISHED = 4
"""How many times a trip file's size it takes to stage it: itself, and its rows, which are packed less."""
KEEP_OLD_VERSIONS = timedelta(days=1)
"""A run that started before a month changed may still be reading its older staged file."""


def _form(run: RunContext) -> list[object]:
    """By what a trip file is read: a staged file of another form, such as before a mended encoding, is made anew."""
    return [FORMAT, run.origin.delimiter, run.origin.encoding, run.origin.file]


def stage_trip_file(run: RunContext) -> Manifest:
    """
    Fetch the run's trip file, conform it and return its manifest; an unchanged file (ETag) is not fetched again.

    Raises what `find_published`, `download` and the readers raise, and StorageFull. Nothing half-made is ever visible:
    the staged file is named after its content and appears whole; an older version stays where it is.
    """
    folder = staging_folder(run)
    with writing_to(folder, str(run)):
        folder.mkdir(parents=True, exist_ok=True)
        note = folder / f"{run.month}.json"
        with _alone(run, folder), in_use(folder, str(run.month)):
            staged = _newest(run, folder, note)
    return Manifest((staged,))


def staging_folder(run: RunContext) -> Path:
    """Where the months of the run's service and origin are staged."""
    return run.settings.staging_dir / run.origin.name / run.service.name


def already_staged(run: RunContext) -> StagedFile | None:
    """What an earlier run staged of the month, whatever the origin has by now; None where nothing is."""
    return _staged_before(run, staging_folder(run) / f"{run.month}.json")


@contextmanager
def _alone(run: RunContext, folder: Path) -> Iterator[None]:
    """One run of a month at a time; who has to wait says so, once."""
    lock = FileLock(folder / f".{run.month}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{run}: waits for another run of the month", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _newest(run: RunContext, folder: Path, note: Path) -> StagedFile:
    """The staged file of one version of the month; asked for again when another one comes than was announced."""
    for look in range(1, LOOKS + 1):
        try:
            return _current(run, find_published(run), folder, note)
        except OtherVersion as other:
            if look == LOOKS:
                raise
            print(f"{other}: asking again which version there is, {look + 1} of {LOOKS}", flush=True)
            sleep(look)
    raise AssertionError("unreachable")


def _staged_before(run: RunContext, note: Path) -> StagedFile | None:
    """What an earlier run staged, if it is still there and this run would stage it so; it may be out of date."""
    if not note.exists():
        return None
    try:
        known = json.loads(note.read_text())
        if known["format"] != _form(run):  # first: another format's note may have other fields
            return None
        staged, sizes = StagedFile.of_row(known["file"]), dict(known["sizes"])
    except (ValueError, KeyError, TypeError):
        return None  # a note that a crash of the machine left unreadable is no note
    for path, rows in _rows_by_path(staged).items():
        if wrong := _what_is_wrong(path, sizes.get(path.name), rows):
            print(f"{shown(str(path))} {wrong}: it is made anew", flush=True)
            return None
    share = 1 if run.origin.holds_other_months else run.malformed_share  # there it is a share of the whole file
    if sum(staged.malformed.values()) > staged.rows_read * share:
        return None  # staged by a run that tolerated more: this one says what is wrong
    return staged


def _rows_by_path(staged: StagedFile) -> dict[Path, int]:
    """The staged file and that of its malformed rows, if there are some, with the rows of each."""
    malformed = sum(staged.malformed.values())
    return {Path(staged.path): staged.rows_read - malformed} | (
        {Path(staged.malformed_path): malformed} if staged.malformed_path else {}
    )


def _what_is_wrong(path: Path, size: int | None, rows: int) -> str:
    """Why a file cannot be what was staged, by its size and the rows in its footer; empty where it can."""
    try:
        found, found_rows = path.stat().st_size, pq.read_metadata(path).num_rows
    except FileNotFoundError:
        return "is gone"
    except (pa.ArrowInvalid, OSError):
        return "is damaged"
    if found != size:
        return f"has {found:,} bytes, its note says {size or 0:,}"
    return "" if found_rows == rows else f"has {found_rows:,} rows, its note says {rows:,}"


def _current(run: RunContext, published: Published, folder: Path, note: Path) -> StagedFile:
    """The staged file of what is published now: an earlier run's where its version says so, else its checksum."""
    known = _staged_before(run, note)
    if known and published.etag and (known.url, known.etag) == (published.url, published.etag):
        os.utime(note)  # retention goes by when a month was last asked for
        print(f"{known.url} is unchanged (ETag {known.etag}): {known.rows_read:,} rows are staged already", flush=True)
        return known
    if not published.etag:
        print(
            f"{shown(published.url)} has no ETag: only its checksum tells whether it changed, so it is fetched",
            flush=True,
        )
    settings = run.settings
    with room_for(note, settings.staging_dir, settings.staging_most, TIMES_PUBLISHED * (published.bytes or 0)):
        return _fetched(run, published, note, known)


def _fetched(run: RunContext, published: Published, note: Path, known: StagedFile | None) -> StagedFile:
    """The staged file of what is fetched now; that of an earlier run where the bytes are the same."""
    folder = note.parent
    started = time.monotonic()
    downloaded = download(run, published, folder / "downloads")
    if published.etag and not downloaded.published.etag:
        print(f"{shown(published.url)} came without its ETag: the next run fetches it again", flush=True)
    fetched = time.monotonic()
    base = folder / f"{run.month}-{downloaded.sha256[:12]}-v{FORMAT}"
    same = known is not None and known.sha256 == downloaded.sha256
    try:
        if known is not None and same:
            staged = replace(known, url=published.url, etag=downloaded.published.etag)
        else:
            if not note.exists() and base.with_suffix(".parquet").exists():
                print(f"{base.name}.parquet has no note that vouches for it: it is made anew", flush=True)
            staged = StagedFileWriter(run, downloaded, base).write()
    finally:
        for path in downloaded.paths:
            path.unlink(missing_ok=True)
    with replacing(note, locked=True) as part:
        sizes = {path.name: path.stat().st_size for path in _rows_by_path(staged)}
        part.write_text(json.dumps({"format": _form(run), "file": staged.to_row(), "sizes": sizes}))
    _forget_old_versions(folder, run, base)
    size, seconds = f"{staged.bytes / 1e6:,.1f} MB", fetched - started
    done = "are staged already: its bytes are the same" if same else f"staged in {time.monotonic() - fetched:.1f} s"
    print(f"{staged.url}: {size} fetched in {seconds:.1f} s, {staged.rows_read:,} rows {done}", flush=True)
    if staged.rows_blank:
        print(f"{staged.url}: {staged.rows_blank:,} rows without any value are no trips: skipped", flush=True)
    if missing := staged.columns_missing:
        share = f"{len(missing)} of {len(run.service.columns)}"
        print(f"{staged.url} lacks {share} columns of {run.service.name}, which are null: {few(missing)}", flush=True)
    return staged


def _forget_old_versions(folder: Path, run: RunContext, base: Path) -> None:
    # By the time that the disk gave the note just now: this machine's clock may not be the one that others write by.
    old = (folder / f"{run.month}.json").stat().st_mtime - KEEP_OLD_VERSIONS.total_seconds()
    for path in folder.glob(f"{run.month}-*"):
        if not path.name.startswith(base.name) and path.stat().st_mtime < old:
            path.unlink(missing_ok=True)
