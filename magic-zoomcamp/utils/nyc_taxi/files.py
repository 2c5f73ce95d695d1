"""Files that appear whole or not at all, and disks that cannot take them."""

import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from nyc_taxi.errors import StorageFull, shortened

FULL = (errno.ENOSPC, errno.EDQUOT)
LONGEST_FOLDER = 110
"""Characters of a folder's path in a message: room is left for the cause and what to do."""


@contextmanager
def replacing(path: Path, *, locked: bool, durable: bool = False) -> Iterator[Path]:
    """
    A name to write to, which takes the place of `path` when all went well: a reader sees the old file or the new.

    `locked`: a lock of the caller's keeps other writers of `path` away. The name is the same each time then, so that
    the next writer takes up what a killed one left. `durable`: after it the file is on the disk under its name, so
    that what says so may be written; else a crash of the machine can leave it empty or cut.
    """
    part = path.with_name(f"{path.name}.part" if locked else f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        if durable:
            _write_through(part)
        os.replace(part, path)
        if durable:
            _write_through(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _write_through(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def writing_through(path: Path) -> Iterator[Callable[[], None]]:
    """
    A call that lets the disk take what was written to the file so far, beside the work: its end has less to wait for.

    Raises OSError at the end where the disk could not.
    """
    with ThreadPoolExecutor(1) as beside:
        begun: list[Future[None]] = []
        yield lambda: begun.append(beside.submit(_write_through, path))
        for each in begun:
            each.result()


@contextmanager
def writing_to(
    folder: Path, what: str = "", *, setting: str = "STAGING_DIR", full_only: bool = False
) -> Iterator[None]:
    """
    Raise StorageFull, which names the folder and the setting that moves it, where it cannot be written to.

    `full_only`: in a block that asks servers too, whose errors may be OSErrors, a full disk only.
    """
    try:
        yield
    except OSError as error:
        if full_only and error.errno not in FULL:
            raise
        why = os.strerror(error.errno) if error.errno else error
        about, where = f"{what}: " if what else "", shortened(str(folder), LONGEST_FOLDER)
        raise StorageFull(f"{about}cannot write to {where} ({why}): make room there or set {setting}") from None
