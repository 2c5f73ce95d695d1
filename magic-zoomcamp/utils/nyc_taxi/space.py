"""
The space of a staging folder: who needs a month just now, and which months go when there is no room for another.

Beside a month's files lies `.<month>.use.lock`: whoever reads them holds it, shared, and its time says when they were
last needed. Between two blocks of a run nobody reads: only after QUIET a month is taken to be needed no more.
"""

import fcntl
import os
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from nyc_taxi.errors import StorageFull

QUIET = 300
"""Seconds: longer than a block waits for its turn after the one before it."""
LONGEST_WAIT = 3_600
"""Seconds that a month waits for the room that others take; a month of fhvhv is read for minutes."""
LOOK_AGAIN = 1
LOCK = ".lock"
_MONTH = re.compile(r"\d{4}-\d{2}")


class Files:
    """Files and folders that go together: their size, and when they were last used; measured before they go."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Look at all of them, and at what is in them."""
        self.paths, self.bytes, self.used = paths, 0, 0.0
        for path in paths:
            for each in (path, *path.rglob("*")):
                with suppress(FileNotFoundError):  # gone since it was listed
                    found = each.stat()
                    self.used = max(self.used, found.st_mtime)
                    self.bytes += 0 if each.is_dir() else found.st_size

    def remove(self) -> None:
        """Remove them all; one that is gone already is no fault."""
        for path in self.paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


class StagedMonth:
    """All files of a service's month from one origin, unfinished downloads and older versions with them."""

    def __init__(self, folder: Path, month: str, paths: Sequence[Path]) -> None:
        """`folder`: that of the origin's service."""
        self.folder, self.month, self.files = folder, month, Files(paths)

    @property
    def is_quiet(self) -> bool:
        """Whether nobody staged or read it lately, or whoever did is done with it."""
        return _needed_at(_use_lock(self.folder, self.month)) < time.time() - QUIET

    @property
    def note(self) -> Path:
        """What vouches for its staged file, and names it in messages."""
        return self.folder / f"{self.month}.json"

    def remove_if(self, may_go: "Callable[[StagedMonth], bool]") -> bool:
        """Remove it unless somebody stages or reads it, or it may not go when it is looked at once more."""
        use = _use_lock(self.folder, self.month)
        if not may_go(self):
            return False
        if not use.exists():
            use.touch()
            os.utime(use, (0, 0))
        with (
            suppress(Timeout, BlockingIOError),
            FileLock(self.folder / f".{self.month}{LOCK}", timeout=0),
            use.open("a") as lock,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            now = next((each for each in _months_in(self.folder) if each.month == self.month), None)
            if now is not None and may_go(now):
                now.files.remove()
                self.files = now.files
                return True
        return False


def staged_months(staging_dir: Path) -> list[StagedMonth]:
    """Every month of every origin's services that takes space."""
    return [month for folder in sorted(staging_dir.glob("*/*")) if folder.is_dir() for month in _months_in(folder)]


@contextmanager
def in_use(folder: Path, month: str, *, then_done: bool = False) -> Iterator[None]:
    """
    Let a month stay while its files are needed, and for QUIET seconds more.

    `then_done`: afterwards it may go at once, unless another run needed it when this one came.
    """
    path = _use_lock(folder, month)
    if not folder.is_dir() or not _MONTH.fullmatch(month):
        yield
        return
    others_need_it = _needed_at(path) > time.time() - QUIET
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        os.utime(path)
        try:
            yield
        finally:
            os.utime(path, (0, 0) if then_done and not others_need_it else None)


@contextmanager
def room_for(note: Path, staging_dir: Path, most: int, need: int) -> Iterator[None]:
    """
    Keep `need` bytes free for the month of that note, below `most` (0: no bound) and on the disk, while it is staged.

    The least recently used months go. Where only months in use are left, it waits for them: StorageFull after
    LONGEST_WAIT. A month that has the folder to itself may be as large as the disk can bear.
    """
    kept = note.with_name(f".{note.stem}.room")
    kept.unlink(missing_ok=True)  # of a run that was killed
    started, said = time.monotonic(), False
    while not _keep(kept, note, staging_dir, most, need):
        if time.monotonic() - started > LONGEST_WAIT:
            raise StorageFull(
                f"{note.with_suffix('')}: no room for {need / 1e6:,.0f} MB in {LONGEST_WAIT / 60:.0f} minutes, for "
                f"other runs use what is in {staging_dir}: raise STAGING_MAX_GB, or load fewer months at once"
            )
        if not said:
            print(f"{note.with_suffix('')} waits for room that other runs use", flush=True)
        said = True
        time.sleep(LOOK_AGAIN)
    try:
        yield
    finally:
        kept.unlink(missing_ok=True)
    if most:
        remove_least_used(staging_dir, most, but=note)


def _keep(kept: Path, note: Path, staging_dir: Path, most: int, need: int) -> bool:
    """Whether there is room now; it is kept by a sparse file then, which has its size and takes none of the disk."""
    with FileLock(staging_dir / f".room{LOCK}"):
        free = shutil.disk_usage(staging_dir).free
        held = Files([staging_dir]).bytes
        over = max(held + need - most if most else 0, need - free)
        freed = sum(each.files.bytes for each in remove_least_used(staging_dir, held - over, but=note))
        if freed < over and any(each.note != note for each in staged_months(staging_dir)):
            return False
        kept.touch()
        os.truncate(kept, need)
    return True


def remove_least_used(staging_dir: Path, most: int, but: Path | None = None) -> list[StagedMonth]:
    """Remove months that nobody needs, the least recently used first, until `most` bytes are held; which were."""
    held, removed = Files([staging_dir]).bytes, []
    for each in sorted(staged_months(staging_dir), key=lambda each: each.files.used):
        if held <= most:
            break
        if each.note != but and each.remove_if(lambda now: now.is_quiet):
            held -= each.files.bytes
            removed.append(each)
            print(f"{each.note.with_suffix('')} makes room: {each.files.bytes / 1e6:,.1f} MB are removed", flush=True)
    return removed


def _months_in(folder: Path) -> list[StagedMonth]:
    months: dict[str, list[Path]] = defaultdict(list)
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != LOCK and (month := _MONTH.search(path.name)):
            months[month[0]].append(path)
    return [StagedMonth(folder, month, paths) for month, paths in sorted(months.items())]


def _use_lock(folder: Path, month: str) -> Path:
    return folder / f".{month}.use{LOCK}"


def _needed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
