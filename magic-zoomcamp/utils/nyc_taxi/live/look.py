"""The charts of a stream in Mage's editor, counted each time that they are drawn; one line where nothing is to draw."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import ParamSpec, TypeVar

from nyc_taxi.catalog.references import ZONES
from nyc_taxi.catalog.services import service_named
from nyc_taxi.errors import TaxiError
from nyc_taxi.live.broker import connected
from nyc_taxi.live.now import LiveNow, live_now
from nyc_taxi.live.tables import POSITION
from nyc_taxi.load.postgres.connection import connect, is_there
from nyc_taxi.settings import BrokerSettings, PostgresSettings, Settings

P = ParamSpec("P")
T = TypeVar("T")
MINUTES_SHOWN, ZONES_SHOWN = 30, 10  # Mage draws no more than 50 bars
HEADINGS = ["service", "stored up to message", "messages waiting", "seconds behind", "last pickup", "stored at"]
Drawn = tuple[list[str], list[int]]


def progress(settings: Settings) -> tuple[list[str], list[list[str]]]:
    """Headings and a row for each stream, the one that was stored last at the top."""
    found = _streams(settings)
    if any(now.waiting is None for _, now in found):
        print(f"NATS at {settings.broker.url} does not answer: nobody knows what waits there")
    rows = [
        [
            service,
            f"{now.stored:,}",
            "?" if now.waiting is None else f"{now.waiting:,}",
            "?" if now.behind_seconds is None else f"{now.behind_seconds:,.1f}",
            str(now.pickup or ""),
            f"{now.stored_at:%Y-%m-%d %H:%M:%S}" if now.stored_at else "",
        ]
        for service, now in found
    ]
    return HEADINGS if rows else [], rows


def trips_per_minute(settings: Settings) -> Drawn:
    """The minutes of pickup up to the newest of the stream that was stored last, `HH:MM`, each with its trips."""
    for _, now in _streams(settings):
        if now.pickup is not None:
            last = now.pickup.replace(second=0, microsecond=0)
            due = [last - timedelta(minutes=before) for before in reversed(range(MINUTES_SHOWN))]
            trips = {each.minute: each.trips for each in now.minutes}
            return [f"{minute:%H:%M}" for minute in due], [trips.get(minute, 0) for minute in due]
    return [], []


def busiest_zones(settings: Settings) -> Drawn:
    """The zones with most pickups in these minutes, most first, each with its trips; by name where names are loaded."""
    for _, now in _streams(settings):
        if now.zones:
            names = _names(settings.postgres)
            zones = [names.get(each.zone) or f"zone {each.zone}" for each in now.zones]
            return zones, [each.trips for each in now.zones]
    return [], []


def streams_at(settings: BrokerSettings) -> int:
    """How many streams a broker keeps for us; BrokerUnavailable says what is wrong with it."""

    async def ask() -> int:
        async with connected(settings) as connection:
            return int((await connection.jetstream().account_info()).streams)

    return _apart(asyncio.run, ask())


def _streams(settings: Settings) -> list[tuple[str, LiveNow]]:
    """The streams by service, the one that was stored last first; none, and one line that says why."""
    found: list[tuple[str, LiveNow]] = []
    said = "nothing to draw yet: taxi live replays a month, and live_trips stores it"
    try:
        for (name,) in _rows(settings.postgres, POSITION, "service", "ORDER BY stored_at DESC NULLS LAST"):
            now = _apart(live_now, settings, service_named(str(name)), MINUTES_SHOWN, ZONES_SHOWN)
            found.append((str(name), now))
    except TaxiError as error:
        said = str(error)
    if not found:
        print(said)
    return found


def _names(settings: PostgresSettings) -> dict[object, str]:
    return {number: str(name) for number, name in _rows(settings, ZONES.name, "location_id, zone")}


def _rows(settings: PostgresSettings, table: str, columns: str, more: str = "") -> list[tuple[object, ...]]:
    """Rows of a table; none where it is not there."""
    with connect(settings) as connection, connection.cursor() as cursor:
        if not is_there(cursor, f"{settings.schema}.{table}"):
            return []
        cursor.execute(f"SELECT {columns} FROM {settings.schema}.{table} {more}")
        return list(cursor.fetchall())


def _apart(ask: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """The answer, asked for in a thread: the kernel of Mage's editor, where a chart runs, has an event loop already."""
    with ThreadPoolExecutor(1) as alone:
        return alone.submit(ask, *given, **named).result()
