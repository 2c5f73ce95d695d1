"""What was measured of one contestant, and the figures that must be reached."""

from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from bench.measure import Measured


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
        """Which part of it."""


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
