"""Looking at what is loaded: each target is asked for what it knows without its trips, each origin for its versions."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import requests

from nyc_taxi.catalog.origins import ORIGINS
from nyc_taxi.catalog.services import SERVICES
from nyc_taxi.errors import NotPublished, TargetUnavailable, TaxiError, UnknownName, shortened
from nyc_taxi.extract.http import WEAK, version_of
from nyc_taxi.extract.published import GS, Published, find_published, request_file, trip_file_urls
from nyc_taxi.load.holding import Holding, Holdings
from nyc_taxi.load.postgres import held as postgres
from nyc_taxi.manifest import sums_agree
from nyc_taxi.report.coverage.commands import commands_for
from nyc_taxi.report.coverage.grid import (
    BIGQUERY,
    CHANGED,
    GONE,
    NOT_ASKED,
    POSTGRES,
    TARGETS,
    UNCHANGED,
    UNKNOWN,
    Coverage,
    Line,
)
from nyc_taxi.report.coverage.lines import Choice, Seen, lines_of
from nyc_taxi.run import RunContext
from nyc_taxi.settings import Settings

AT_ONCE = 4
"""Requests to the origins: TLC's own refuses who asks for more."""


def look(settings: Settings, choice: Choice, *, offline: bool = False, sums: bool = False) -> Coverage:
    """
    The grid of what is loaded.

    A target that is not there, or does not answer, is a line among the notes. One that holds no month at all is not
    said to lack any. Raises UnknownName for a span that is none.

    Args:
        settings: where the targets and the origins are.
        choice: which services, months and targets.
        offline: do not ask the origins; else each month of which the version is known costs one HEAD request.
        sums: count and sum the trips where a target's metadata do not tell: in Postgres and in BigQuery.
    """
    if choice.since and choice.until and choice.since > choice.until:
        raise UnknownName(f"since {choice.since} is after until {choice.until}: both are included")
    seen = _ask_targets(settings, choice)
    lines = lines_of(seen, choice)
    if sums:
        seen = _with_sums(seen, lines, settings)
        lines = lines_of(seen, choice)
    notes = seen.notes
    if not offline:
        lines, silent = _ask_origins(lines, seen, settings)
        notes += silent
    return Coverage(tuple(seen.held), lines, notes, commands_for(lines, seen.held))


def _ask_targets(settings: Settings, choice: Choice) -> Seen:
    held: dict[str, Holdings] = {}
    failures: list[postgres.FailedLoad] = []
    notes = []
    asked: tuple[Callable[[Settings], Holdings], ...] = (partial(_postgres, failures), _bucket, _bigquery)
    for target, ask in zip(TARGETS, asked, strict=True):
        if target in (choice.targets or TARGETS):
            try:
                held[target] = ask(settings)
            except TaxiError as error:
                notes.append(f"{target} is left out: {error}")
    if not choice.targets and any(held.values()):
        notes += [f"{target} holds no month" for target, months in held.items() if not months]
        held = {target: months for target, months in held.items() if months}
    return Seen(held, failures, tuple(notes))


def _postgres(failures: list[postgres.FailedLoad], settings: Settings) -> Holdings:
    held, failed = postgres.held_months(settings.postgres)
    failures += failed
    return held


# What knows Google is imported only where it is needed: its clients take a second to start.
def _bucket(settings: Settings) -> Holdings:
    from nyc_taxi.load.bucket import held

    return held.held_months(settings.google)


def _bigquery(settings: Settings) -> Holdings:
    from nyc_taxi.load.bigquery import held

    if not (settings.google.project or settings.google.bigquery_emulator):
        raise TargetUnavailable("GOOGLE_CLOUD_PROJECT is not set")
    return held.held_months(settings.google)


def _with_sums(seen: Seen, lines: Sequence[Line], settings: Settings) -> Seen:
    """The same with rows and sums counted in the trips of the lines' months, in Postgres and in BigQuery."""
    from nyc_taxi.load.bigquery import held as bigquery

    ways = {
        POSTGRES: partial(postgres.sum_months, settings.postgres),
        BIGQUERY: partial(bigquery.sum_months, settings.google),
    }
    held, notes = dict(seen.held), seen.notes
    for target, count in ((name, ways[name]) for name in held if name in ways):
        for service in {line.service for line in lines}:
            months = [line.month for line in lines if line.service == service and line.key in held[target]]
            if not months:
                continue
            try:
                counted = count(SERVICES[service], min(months), max(months))
            except TaxiError as error:
                notes += (f"{target}, {service}: not summed: {error}",)
                continue
            held[target] = held[target] | {
                key: _counted(held[target][key], each) for key, each in counted.items() if key in held[target]
            }
    return replace(seen, held=held, notes=notes)


def _counted(told: Holding, counted: Holding) -> Holding:
    """What is told of a month, with what was counted; where load_audit knew another sum, this is odd."""
    same = not told.sums or (told.rows == counted.rows and sums_agree(told.sums, counted.sums or {}))
    odd = () if same else (f"load_audit says {told.rows:,} rows, sums {dict(told.sums or {})}; not so many are there",)
    return replace(told, rows=counted.rows, sums=counted.sums, odd=(*told.odd, *odd))


def _ask_origins(lines: Sequence[Line], seen: Seen, settings: Settings) -> tuple[tuple[Line, ...], tuple[str, ...]]:
    """The lines with what became of their trip files; and which origins did not answer, after which they are left."""
    silent: dict[str, str] = {}

    def ask(line: Line) -> Line:
        held = [months[line.key] for months in seen.held.values() if line.key in months]
        known = [each for each in held if each.origin in ORIGINS and (each.etag or each.bytes is not None)]
        if not known or known[0].origin in silent:
            return replace(line, trip_file=UNKNOWN if held and not known else NOT_ASKED)
        origin = ORIGINS[known[0].origin]
        try:
            published = _published(RunContext(SERVICES[line.service], line.month, origin, (), settings))
        except NotPublished:
            return replace(line, trip_file=GONE)
        except (TaxiError, requests.RequestException) as error:
            silent.setdefault(origin.name, str(getattr(error, "at_last", None) or error))
            return line
        same_origin = [each for each in known if each.origin == origin.name]
        verdicts = {_verdict(each, published) if published else UNKNOWN for each in same_origin}
        return replace(line, trip_file=next(one for one in (CHANGED, UNKNOWN, UNCHANGED) if one in verdicts))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answered = tuple(pool.map(ask, lines))
    return answered, tuple(f"origin {name} is not asked any further: {shortened(why)}" for name, why in silent.items())


def _published(run: RunContext) -> Published | None:
    """What the origin says of the trip file, asked once; None of a month with a file for each day, which cost more."""
    url, *more = trip_file_urls(run)
    if more:
        return None
    if url.startswith(GS):
        return find_published(run)
    with request_file(run, "HEAD", url) as answer:
        length = answer.headers.get("Content-Length", "")
        return Published(url, version_of(answer), int(length) if length.isdecimal() else None)


def _verdict(loaded: Holding, published: Published) -> str:
    """Whether the origin has another file now: by its ETag, else by its size. Two addresses have no ETags in common."""
    if loaded.etag and published.etag:
        if loaded.etag.removeprefix(WEAK) == published.etag.removeprefix(WEAK):
            return UNCHANGED
        if loaded.url == published.url:
            return CHANGED
    if None not in (loaded.bytes, published.bytes) and loaded.bytes != published.bytes:
        return CHANGED
    return UNCHANGED if loaded.url == published.url and loaded.bytes == published.bytes else UNKNOWN
