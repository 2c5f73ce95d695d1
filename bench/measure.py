"""Runs one command to its end: wall-clock seconds and peak memory of it and of everything it starts."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.02
LOOK_FOR_CHILDREN_SECONDS = 0.2
"""Finding new processes reads the whole process table: done rarely, so that the measuring is not measured."""
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


class CommandFailed(RuntimeError):
    """A command did not do its work; the message holds the end of what it printed."""


@dataclass(frozen=True)
class Measured:
    """What one run took. MB are 10**6 bytes."""

    seconds: float
    peak_mb: float
    """Of the biggest single process."""
    tree_mb: float
    """Of all its processes at once, sampled; memory that they share counts once for each."""
    output: str
    steps: dict[str, float] = field(default_factory=dict)
    """Seconds of each step, when the command tells them."""

    def by_its_own_clock(self) -> "Measured":
        """The same with the seconds and steps that the command told itself: JSON, in its last line."""
        return replace(self, **json.loads(self.output.splitlines()[-1]))

    def as_json(self) -> dict[str, object]:
        """The figures, for a program."""
        return asdict(self) | {"output": None}


def run(command: list[str], environ: dict[str, str], folder: Path, limit_seconds: float) -> Measured:
    """
    Run the command in the folder and measure it; the process and all it started are gone afterwards.

    Raises CommandFailed for an exit code that is not 0, or when it takes longer than `limit_seconds`.
    """
    log = folder / "output.log"
    with log.open("wb") as out:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        tree = _Tree(process.pid, limit_seconds)
        try:
            # wait4 knows the peak of this child and of its children, where getrusage mixes all runs so far.
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            tree.end()
            _kill_group(process.pid)
    output = log.read_text(errors="replace")
    if process.returncode:
        reason = f"took more than {limit_seconds:.0f} s" if tree.too_long else f"exit code {process.returncode}"
        tail = "\n".join(output.splitlines()[-15:])
        raise CommandFailed(f"{command[0]}: {reason}. End of its output:\n{tail}")
    peak = usage.ru_maxrss * MAXRSS_UNIT
    # A child starts as a copy of this process, whose size it never gets rid of in the kernel's books.
    if peak <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT:
        peak = tree.biggest
    return Measured(seconds, peak / 1e6, max(tree.peak, peak) / 1e6, output)


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


class _Tree:
    """Samples the memory of a process and its descendants from a thread, and ends them when they take too long."""

    def __init__(self, pid: int, limit_seconds: float) -> None:
        self.peak = self.biggest = 0
        self.too_long = False
        self._pid = pid
        self._limit = limit_seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop sampling."""
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        started = looked = time.monotonic()
        processes: list[psutil.Process] = []
        while not self._done.wait(SAMPLE_SECONDS):
            now = time.monotonic()
            if not processes or now - looked > LOOK_FOR_CHILDREN_SECONDS:
                processes, looked = self._family(), now
            sizes = [_rss(process) for process in processes]
            self.peak = max(self.peak, sum(sizes))
            self.biggest = max(self.biggest, *sizes, 0)
            if now - started > self._limit:
                self.too_long = True
                _kill_group(self._pid)
                return

    def _family(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._pid)
            return [parent, *parent.children(recursive=True)]
        return []


def _rss(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it ended
        return 0
