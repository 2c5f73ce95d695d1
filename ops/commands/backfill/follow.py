"""What a person sees of a backfill while it runs: a bar on a terminal, else a line per run."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ops.commands.backfill.plan import BackfillRefused, plan_backfill
from ops.commands.backfill.runs import COMPLETED, RUNNING, Look, Run, error_of, look, newest_backfill, retry, start
from ops.commands.pipelines import Served
from ops.mage.api import MageApi, MageApiError
from ops.mage.connect import Connection
from ops.wait import wait_until

LAST = "last"
LOOK_SECONDS = 1.0
CLOSING_SECONDS = 15
"""How long Mage may take to close the backfill after its last run: a tick of its scheduler, and some more."""
SENDING_SECONDS = 3
"""How long a Mage of our own is left to send its messages about a failed run, which it does last."""


def run_backfill(given: Mapping[str, str], reached: Connection, console: Console) -> int:
    """Start, retry or show a backfill and follow it to its end; 0 only if no run failed."""
    api, again = reached.api, given.get("retry") or given.get("show")
    if again and again != LAST and not again.isdecimal():
        raise BackfillRefused(f"{again!r} is no backfill: give its number, or {LAST}")
    if not again:
        number = start(plan_backfill(given, Served(api)), api)
    else:
        number = newest_backfill(api, given.get("pipeline", "")) if again == LAST else int(again)
    backfill = look(number, api).backfill
    where = f"{reached.public_url}/pipelines/{backfill['pipeline_uuid']}/backfills/{number}"
    console.print(f"Backfill {number} of {backfill['pipeline_uuid']}, {backfill['name']}: {where}")
    if given.get("retry"):
        console.print(f"{retry(number, api)} of its runs failed, and run again")
    try:
        now = follow(number, reached, console)
    except KeyboardInterrupt:
        console.print(_left(number, reached.temporary))
        return 130
    except MageApiError as error:
        raise MageApiError(f"{error}; the backfill goes on when Mage does: taxi backfill --show {number}") from None
    console.print(f"{now.number(COMPLETED)} done, {len(now.failed)} failed")
    if now.failed:
        if reached.temporary:
            time.sleep(SENDING_SECONDS)
        console.print(f"Once the cause is fixed: taxi backfill --retry {number}")
    return int(bool(now.failed))


def follow(number: int, reached: Connection, console: Console) -> Look:
    """Show the backfill until its last run has ended: a bar on a terminal, else a line per run."""
    said: set[int] = set()
    with _bar(console) as update:
        while True:
            now = look(number, reached.api)
            for run in now.runs:
                if run.ended and run.number not in said:
                    said.add(run.number)
                    _say(run, reached.api, console)
            update(now)
            if now.ended:
                return _when_closed(number, reached.api)
            time.sleep(LOOK_SECONDS)


def plain_console(file: IO[str] | None = None) -> Console:
    """A console that prints a message as it is, also what looks like rich's own marks, and a long one in one line."""
    return Console(file=file, markup=False, highlight=False, soft_wrap=True)


def _left(number: int, temporary: bool) -> str:
    if temporary:
        return (
            f"The Mage that was started for it ends too; its months begin again with the next taxi ui, or with taxi "
            f"backfill --show {number}"
        )
    return f"Mage goes on with it; look again: taxi backfill --show {number}"


def _when_closed(number: int, api: MageApi) -> Look:
    wait_until(lambda: look(number, api).closed, CLOSING_SECONDS, LOOK_SECONDS)
    return look(number, api)


def _say(run: Run, api: MageApi, console: Console) -> None:
    if run.failed:
        console.print(f"FAILED  {run.day}  {error_of(run, api)}")
    elif not console.is_terminal:
        console.print(f"done    {run.day}")


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[Look], None]]:
    """A function that moves the bar to a look, which is none where nobody sees it."""
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None)

        def move(now: Look) -> None:
            counts = f"{now.number(COMPLETED)} done, {now.number(RUNNING)} running, {len(now.failed)} failed"
            done = now.number(COMPLETED) + len(now.failed)
            bar.update(task, description=counts, completed=done, total=len(now.runs))

        yield move
