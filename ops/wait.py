"""The one loop that waits for something to come true."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(look: Callable[[], T], seconds: float, every: float = 0.02, *, unless: Callable[[], object] = bool) -> T:
    """
    What `look` finds, asked `every` so many seconds until it is true; its last, untrue answer after `seconds`.

    It ends early, with the untrue answer, once `unless` holds: what was waited for cannot come any more.
    """
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < deadline and not unless():
        time.sleep(every)
    return found
