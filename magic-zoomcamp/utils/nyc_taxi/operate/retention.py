"""
What may go after so many days: finished runs, what blocks handed to each other, logs, and staged trip files.

All of it can be had again or serves nobody any more. Nothing here touches a database, a bucket or a report. Age is the
time since something was last used, never a date in its name: the outputs of a backfill of 2021 that runs now are new.
"""

import re
import shutil
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from filelock import FileLock, Timeout

from nyc_taxi.errors import UnknownName

LONGEST_DAYS = 3_650
FINISHED = ("completed", "failed", "cancelled")
OUTPUTS, LOGS = ".variables", ".logs"
_PARTITION = re.compile(r"\d{8}T\d{6}(_\d+)?")
_MONTH = re.compile(r"\d{4}-\d{2}")
_LOCK = ".lock"


class Run(NamedTuple):
    """A pipeline run as the orchestrator keeps it."""

    id: int
    trigger: int
    execution_date: datetime | None
    status: str
    changed: datetime
    """When its status last changed."""


@dataclass(frozen=True)
class Cleaned:
    """What was there of one kind, and what was removed of it."""

    what: str
    there: int
    removed: int
    bytes_there: int = 0
    bytes_freed: int = 0

    def to_frame(self) -> pd.DataFrame:
        """The numbers as one row, with what remains."""
        left = {"remain": self.there - self.removed, "bytes_remain": self.bytes_there - self.bytes_freed}
        return pd.DataFrame([asdict(self) | left])


def cutoff(variables: Mapping[str, object]) -> datetime:
    """
    The moment before which what was last used is old: the variable keep_days, counted back from now.

    UnknownName unless it is a whole number of days from 1, since a run may be reading what is of today.
    """
    text = str(variables.get("keep_days", "")).strip()
    if not text.isdecimal() or not 1 <= int(text) <= LONGEST_DAYS:
        raise UnknownName(f"keep_days {text!r} is not a whole number of days from 1 to {LONGEST_DAYS:,}, such as 30")
    return datetime.fromtimestamp(time.time(), UTC) - timedelta(days=int(text))


def old_runs(runs: Sequence[Run], before: datetime) -> list[int]:
    """
    The ids of finished runs that have not changed since then, without the latest of each trigger.

    By its latest run the orchestrator knows that a trigger has fired: without it, it would fire once more.
    """
    latest: dict[int, datetime] = {}
    for run in runs:
        if run.execution_date:
            latest[run.trigger] = max(run.execution_date, latest.get(run.trigger, run.execution_date))
    return [
        run.id
        for run in runs
        if run.status in FINISHED
        and run.changed < before
        and run.execution_date
        and run.execution_date < latest[run.trigger]
    ]


def remove_run_folders(data_dir: Path, kept: Collection[tuple[str, str]], before: datetime) -> list[Cleaned]:
    """
    Remove the outputs and logs of runs that are not kept and in which nothing was written since then.

    Args:
        data_dir: what the orchestrator keeps of the project: pipelines/<pipeline>/.variables/<trigger>/<partition>/,
            the same with .logs, and beside these the logs of runs by hand.
        kept: pipeline and partition (`<trigger>/<partition>`) of every run that is still known.
        before: what was used later stays.
    """
    cleaned = []
    for what, name in (("block outputs", OUTPUTS), ("logs", LOGS)):
        found = [
            (_Group([path]), (folder.parent.name, f"{path.parent.name}/{path.name}") in kept)
            for folder in sorted(data_dir.glob(f"pipelines/*/{name}"))
            for path in folder.glob("*/*")
            if path.is_dir() and _PARTITION.fullmatch(path.name)
        ]
        if name == LOGS:
            found += [(_Group([path]), False) for path in data_dir.glob(f"pipelines/*/{LOGS}/*.log*")]
        old = [group for group, is_kept in found if not is_kept and group.used < before]
        cleaned.append(_cleaned(what, [group for group, _ in found], old))
        for group in old:
            group.remove()
            with suppress(OSError):  # other runs of the trigger are in it
                group.paths[0].parent.rmdir()
    return cleaned


def remove_staged_files(staging_dir: Path, before: datetime) -> Cleaned:
    """
    Remove the staged files of months that no run has asked for since then; the next one fetches them anew.

    A month that is being staged just now is locked, and stays.
    """
    # Files of no month of an origin, such as the homework's: each is made or asked for anew by every run.
    others = [_Group([path]) for path in staging_dir.glob("*/*") if path.is_file() and path.suffix != _LOCK]
    there, removed = list(others), [group for group in others if group.used < before]
    for group in removed:
        group.remove()
    for folder in sorted(path for path in staging_dir.glob("*/*") if path.is_dir()):
        for month, found in _staged_months(folder).items():
            there.append(found)
            if found.used >= before:
                continue
            with suppress(Timeout), FileLock(folder / f".{month}{_LOCK}", timeout=0):
                # Once more: a run may have used it, and be done with the lock, since.
                group = _staged_months(folder).get(month, found)
                if group.used < before:
                    group.remove()
                    removed.append(group)
    return _cleaned("staged files", there, removed)


def report(cleaned: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Everything that was cleaned as one table, printed too; bytes are of files, the orchestrator's rows have none."""
    table = pd.concat(list(cleaned), ignore_index=True)
    print(table.to_string(index=False, formatters=dict.fromkeys(table.columns[1:], "{:,}".format)), flush=True)
    return table


class _Group:
    """Files and folders that go together: their size, and when they were last used; measured before they go."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths, self.bytes, last = paths, 0, 0.0
        for path in paths:
            for each in (path, *path.rglob("*")):
                with suppress(FileNotFoundError):  # gone since it was listed
                    found = each.stat()
                    last = max(last, found.st_mtime)
                    self.bytes += 0 if each.is_dir() else found.st_size
        self.used = datetime.fromtimestamp(last, UTC)

    def remove(self) -> None:
        for path in self.paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _staged_months(folder: Path) -> dict[str, _Group]:
    """The files of an origin's service by month, unfinished downloads and older versions with them."""
    months: dict[str, list[Path]] = defaultdict(list)
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != _LOCK and (month := _MONTH.search(path.name)):
            months[month[0]].append(path)
    return {month: _Group(paths) for month, paths in sorted(months.items())}


def _cleaned(what: str, there: Sequence[_Group], removed: Sequence[_Group]) -> Cleaned:
    sizes = [sum(group.bytes for group in groups) for groups in (there, removed)]
    return Cleaned(what, len(there), len(removed), *sizes)
