"""What tests of the stream share: a broker that may be killed, messages on a stream, and what is stored of them."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import psutil
from nyc_taxi.catalog.services import service_named
from nyc_taxi.live.broker import connected
from nyc_taxi.live.executor import LiveRun
from nyc_taxi.live.stream import ensure_stream, stream_of
from nyc_taxi.settings import PostgresSettings, Settings

from ops.stack import broker
from tests.conftest import sql

YELLOW = service_named("yellow")
TRIP: dict[str, object] = {
    "VendorID": 1,
    "tpep_pickup_datetime": "2021-01-01T00:30:10",
    "tpep_dropoff_datetime": "2021-01-01T00:36:12",
    "passenger_count": 2,
    "trip_distance": 2.1,
    "PULocationID": 142,
    "DOLocationID": 43,
    "total_amount": 11.8,
    "file_month": "2021-01-01",
}
HELD = "SELECT message FROM ny_taxi.yellow_cab_data_live ORDER BY 1"


class OwnBroker:
    """A broker that may be killed, and comes back where it was."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running = broker.start(folder)

    @property
    def url(self) -> str:
        return self.running.url

    def kill(self) -> None:
        process = psutil.Process(self.running.pid)
        process.kill()
        process.wait(10)  # or `start` would find it still there

    def start(self) -> None:
        self.running = broker.start(self.folder)

    def empty(self) -> None:
        """Take its streams away."""

        async def take(js: Any) -> None:
            for info in await js.streams_info():
                await js.delete_stream(info.config.name)

        on(settings_of(self), take)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        broker.stop(self.folder)


def settings_of(own: OwnBroker) -> Settings:
    return Settings.from_environment({"NATS_URL": own.url})


def on(settings: Settings, ask: Any) -> Any:
    """Ask JetStream something, over a connection of its own."""

    async def asked() -> Any:
        async with connected(settings.broker) as connection:
            return await ask(connection.jetstream())

    with ThreadPoolExecutor(1) as alone:  # where a browser is driven, this thread has an event loop already
        return alone.submit(asyncio.run, asked()).result()


def publish(settings: Settings, *messages: Mapping[str, object] | bytes, producer: str = "test") -> None:
    """Put messages on the stream of yellow trips, which is made if it is missing."""

    async def put(js: Any) -> None:
        await ensure_stream(js, YELLOW)
        for message in messages:
            body = message if isinstance(message, bytes) else json.dumps(message).encode()
            await js.publish(f"trips.yellow.{producer}", body)

    on(settings, put)


def trips(count: int, **more: object) -> list[dict[str, object]]:
    """So many trips, a minute apart."""
    return [
        {**TRIP, "tpep_pickup_datetime": f"2021-01-01T{number // 60 % 24:02}:{number % 60:02}:10", **more}
        for number in range(count)
    ]


def store_all(run: LiveRun) -> int:
    """Store what waits on the stream, as the pipeline does; how many pieces that were."""
    store = run.store()
    try:
        count = 0
        for count, piece in enumerate(run.unread(), 1):  # noqa: B007  it is told
            store.write(run.judged(piece))
        return count
    finally:
        store.close()


def held(database: PostgresSettings) -> Sequence[object]:
    """The numbers of the messages that are stored as accepted trips."""
    return [number for (number,) in sql(database, HELD)]


async def delete_stream(js: Any) -> None:
    await js.delete_stream(stream_of(YELLOW))
