"""The grid of what is loaded: what the terminal, the page and Mage's chart draw; `look.py` fills it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby

from nyc_taxi.load.holding import Key
from nyc_taxi.months import Month

POSTGRES, BUCKET, BIGQUERY = "Postgres", "bucket", "BigQuery"
TARGETS = (POSTGRES, BUCKET, BIGQUERY)
LOADED, DIFFERS, FAILED, MISSING, NONE = "loaded", "differs", "failed", "missing", "not published"
UNCHANGED, CHANGED, GONE, UNKNOWN, NOT_ASKED = "unchanged", "changed", "gone", "unknown", "not asked"
UNUSUAL = "unusual"


@dataclass(frozen=True)
class Sign:
    """How a cell shows what is to be looked at."""

    mark: str
    state: str
    meaning: str


SIGNS = (
    Sign("x", FAILED, "the last load failed"),
    Sign("-", MISSING, "missing"),
    Sign("!", DIFFERS, "not as it was loaded, or not as in another target"),
    Sign("*", CHANGED, "the trip file has changed at its origin since"),
    Sign("~", UNUSUAL, "rows far from those of the neighbours and of the year before"),
    Sign(".", NONE, "not published"),
)
"""The worst first: a cell has room for one."""


@dataclass(frozen=True)
class Cell:
    """One month of one service in one target."""

    state: str
    """LOADED, DIFFERS, FAILED, MISSING or NONE."""
    rows: int | None = None
    said: tuple[str, ...] = ()
    """What is to be said of it, a line each."""

    @property
    def is_held(self) -> bool:
        """Whether the target has the month, be it an older version."""
        return self.state in (LOADED, DIFFERS) or self.rows is not None


@dataclass(frozen=True)
class Line:
    """One month of one service."""

    service: str
    month: Month
    cells: Mapping[str, Cell]
    """By target."""
    trip_file: str = NOT_ASKED
    """UNCHANGED, CHANGED, GONE, UNKNOWN or NOT_ASKED: what the origin says of the trip file that was loaded."""
    unusual: str = ""
    """Why its number of rows is unusual; empty where it is not."""
    origin: str = ""
    """From where it was loaded; for a month that was not, from where its neighbour was."""
    rules: tuple[str, ...] | None = None
    """By which it was loaded, or its neighbour was; None where nobody tells."""

    @property
    def key(self) -> Key:
        """Service and month."""
        return self.service, self.month

    @property
    def rows(self) -> int | None:
        """The rows that the first target tells; None where none holds the month."""
        return next((cell.rows for cell in self.cells.values() if cell.rows is not None), None)

    @property
    def remarks(self) -> Iterator[str]:
        """All that is to be looked at, in words: what is wrong with the month, and in which target."""
        for target, cell in self.cells.items():
            if cell.state in (FAILED, DIFFERS):
                yield f"{target}: {cell.state}, {'; '.join(cell.said)}"
        if self.trip_file in (CHANGED, GONE):
            yield f"trip file: {self.trip_file} at {self.origin} since it was loaded"
        if self.unusual:
            yield f"unusual: {self.unusual}"


@dataclass(frozen=True)
class Coverage:
    """The whole grid."""

    targets: tuple[str, ...]
    lines: tuple[Line, ...]
    """By service, then by month."""
    notes: tuple[str, ...]
    commands: tuple[str, ...] = ()
    """What loads what is missing, failed or disagrees, in the order in which to run them."""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def by_service(self) -> dict[str, list[Line]]:
        """The lines of each service."""
        return {name: list(lines) for name, lines in groupby(self.lines, key=lambda line: line.service)}

    @property
    def missing(self) -> list[str]:
        """Which months each target lacks, in words, a line each."""
        found = []
        for service, lines in self.by_service().items():
            for target in self.targets:
                months = [line.month for line in lines if line.cells[target].state == MISSING]
                found += [f"{service}, {target}: {spans_in_words(months)}"] if months else []
        return found

    @property
    def years(self) -> Iterator[tuple[str, int, dict[int, Line]]]:
        """Service, year, and its lines by number of the month: what a grid of twelve columns is drawn of."""
        for service, lines in self.by_service().items():
            for year, months in groupby(lines, key=lambda line: line.month.year):
                yield service, year, {line.month.number: line for line in months}


def sign_of(line: Line, target: str) -> Sign | None:
    """The worst that is to be said of a cell; of a month that the target has not, its own state only."""
    cell = line.cells[target]
    of_month = {line.trip_file, UNUSUAL if line.unusual else ""} if cell.is_held else set()
    return next((sign for sign in SIGNS if sign.state in {cell.state} | of_month), None)


def shown(line: Line, target: str) -> str:
    """A cell in at most six characters: rows in short, and a mark where something is to be looked at."""
    rows, sign = line.cells[target].rows, sign_of(line, target)
    return f"{'' if rows is None else in_short(rows)}{sign.mark if sign else ''}"


def in_short(rows: int) -> str:
    """A number of rows in at most four characters, such as 1.4M."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if rows >= size * 0.9995:
            return f"{rows / size:.1f}{unit}" if rows < 9.95 * size else f"{rows / size:.0f}{unit}"
    return str(rows)


def spans(months: Sequence[Month]) -> list[tuple[Month, Month]]:
    """Months that follow each other, as first and last."""
    found: list[tuple[Month, Month]] = []
    for month in sorted(months):
        if found and found[-1][1].shift(1) == month:
            found[-1] = (found[-1][0], month)
        else:
            found.append((month, month))
    return found


def spans_in_words(months: Sequence[Month]) -> str:
    """The same as text."""
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in spans(months))
