"""What was measured of each contestant, side by side, and the figures that must be reached."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol, TypeVar

from bench.measure import Measured

WHOLE, AFTER_IMPORTS = "whole process", "after imports"
"""What of a contestant is timed; after its imports, it tells its seconds itself."""


class NotAvailable(RuntimeError):
    """A contestant that cannot run on this machine; the message says why."""


class Contestant(Protocol):
    """What a report says of one who takes part."""

    @property
    def name(self) -> str:
        """Short, as in a table."""

    @property
    def what(self) -> str:
        """What runs."""

    @property
    def timed(self) -> str:
        """WHOLE or AFTER_IMPORTS."""


C = TypeVar("C", bound=Contestant)


@dataclass
class Result:
    """The runs of one contestant."""

    peer: Contestant
    runs: list[Measured] = field(default_factory=list)
    rows: int = 0
    missing: str = ""
    """Why there are no runs."""

    @property
    def seconds(self) -> float:
        """The median run."""
        return median(run.seconds for run in self.runs)

    @property
    def best(self) -> float:
        """The fastest run: what the work takes when nothing disturbs it."""
        return min(run.seconds for run in self.runs)

    @property
    def peak_mb(self) -> float:
        """The biggest process of all runs."""
        return max(run.peak_mb for run in self.runs)

    @property
    def tree_mb(self) -> float:
        """All processes together, in the worst run."""
        return max(run.tree_mb for run in self.runs)

    def as_json(self) -> dict[str, object]:
        """Everything measured, for a program."""
        runs = [run.as_json() for run in self.runs]
        about = {"what": self.peer.what, "timed": self.peer.timed, "not_available": self.missing}
        return {**about, "rows": self.rows, "runs": runs}


Results = Mapping[str, Result]
"""By the contestant's name, in the order of the report."""


@dataclass(frozen=True)
class Target:
    """A figure that must be reached."""

    what: str
    figure: float
    limit: float
    unit: str
    at_least: bool = False

    @property
    def reached(self) -> bool:
        """Whether the figure is good enough."""
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit

    def __str__(self) -> str:
        """One line of the report."""
        bound = f"{'at least' if self.at_least else 'at most'} {self.limit:g} {self.unit}"
        return f"  {self.what:<58} {self.figure:>8.2f}   {bound:<22} {'pass' if self.reached else 'FAIL'}"


def in_turn(
    contestants: Sequence[C], rounds: int, measure: Callable[[C], tuple[Measured, int]], say: Callable[[str], None]
) -> dict[str, Result]:
    """Every contestant once per round, in turn: what disturbs the machine for a while disturbs them all."""
    results = {contestant.name: Result(contestant) for contestant in contestants}
    for number in range(1, rounds + 1):
        for contestant in contestants:
            result = results[contestant.name]
            if result.missing:
                continue
            try:
                measured, result.rows = measure(contestant)
            except NotAvailable as reason:
                result.missing = str(reason)
                continue
            result.runs.append(measured)
            say(f"round {number} of {rounds}: {contestant.name}, {result.rows:,} rows, {measured.seconds:.2f} s")
    return results


def table(results: Results, unit: str, peer_of: Callable[[str], str]) -> str:
    """The results side by side; ratios are to the peer that `peer_of` names."""
    ratio = f"x {unit}"
    lines = [f"{'':<20}{'seconds':>9}{ratio:>8}{'best s':>9}{ratio:>8}{'peak MB':>9}{'tree MB':>9}{'rows':>12}  timed"]
    for name, result in results.items():
        if result.missing:
            lines.append(f"{name:<20}  not available here: {result.missing}")
            continue
        peer = results[peer_of(name)]
        lines.append(
            f"{name:<20}{result.seconds:>9.2f}{result.seconds / peer.seconds:>8.2f}"
            f"{result.best:>9.2f}{result.best / peer.best:>8.2f}"
            f"{result.peak_mb:>9.0f}{result.tree_mb:>9.0f}{result.rows:>12,}  {result.peer.timed}"
        )
    return "\n".join(lines)


def wrong_rows(results: Results, expected: int) -> list[str]:
    """Contestants whose target does not hold the rows of the month."""
    return [
        f"{name} wrote {result.rows:,} rows, the month has {expected:,}"
        for name, result in results.items()
        if result.runs and (result.rows != expected or not expected)
    ]
