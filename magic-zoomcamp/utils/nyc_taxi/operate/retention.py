"""
What may go after so many days: finished runs, what blocks handed to each other, logs, and staged trip files.

All of it can be had again or serves nobody any more. Nothing here touches a database, a bucket or a report. Age is the
time since something was last used, never a date in its name: the outputs of a backfill of 2021 that runs now are new.
"""

import re
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from nyc_taxi.errors import UnknownName
from nyc_taxi.run import text_of
from nyc_taxi.settings import NUMBER, Settings
from nyc_taxi.space import LOCK, Files, remove_least_used, staged_months

LONGEST_DAYS = 3_650
FINISHED = ("completed", "failed", "cancelled")
OUTPUTS, LOGS = ".variables", ".logs"
_PARTITION = re.compile(r"\d{8}T\d{6}(_\d+)?")


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
            (Files([path]), (folder.parent.name, f"{path.parent.name}/{path.name}") in kept)
            for folder in sorted(data_dir.glob(f"pipelines/*/{name}"))
            for path in folder.glob("*/*")
            if path.is_dir() and _PARTITION.fullmatch(path.name)
        ]
        if name == LOGS:
            found += [(Files([path]), False) for path in data_dir.glob(f"pipelines/*/{LOGS}/*.log*")]
        old = [group for group, is_kept in found if not is_kept and _used(group) < before]
        cleaned.append(_cleaned(what, [group for group, _ in found], old))
        for group in old:
            group.remove()
            with suppress(OSError):  # other runs of the trigger are in it
                group.paths[0].parent.rmdir()
    return cleaned


def most_staged(variables: Mapping[str, object], settings: Settings) -> int | None:
    """Bytes that may stay staged: the variable keep_gb, where it is empty STAGING_MAX_GB; None for any number."""
    text = text_of(variables.get("keep_gb"))
    if text and not NUMBER.fullmatch(text):
        raise UnknownName(f"keep_gb {text!r} is not a number such as 1.5, or 0 for all that nobody needs now")
    return int(float(text) * 1e9) if text else settings.staging_most or None


def remove_staged_files(staging_dir: Path, before: datetime, most: int | None = None) -> Cleaned:
    """
    Remove the staged files of months that no run has asked for since then; the next one fetches them anew.

    Then the least recently used, until `most` bytes are left. A month that is being staged or read stays.
    """
    # Files of no month of an origin, such as the homework's: each is made or asked for anew by every run.
    others = [Files([path]) for path in staging_dir.glob("*/*") if path.is_file() and path.suffix != LOCK]
    there, removed = list(others), [group for group in others if _used(group) < before]
    for group in removed:
        group.remove()
    for month in staged_months(staging_dir):
        there.append(month.files)
        if month.remove_if(lambda now: _used(now.files) < before):
            removed.append(month.files)
    if most is not None and staging_dir.is_dir():
        removed += [month.files for month in remove_least_used(staging_dir, most)]
    return _cleaned("staged files", there, removed)


def _used(group: Files) -> datetime:
    return datetime.fromtimestamp(group.used, UTC)


def report(cleaned: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Everything that was cleaned as one table, printed too; bytes are of files, the orchestrator's rows have none."""
    table = pd.concat(list(cleaned), ignore_index=True)
    print(table.to_string(index=False, formatters=dict.fromkeys(table.columns[1:], "{:,}".format)), flush=True)
    return table


def _cleaned(what: str, there: Sequence[Files], removed: Sequence[Files]) -> Cleaned:
    sizes = [sum(group.bytes for group in groups) for groups in (there, removed)]
    return Cleaned(what, len(there), len(removed), *sizes)
