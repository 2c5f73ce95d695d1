"""Names for what a run leaves when it is killed, by which the next run knows that it is dead."""

import os
import re
import uuid
from functools import cache
from hashlib import sha256
from pathlib import Path

_NAME = re.compile(r"([0-9a-f]{12})-(\d+)-[0-9a-f]{32}")


def own_name() -> str:
    """A name that nobody else has: of this machine or container, of this process, and a random part."""
    return f"{_machine()}-{os.getpid()}-{uuid.uuid4().hex}"


def is_dead(name: str, *, old: bool) -> bool:
    """Whether a run is gone: by its process where that is of this machine or container, else by its age."""
    found = _NAME.fullmatch(name)
    return not _lives(int(found[2])) if found and found[1] == _machine() else old


@cache
def _machine() -> str:
    """The same for all processes that see each other: this start of the machine, and this container on it."""
    try:
        start, container = Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")
    except OSError:  # no Linux: a name of this process alone, which no other takes for its machine's
        return uuid.uuid4().hex[:12]
    return sha256(f"{start} {container}".encode()).hexdigest()[:12]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
