"""
The lines of the grid, worked out from what the targets told: what each holds, lacks or failed to load.

No function here asks anybody.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import TypeAlias

from nyc_taxi.catalog.origins import ORIGINS
from nyc_taxi.catalog.services import SERVICES
from nyc_taxi.load.holding import Holding, Holdings, Key
from nyc_taxi.load.postgres.held import FailedLoad
from nyc_taxi.manifest import sums_agree
from nyc_taxi.months import Month, month_range
from nyc_taxi.report.coverage.grid import (
    BIGQUERY,
    BUCKET,
    DIFFERS,
    FAILED,
    LOADED,
    MISSING,
    NONE,
    POSTGRES,
    TARGETS,
    Cell,
    Line,
)

NEIGHBOURS = 2
"""Months before and after with which a month's rows are compared, beside the same month a year before."""
FACTOR = 1.5
"""Times the most, or below the least of them divided by it: so many rows are unusual."""
_WORDS = {POSTGRES: "postgres", BUCKET: "gcs", BIGQUERY: "bigquery"}
_BY_DAY = "api_to_gcs_parameterized"
"""Fails on days, whose objects are not those of months."""

Failures: TypeAlias = Mapping[tuple[str, Key], FailedLoad]


@dataclass(frozen=True)
class Seen:
    """What the targets told."""

    held: Mapping[str, Holdings]
    """By target, those that answered."""
    failures: Sequence[FailedLoad] = ()
    notes: tuple[str, ...] = ()
    """What could not be asked, and why; a line each."""


@dataclass(frozen=True)
class Choice:
    """Of what the grid is."""

    services: tuple[str, ...] = ()
    """None: all of which something is known."""
    since: Month | None = None
    until: Month | None = None
    """Both included; None: what is known says."""
    targets: tuple[str, ...] = ()
    """None: those that hold a month."""
    day: date = field(default_factory=lambda: datetime.now(UTC).date())
    """Today, by which a month should be published or not yet."""


def lines_of(seen: Seen, choice: Choice) -> tuple[Line, ...]:
    """Every line, the trip files not asked yet."""
    failed = _failures(seen)
    lines = []
    for service in _services(seen, choice, failed):
        for month in _months(service, seen, choice, failed):
            holdings = [held[service, month] for held in seen.held.values() if (service, month) in held]
            near = next(iter(holdings), None) or _nearest(service, month, seen)
            origin = _origin(service, month, near)
            cells = {target: _cell((service, month), target, seen, failed, origin, choice.day) for target in seen.held}
            lines.append(Line(service, month, cells, origin=origin, rules=near.rules if near else None))
    return tuple(replace(line, unusual=far_from_neighbours(line, lines)) for line in lines)


def far_from_neighbours(line: Line, lines: Sequence[Line]) -> str:
    """
    Why a month's rows are unusual; empty where they are not, or where fewer than two months are there to compare.

    They are when they are more than FACTOR times the most, or less than a FACTOR-th of the least, of the NEIGHBOURS
    months before and after it and of the same month a year before. A month among them that is odd itself only widens
    the range: it makes no other month unusual.
    """
    near = {line.month.shift(by) for by in (-12, *range(-NEIGHBOURS, NEIGHBOURS + 1)) if by}
    others = [each.rows for each in lines if each.service == line.service and each.month in near and each.rows]
    if line.rows is None or len(others) < 2:
        return ""
    least, most = min(others), max(others)
    if least / FACTOR <= line.rows <= most * FACTOR:
        return ""
    return f"{line.rows:,} rows, the months around it and a year before {least:,} to {most:,}"


def _services(seen: Seen, choice: Choice, failed: Failures) -> list[str]:
    known = {service for held in seen.held.values() for service, _ in held} | {key[0] for _, key in failed}
    return [name for name in SERVICES if name in (choice.services or known)]


def _months(service: str, seen: Seen, choice: Choice, failed: Failures) -> list[Month]:
    """From the first to the last that is held, or as chosen; and what failed."""
    held = sorted({month for held in seen.held.values() for name, month in held if name == service})
    newest = max(origin.newest(choice.day) for origin in ORIGINS.values())
    first = choice.since or (held[0] if held else choice.until)
    last = choice.until or (held[-1] if held and held[-1] >= (first or held[0]) else newest)
    failures = {key[1] for _, key in failed if key[0] == service}
    return sorted(
        {*(month_range(first, last) if first else ())}
        | {m for m in failures if (choice.since or m) <= m <= (choice.until or m)}
    )


def _failures(seen: Seen) -> dict[tuple[str, Key], FailedLoad]:
    """The last failure by target and month, as far as it is later than what the target holds."""
    found: dict[tuple[str, Key], FailedLoad] = {}
    for failure in sorted(seen.failures, key=lambda each: each.at):
        for target in _targets(failure):
            holding = seen.held.get(target, {}).get(failure.key)
            if target in seen.held and not (holding and holding.loaded_at and holding.loaded_at > failure.at):
                found[target, failure.key] = failure
    return found


def _targets(failure: FailedLoad) -> list[str]:
    """Into which targets it would have loaded: as its pipeline's name ends, else its block's, else all of them."""
    if failure.pipeline == _BY_DAY:
        return []
    whole = [target for target, word in _WORDS.items() if failure.pipeline.endswith(f"_to_{word}")]
    block = failure.block.partition(":")[0]
    return whole or [target for target, word in _WORDS.items() if f"_to_{word}" in block] or list(TARGETS)


def _nearest(service: str, month: Month, seen: Seen) -> Holding | None:
    """What is held of the nearest month that says where it came from."""
    known = {
        key[1]: each for held in seen.held.values() for key, each in held.items() if key[0] == service and each.origin
    }
    if not known:
        return None
    number = month.year * 12 + month.number
    return known[min(known, key=lambda each: abs(each.year * 12 + each.number - number))]


def _origin(service: str, month: Month, near: Holding | None) -> str:
    """From where a month comes, or would: as its neighbour did if that origin may have it, else the first that may."""
    may = [name for name, origin in ORIGINS.items() if origin.may_have(SERVICES[service], month)]
    return near.origin if near and near.origin in may else next(iter(may), "")


def _cell(key: Key, target: str, seen: Seen, failed: Failures, origin: str, day: date) -> Cell:
    holding, failure = seen.held[target].get(key), failed.get((target, key))
    rows = holding.rows if holding else None
    if failure:
        old = ("the month is there as it was before",) if holding else ()
        return Cell(FAILED, rows, (f"{failure.pipeline} on {failure.at:%Y-%m-%d}: {failure.error}", *old))
    if holding:
        said = (*holding.odd, *_differences(key, target, seen))
        return Cell(DIFFERS if said else LOADED, rows, said)
    published = origin and key[1] <= ORIGINS[origin].newest(day)
    return Cell(MISSING if published else NONE)


def _differences(key: Key, target: str, seen: Seen) -> Iterator[str]:
    """In what a target differs from the first that holds the month, as far as both tell."""
    first = next(name for name, held in seen.held.items() if key in held)
    one, other = seen.held[first][key], seen.held[target][key]
    if None not in (one.rows, other.rows) and one.rows != other.rows:
        yield f"{other.rows:,} rows, {first} has {one.rows:,}"
    if one.sums and other.sums and not sums_agree(one.sums, other.sums):
        yield f"sums {dict(other.sums)}, {first} has {dict(one.sums)}"
    if one.trip_file and other.trip_file and one.trip_file != other.trip_file:
        yield f"made of another version of the trip file than {first}"
    if None not in (one.rules, other.rules) and one.rules != other.rules:
        yield f"by rules {', '.join(other.rules or ()) or 'none'}, {first} by {', '.join(one.rules or ()) or 'none'}"
