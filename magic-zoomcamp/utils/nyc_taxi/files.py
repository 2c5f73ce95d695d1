"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, *, locked: bool) -> Iterator[Path]:
    """
    A name to write to, which takes the place of `path` when all went well: a reader sees the old file or the new.

    `locked`: a lock of the caller's keeps other writers of `path` away. The name is the same each time then, so that
    the next writer takes up what a killed one left.
    """
    part = path.with_name(f"{path.name}.part" if locked else f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
