"""Two years of small months through one Mage server, several at once: seconds, and memory of all of its processes."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
from nyc_taxi.months import Month, month_range

from bench.arena import Arena
from bench.measure import CommandFailed
from bench.ours.variables import SERVICE
from bench.results import Target
from ops.commands.backfill.plan import plan_backfill
from ops.commands.backfill.runs import look, start
from ops.commands.pipelines import Served
from ops.errors import LocalStackError
from ops.mage.api import MageApi, MageApiError
from ops.mage.owner import EMAIL, Owner
from ops.mage.server import MageServer
from ops.paths import PROJECT, ROOT
from ops.ports import free_port
from ops.wait import wait_until

FIRST, LAST, QUICK_LAST = Month(2019, 1), Month(2020, 12), Month(2019, 3)
PARALLEL, ROWS = 4, 1_000
TICK_SECONDS = "1"
OWNER = Owner(EMAIL, "benchmark", "benchmark")
"""Of Mage's scheduler, which looks every 10 s by default: what is measured is the work, not that pause."""
LOOK_SECONDS = 0.5
CALM_SECONDS = 15
LIMIT_SECONDS = 600


@dataclass(frozen=True)
class Figures:
    """
    What a backfill took. MB are 10**6 bytes of all processes of the server together.

    Memory that they share counts once (PSS), for a run is a fork of the scheduler.
    """

    months: int
    parallel: int
    completed: int
    seconds: float
    idle_mb: float
    """Before it, when nothing ran."""
    process_mb: float
    """The biggest of its processes then."""
    peak_mb: float
    after_mb: float
    """When all runs had ended."""

    @property
    def limit_mb(self) -> float:
        """What the peak may be: the idle server, and for each run at once as much as the server's biggest process."""
        return self.idle_mb + self.parallel * self.process_mb

    def __str__(self) -> str:
        """Two lines of a report."""
        return (
            f"{self.months} months, {self.parallel} at once: {self.seconds:.1f} s, {self.seconds / self.months:.2f} s "
            f"a month\nMage's processes together: {self.idle_mb:.0f} MB idle, {self.peak_mb:.0f} MB at the peak, "
            f"{self.after_mb:.0f} MB afterwards"
        )

    def targets(self) -> list[Target]:
        """What must be reached."""
        return [
            Target("backfill: months that failed", self.months - self.completed, 0, ""),
            Target("backfill: peak memory of all of Mage", self.peak_mb, self.limit_mb, "MB"),
            Target("  what is left of it afterwards, over idle", self.after_mb / self.idle_mb, 1.1, "x"),
        ]


class Tree:
    """Samples the memory of a process and its descendants while the `with` block lasts."""

    def __init__(self, pid: int) -> None:
        self.peak_mb = 0.0
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(LOOK_SECONDS):
            self.peak_mb = max(self.peak_mb, sum(sizes_mb(self._pid)))


def sizes_mb(pid: int) -> list[float]:
    """The memory of a process and of each of its descendants now, in MB."""
    parent = psutil.Process(pid)
    return [_size(process) / 1e6 for process in (parent, *parent.children(recursive=True))]


def measure(
    given: Mapping[str, str], api: MageApi, pid: int, calm_seconds: float = CALM_SECONDS
) -> tuple[int, Figures]:
    """
    Run a backfill on a server that does nothing else, to its end; its number in Mage, and what it took.

    What is left of its memory is measured when its processes have ended, or after `calm_seconds`.
    """
    plan = plan_backfill(given, Served(api))
    idle = sizes_mb(pid)
    began = time.monotonic()
    with Tree(pid) as tree:
        number = start(plan, api)
        wait_until(lambda: look(number, api).ended, LIMIT_SECONDS, LOOK_SECONDS)
        seconds = time.monotonic() - began
    wait_until(lambda: len(sizes_mb(pid)) <= len(idle), calm_seconds, LOOK_SECONDS)
    now, after = look(number, api), sizes_mb(pid)
    completed = now.number("completed")
    return number, Figures(
        len(now.runs), plan.parallel, completed, seconds, sum(idle), max(idle), tree.peak_mb, sum(after)
    )


def on_a_server(arena: Arena, quick: bool) -> Figures:
    """Make the months' files, start a server for them, and measure; CommandFailed when the server does not answer."""
    last = QUICK_LAST if quick else LAST
    _generate(arena.trips.folder, last)
    folder = arena.folder / "backfill"
    # A copy: Mage writes into the pipelines that it runs.
    project = Path(shutil.copytree(PROJECT, folder / PROJECT.name))
    env = arena.environ(folder) | {"SCHEDULER_TRIGGER_INTERVAL": TICK_SECONDS}
    given = {"pipeline": "api_to_postgres", "service": SERVICE, "from": str(FIRST), "to": str(last)}
    given |= {"parallel": str(PARALLEL), "force": "true"}
    try:
        with MageServer(env, free_port(), project, folder / "mage.log", OWNER) as server:
            api = MageApi(server.url, server.owner.email, server.owner.password)
            _, figures = measure(given, api, server.pid, 0 if quick else CALM_SECONDS)
    except (LocalStackError, MageApiError) as error:
        raise CommandFailed(str(error)) from None
    return figures


def _generate(folder: Path, last: Month) -> None:
    """In a process of its own: ours stays small, and with it every measured child."""
    wanted = [str(month) for month in month_range(FIRST, last)]
    code = (
        "import sys; from pathlib import Path; from ops.synthetic.generate import generate\n"
        f"for month in sys.argv[2:]: generate({SERVICE!r}, month, 'dtc', {ROWS}, Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(folder), *wanted], cwd=ROOT, check=True)


def _size(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
        return int(getattr(memory, "pss", memory.rss))  # only Linux knows what is shared
    except psutil.Error:  # it ended
        return 0
