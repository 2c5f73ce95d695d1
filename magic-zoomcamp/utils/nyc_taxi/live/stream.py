"""The stream of a service's trips in JetStream: its name, its subjects, its limits."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import StreamRefused
from nyc_taxi.live.broker import JetStream, connected
from nyc_taxi.settings import BrokerSettings

MAX_BYTES = 2 << 30
DUPLICATE_SECONDS = 120
"""For so long the broker knows a message's id again; beyond it, the producer asks where it was."""


@dataclass(frozen=True)
class StreamState:
    """What the broker says of a stream."""

    created: str
    """When it was made: another stream of the same name has another moment."""
    first: int
    """The oldest message that is there; the next one that would be, where none is."""
    last: int


def stream_of(service: Service) -> str:
    """The stream's name."""
    return f"trips_{service.name}"


def subject_of(service: Service, producer: str) -> str:
    """Where one producer of trips publishes: each has a subject of its own, so that it finds its last message."""
    return f"trips.{service.name}.{producer}"


async def ensure_stream(js: JetStream, service: Service) -> StreamState:
    """
    The state of the service's stream, which is made where it is missing.

    A full stream refuses new messages: the other way, which JetStream takes unless told, drops old ones unread.
    StreamRefused for a stream of this name that is not for these trips.
    """
    from nats.js.api import DiscardPolicy, StreamConfig
    from nats.js.errors import NotFoundError

    name, subjects = stream_of(service), [subject_of(service, ">")]
    try:
        info = await js.stream_info(name)
    except NotFoundError:
        wanted = StreamConfig(
            name=name,
            subjects=subjects,
            discard=DiscardPolicy.NEW,
            max_bytes=MAX_BYTES,
            duplicate_window=DUPLICATE_SECONDS,
        )
        info = await js.add_stream(wanted)
    if not set(subjects) <= set(info.config.subjects or []):
        listed = ", ".join(info.config.subjects or []) or "none"
        raise StreamRefused(f"stream {name} has the subjects {listed}, not {subjects[0]}: add it, or remove the stream")
    return state_of(info)


async def delete_stream(settings: BrokerSettings, service: Service) -> None:
    """Take the service's stream away, with its messages; none is no error."""
    async with connected(settings) as connection:
        from nats.js.errors import NotFoundError

        with suppress(NotFoundError):
            await connection.jetstream().delete_stream(stream_of(service))


def state_of(info: Any) -> StreamState:
    """What counts of the broker's answer about a stream."""
    return StreamState(str(info.created or ""), info.state.first_seq, info.state.last_seq)
