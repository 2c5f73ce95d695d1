"""
Many months, or days, of one pipeline, through Mage's own backfills.

Usage: python -m ops.commands.backfill PIPELINE=api_to_postgres SERVICE=green FROM=2020-10 TO=2020-12 [PARALLEL=2]
       python -m ops.commands.backfill RETRY=last|NUMBER | SHOW=last|NUMBER

The runs belong to Mage: they go on when this command ends, and the UI shows the same backfill.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ops.commands.backfill_plan import CHOICES, BackfillRefused, Plan, plan_backfill
from ops.errors import LocalStackError
from ops.mage.api import Json, MageApi, MageApiError
from ops.mage.connect import Connection, connect_to_mage

NAMES = ("pipeline", "from", "to", "parallel", *CHOICES, "retry", "show")
COMPLETED, FAILED, CANCELLED, RUNNING = "completed", "failed", "cancelled", "running"
LAST = "last"
LOOK_SECONDS = 1.0
CLOSING_SECONDS = 15
"""How long Mage may take to close the backfill after its last run: a tick of its scheduler, and some more."""
SENDING_SECONDS = 3
"""How long a Mage of our own is left to send its messages about a failed run, which it does last."""


@dataclass(frozen=True)
class Run:
    """The newest run for one execution date: a retry takes the place of the run that failed."""

    number: int
    day: str
    """YYYY-MM, or YYYY-MM-DD in a backfill by day."""
    execution_date: str
    status: str

    @property
    def failed(self) -> bool:
        """Whether it ended without its month. Mage cancels runs when memory is short, a person does in the UI."""
        return self.status in (FAILED, CANCELLED)

    @property
    def ended(self) -> bool:
        """Whether Mage does no more for it."""
        return self.failed or self.status == COMPLETED


@dataclass(frozen=True)
class Look:
    """A backfill at one moment."""

    backfill: Json
    runs: list[Run]

    def number(self, status: str) -> int:
        """How many runs have this status."""
        return sum(run.status == status for run in self.runs)

    @property
    def failed(self) -> list[Run]:
        """The runs that ended without their month."""
        return [run for run in self.runs if run.failed]

    @property
    def ended(self) -> bool:
        """Whether no run is left."""
        return all(run.ended for run in self.runs)

    @property
    def closed(self) -> bool:
        """Whether Mage has written down how it ended."""
        return self.backfill["status"] in ((FAILED, CANCELLED) if self.failed else (COMPLETED,))


def start(plan: Plan, api: MageApi) -> int:
    """Make the backfill in Mage and start it; its number."""
    number = int(api.create(f"pipelines/{plan.pipeline}/backfills", name=plan.name)["id"])
    api.update("backfills", number, **plan.values())
    api.update("backfills", number, status="initial")
    return number


def retry(number: int, api: MageApi) -> int:
    """
    Run again what failed or was cancelled; how many runs that are.

    Each gets a new run for the same execution date, as the UI's own retry makes it: it starts from the first block, for
    what the failed run had staged may be gone, and waits its turn, where a failed run that is set going again would not
    heed the number that may run at once. Mage closes the backfill by the newest run of every date.
    """
    now = look(number, api)
    schedule = now.backfill["pipeline_schedule_id"]
    if now.failed and api.get("pipeline_schedules", schedule)["status"] != "active":
        api.update("pipeline_schedules", schedule, status="active")  # a person has cancelled the backfill
    for run in now.failed:
        before = api.get("pipeline_runs", run.number)
        values = {"backfill_id": number, "execution_date": run.execution_date, "variables": before["variables"]}
        api.create(f"pipeline_schedules/{schedule}/pipeline_runs", **values)
        if before["started_at"] is None:
            # Cancelled before its turn: to Mage it would stay the newest of its date, and the backfill open.
            api.delete("pipeline_runs", run.number)
    return len(now.failed)


def look(number: int, api: MageApi) -> Look:
    """The backfill and its runs, the first date first; MageApiError when there is none of this number."""
    if number not in [found["id"] for found in api.list("backfills")]:
        raise MageApiError(f"Mage has no backfill {number}")
    backfill = api.get("backfills", number)
    newest: dict[str, Run] = {}
    length = len("YYYY-MM-DD") if backfill["interval_type"] == "day" else len("YYYY-MM")
    runs = api.list("pipeline_runs", backfill_id=number, _format="with_basic_details")
    for run in sorted(runs, key=lambda run: int(run["id"])):
        when = run["execution_date"]
        newest[when] = Run(int(run["id"]), when[:length], when, run["status"])
    return Look(backfill, [newest[when] for when in sorted(newest)])


def error_of(run: Run, api: MageApi) -> str:
    """Why a run failed, in one line, as the callback record_failure has told Mage."""
    if run.status == CANCELLED:
        return "cancelled, by a person or because memory was short"
    for block in api.get("pipeline_runs", run.number)["block_runs"]:
        if error := (block["metrics"] or {}).get("error"):
            return str(error["message"])
    return "Mage keeps no error of it: see the log of the run"


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
                return _until_closed(now, number, reached.api)
            time.sleep(LOOK_SECONDS)


def newest_backfill(api: MageApi, pipeline: str = "") -> int:
    """The number of the backfill that was made last, of one pipeline or of any; MageApiError when there is none."""
    numbers = [int(found["id"]) for found in api.list("backfills") if pipeline in ("", found["pipeline_uuid"])]
    if not numbers:
        raise MageApiError(f"Mage has no backfill{f' of {pipeline}' if pipeline else ''} yet")
    return max(numbers)


def run_backfill(given: Mapping[str, str], reached: Connection, console: Console) -> int:
    """Start, retry or show a backfill and follow it to its end; 0 only if no run failed."""
    api, again = reached.api, given.get("retry") or given.get("show")
    if again and again != LAST and not again.isdecimal():
        raise BackfillRefused(f"{again!r} is no backfill: give its number, or {LAST}")
    if not again:
        number = start(plan_backfill(given, api), api)
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
        raise MageApiError(f"{error}; the backfill goes on when Mage does: make backfill SHOW={number}") from None
    console.print(f"{now.number(COMPLETED)} done, {len(now.failed)} failed")
    if now.failed:
        if reached.temporary:
            time.sleep(SENDING_SECONDS)
        console.print(f"Once the cause is fixed: make backfill RETRY={number}")
    return int(bool(now.failed))


def plain_console(file: IO[str] | None = None) -> Console:
    """A console that prints a message as it is, also what looks like rich's own marks, and a long one in one line."""
    return Console(file=file, markup=False, highlight=False, soft_wrap=True)


def _left(number: int, temporary: bool) -> str:
    if temporary:
        return (
            f"The Mage that was started for it ends too; its months begin again with the next make ui, or with make "
            f"backfill SHOW={number}"
        )
    return f"Mage goes on with it; look again: make backfill SHOW={number}"


def _until_closed(now: Look, number: int, api: MageApi) -> Look:
    deadline = time.monotonic() + CLOSING_SECONDS
    while not now.closed and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
        now = look(number, api)
    return now


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


def main(arguments: list[str] | None = None) -> int:
    """Read the command line; the exit code is 0 only if every run completed."""
    parser = argparse.ArgumentParser(prog="python -m ops.commands.backfill", description="Many months of one pipeline.")
    parser.add_argument("values", nargs="+", metavar="NAME=VALUE", help=", ".join(name.upper() for name in NAMES))
    pairs = [text.partition("=") for text in parser.parse_args(arguments).values]
    if unknown := [name for name, _, _ in pairs if name.lower() not in NAMES]:
        parser.error(f"{unknown[0]} is not one of {', '.join(name.upper() for name in NAMES)}")
    given = {name.lower(): value for name, _, value in pairs if value}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a Mage of our own ends with us
    try:
        with connect_to_mage() as reached:
            return run_backfill(given, reached, plain_console())
    except (BackfillRefused, MageApiError, LocalStackError) as error:
        print(f"FAILED  {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
