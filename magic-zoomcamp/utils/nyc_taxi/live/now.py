"""What the stream does at this moment: trips a minute, top zones, seconds behind; for a page, a chart, a command."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import BrokerUnavailable
from nyc_taxi.live.broker import connected
from nyc_taxi.live.stream import stream_of
from nyc_taxi.live.tables import MINUTES, POSITION, LiveTables
from nyc_taxi.load.postgres.connection import connect, is_there
from nyc_taxi.settings import BrokerSettings, Settings


@dataclass(frozen=True)
class Minute:
    """One minute of pickups."""

    minute: datetime
    trips: int
    revenue: float
    """In USD, as below."""


@dataclass(frozen=True)
class Zone:
    """One taxi zone, over the minutes that were asked for."""

    zone: int
    trips: int
    revenue: float


@dataclass(frozen=True)
class LiveNow:
    """How far a stream is stored, and what it brought last."""

    stored: int
    """Number of the last message that is stored."""
    stored_at: datetime | None
    """When it was; None where none is."""
    pickup: datetime | None
    """When its trip began, by the clock of the month that is replayed."""
    waiting: int | None
    """Messages that are on the stream and not stored; None where the broker does not answer."""
    behind_seconds: float | None
    """For how long the oldest of them has been waiting; 0 where none is."""
    minutes: Sequence[Minute]
    """The last ones up to `pickup`, the oldest first."""
    zones: Sequence[Zone]
    """Those with most trips in these minutes, the first with most."""


def live_now(settings: Settings, service: Service, minutes: int = 60, zones: int = 10) -> LiveNow:
    """The state of a service's stream; nothing is stored, and nothing waits, where there never was one."""
    tables = LiveTables(settings.postgres.schema, service)
    nothing = LiveNow(0, None, None, *_waiting(settings.broker, service, 0), (), ())
    with connect(settings.postgres) as connection, connection.cursor() as cursor:
        if not is_there(cursor, tables.shared(POSITION)):
            return nothing
        cursor.execute(
            f"SELECT message, stored_at, pickup FROM {tables.shared(POSITION)} WHERE service = %s", (service.name,)
        )
        row = cursor.fetchone()
        if row is None:
            return nothing
        stored, stored_at, pickup = row
        shown = (
            f"FROM {tables.shared(MINUTES)} WHERE service = %s AND minute <= %s::timestamp "
            f"AND minute > %s::timestamp - %s * interval '1 minute'"
        )
        given = (service.name, pickup, pickup, minutes)
        cursor.execute(f"SELECT minute, sum(trips)::bigint, sum(revenue) {shown} GROUP BY 1 ORDER BY 1", given)
        by_minute = tuple(Minute(*each) for each in cursor.fetchall())
        cursor.execute(
            f"SELECT zone, sum(trips)::bigint, sum(revenue) {shown} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %s",
            (*given, zones),
        )
        by_zone = tuple(Zone(*each) for each in cursor.fetchall())
    return LiveNow(stored, stored_at, pickup, *_waiting(settings.broker, service, stored), by_minute, by_zone)


def _waiting(settings: BrokerSettings, service: Service, stored: int) -> tuple[int | None, float | None]:
    try:
        return asyncio.run(_asked(settings, service, stored))
    except BrokerUnavailable:
        return None, None


async def _asked(settings: BrokerSettings, service: Service, stored: int) -> tuple[int, float]:
    async with connected(settings) as connection:
        from nats.js.errors import NotFoundError

        js = connection.jetstream()
        try:
            state = (await js.stream_info(stream_of(service))).state
            waiting = max(0, state.last_seq - max(stored, state.first_seq - 1))
            if not waiting:
                return 0, 0.0
            oldest = await js.get_msg(stream_of(service), seq=max(stored + 1, state.first_seq))
        except NotFoundError:
            return 0, 0.0
        return waiting, max(0.0, time.time() - oldest.time.timestamp())
