"""
What a person looks at while a stream runs: how far it is stored, its trips a minute, its busiest zones.

Charts of Mage's editor ask here, each time that they are drawn. Where there is nothing to draw, one line says why.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from psycopg2.extensions import cursor as Cursor

from nyc_taxi.catalog.references import ZONES
from nyc_taxi.catalog.services import service_named
from nyc_taxi.errors import BrokerUnavailable, TaxiError
from nyc_taxi.live.broker import JetStream, connected
from nyc_taxi.live.stream import stream_of
from nyc_taxi.live.tables import MINUTES, POSITION
from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.settings import BrokerSettings, PostgresSettings, Settings

T = TypeVar("T")
MINUTES_SHOWN, ZONES_SHOWN = 30, 10  # Mage draws no more than 50 bars
HEADINGS = ["service", "stored up to message", "messages waiting", "seconds behind", "last pickup", "stored at"]
Rows = list[tuple[Any, ...]]
Drawn = tuple[list[str], list[int]]


@dataclass(frozen=True)
class Waiting:
    """What of a stream is not stored yet."""

    messages: int
    seconds: float
    """Since the broker took the oldest of them; 0 where none waits."""


def waiting(settings: BrokerSettings, stored: Mapping[str, int]) -> dict[str, Waiting]:
    """
    By service, what waits on its stream behind the message that is `stored` last; a stream that is gone is left out.

    Raises BrokerUnavailable.
    """

    async def ask() -> dict[str, Waiting]:
        async with connected(settings) as connection:
            js = connection.jetstream()
            asked = {
                service: await _waiting(js, stream_of(service_named(service)), stored[service]) for service in stored
            }
            return {service: found for service, found in asked.items() if found is not None}

    return _apart(ask())


async def _waiting(js: JetStream, stream: str, stored: int) -> Waiting | None:
    from nats.js.errors import NotFoundError

    try:
        state = (await js.stream_info(stream)).state
        if state.last_seq <= stored:
            return Waiting(0, 0.0)
        oldest = await js.get_msg(stream, seq=max(stored + 1, state.first_seq))
    except NotFoundError:  # the stream; or the message, which was removed just now
        return None
    return Waiting(state.last_seq - stored, (datetime.now(UTC) - oldest.time).total_seconds())


def streams_at(settings: BrokerSettings) -> int:
    """How many streams a broker keeps for us; BrokerUnavailable says what is wrong with it."""

    async def ask() -> int:
        async with connected(settings) as connection:
            return int((await connection.jetstream().account_info()).streams)

    return _apart(ask())


def _apart(question: Coroutine[Any, Any, T]) -> T:
    """The answer, asked for in a thread: the kernel of Mage's editor, where a chart runs, has an event loop already."""
    with ThreadPoolExecutor(1) as alone:
        return alone.submit(asyncio.run, question).result()


def progress(settings: Settings) -> tuple[list[str], list[list[str]]]:
    """Headings and a row for each stream, the one that was stored last at the top."""
    streams = _answered(
        settings.postgres,
        f"SELECT service, message, behind_seconds, pickup, stored_at FROM {{schema}}.{POSITION} "
        "ORDER BY stored_at DESC NULLS LAST",
    )
    found: dict[str, Waiting] = {}
    try:
        found = waiting(settings.broker, {service: message for service, message, *_ in streams}) if streams else {}
    except BrokerUnavailable as error:
        print(f"{error}: seconds behind are those of when the last message was stored")
    return HEADINGS if streams else [], [
        [
            service,
            f"{message:,}",
            f"{found[service].messages:,}" if service in found else "?",
            _in_tenths(found[service].seconds if service in found else behind),
            str(pickup or ""),
            f"{stored_at:%Y-%m-%d %H:%M:%S}" if stored_at else "",
        ]
        for service, message, behind, pickup, stored_at in streams
    ]


def _in_tenths(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:,.1f}"


def trips_per_minute(settings: PostgresSettings) -> Drawn:
    """The minutes of pickup up to the newest of the stream, `HH:MM`, each with its trips."""
    first = f"date_trunc('minute', pickup) - interval '{MINUTES_SHOWN - 1} minutes'"
    return _drawn(
        settings,
        f"SELECT to_char(due, 'HH24:MI'), coalesce(sum(trips), 0)::integer "
        f"FROM newest CROSS JOIN generate_series({first}, pickup, interval '1 minute') AS due "
        f"LEFT JOIN {{schema}}.{MINUTES} AS held ON held.service = newest.service AND minute = due "
        "GROUP BY due ORDER BY due",
    )


def busiest_zones(settings: PostgresSettings) -> Drawn:
    """The zones with most pickups in those minutes, most first, each with its trips; by name where names are loaded."""
    return _drawn(
        settings,
        f"SELECT coalesce({{name}}, 'zone ' || held.zone), sum(trips)::integer AS trips "
        f"FROM newest JOIN {{schema}}.{MINUTES} AS held ON held.service = newest.service "
        f"AND minute > pickup - interval '{MINUTES_SHOWN} minutes' AND minute <= pickup {{join}} "
        f"GROUP BY held.zone, 1 ORDER BY trips DESC, 1 LIMIT {ZONES_SHOWN}",
    )


def _drawn(settings: PostgresSettings, question: str) -> Drawn:
    """The answer as names and numbers; in the question, `newest` is the stream that was stored last."""
    newest = "WITH newest AS (SELECT service, pickup FROM {schema}." + POSITION
    newest += " WHERE pickup IS NOT NULL ORDER BY stored_at DESC LIMIT 1) "
    rows = _answered(settings, newest + question)
    return [str(name) for name, _ in rows], [trips for _, trips in rows]


def _answered(settings: PostgresSettings, question: str) -> Rows:
    """The rows that answer a question about the stream's tables; before there are any, one line that says why."""
    rows: Rows = []
    try:
        with connect(settings) as connection, connection.cursor() as cursor:
            if _is_there(cursor, f"{settings.schema}.{POSITION}"):
                named = _is_there(cursor, f"{settings.schema}.{ZONES.name}")
                join = f"LEFT JOIN {settings.schema}.{ZONES.name} AS named ON location_id = held.zone" if named else ""
                name = "named.zone" if named else "NULL"
                cursor.execute(question.format(schema=settings.schema, join=join, name=name))
                rows = cursor.fetchall()
        said = "nothing to draw yet: taxi live replays a month, and live_trips stores it"
    except TaxiError as error:
        said = str(error)
    if not rows:
        print(said)
    return rows


def _is_there(cursor: Cursor, table: str) -> bool:
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (table,))
    return bool(cursor.fetchone() == (True,))
