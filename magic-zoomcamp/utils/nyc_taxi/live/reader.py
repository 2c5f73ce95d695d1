"""
Reads a stream from a position that Postgres holds, for ever.

The broker keeps no note of what was read: there is no acknowledgement and no durable consumer. Whoever stores a piece
stores the number of its last message in the same transaction, and the next start begins there.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import BrokerUnavailable, StreamRefused
from nyc_taxi.live.broker import JetStream, connected, explained
from nyc_taxi.live.stream import ensure_stream, stream_of
from nyc_taxi.settings import BrokerSettings

GATHER_SECONDS = 0.05
"""How long a message may wait for others, so that a transaction stores more than one."""
PATIENCE_SECONDS = 15
"""How long a broker that was there may be away: it restarts, or another of the cluster takes over."""
HEARTBEAT_SECONDS = 2
HEARTBEAT, NOTHING_CAME = "100", ("404", "408")
"""What the broker's words about a request mean, as JetStream numbers them."""
AGAIN_SECONDS = 0.5
BYTES_ASKED = 32 << 20
"""The broker ends the connection of who has 64 MiB to read."""
ENOUGH_BYTES, ALL_CAME = "Message Size Exceeds MaxBytes", "Batch Completed"
"""How a request ends that named a number of bytes; after the second, what comes next was asked for already."""


@dataclass(frozen=True)
class Position:
    """What is stored of a stream."""

    last: int = 0
    """Number of the last message; 0 for none."""
    created: str = ""
    """When the stream was made that it is a message of."""


@dataclass(frozen=True)
class Piece:
    """Messages in a row, none missing: those with the numbers first to last."""

    first: int
    bodies: tuple[bytes, ...]
    created: str
    """When their stream was made."""
    sent: float
    """When the broker took the last one, in seconds since 1970."""

    @property
    def last(self) -> int:
        """The number of the last message."""
        return self.first + len(self.bodies) - 1

    def __deepcopy__(self, memo: object) -> Self:
        """Itself: Mage copies what blocks hand on, and nobody changes this."""
        return self


def pieces(
    settings: BrokerSettings, service: Service, position: Position, size: int, idle: float = 1.0
) -> Iterator[Piece | None]:
    """
    Every piece after the position, for ever; None whenever nothing came for `idle` seconds.

    Raises BrokerUnavailable when the broker is not there, or goes and does not come back; StreamRefused when messages
    that were never stored are gone, or the stream is not the one that the position is of.
    """
    with asyncio.Runner() as runner:
        reader = _Reader(settings, service, position, size)
        try:
            while True:
                yield runner.run(reader.next(idle))
        finally:
            runner.run(reader.detach())


class _Reader:
    def __init__(self, settings: BrokerSettings, service: Service, position: Position, size: int) -> None:
        self.settings, self.service, self.position, self.size = settings, service, position, size
        self.created = position.created
        self._attached: AsyncExitStack | None = None
        self._connection: Any = None
        self._ask = self._inbox = ""
        self._came: deque[Any] = deque()
        self._asked = 0
        """Messages that were asked for and did not come yet."""
        self._heard = self._well = 0.0
        """When the broker last said anything, or was asked; and when it last said that all is well. 0: never."""
        self._closed = ""
        """What it said when it ended what we read by."""
        self._gap_at = 0

    async def next(self, idle: float) -> Piece | None:
        """The next piece; None when nothing came for so many seconds, of a broker that was there."""
        while True:
            try:
                if self._attached is None:
                    await self._attach()
                with explained(self.settings):
                    return await self._gathered(idle)
            except BrokerUnavailable as error:
                await self.detach()
                if time.monotonic() - self._well > PATIENCE_SECONDS:
                    raise
                print(f"{error}; trying again", flush=True)
                await asyncio.sleep(AGAIN_SECONDS)

    async def _attach(self) -> None:
        from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

        async with AsyncExitStack() as stack:
            self._connection = await stack.enter_async_context(connected(self.settings))
            js = self._connection.jetstream()
            await self._check(js)
            consumer = await js.add_consumer(
                stream_of(self.service),
                ConsumerConfig(
                    ack_policy=AckPolicy.NONE,
                    deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                    opt_start_seq=self.position.last + 1,
                    inactive_threshold=60,
                    mem_storage=True,
                ),
            )
            self._ask = f"$JS.API.CONSUMER.MSG.NEXT.{stream_of(self.service)}.{consumer.name}"
            self._inbox = self._connection.new_inbox()
            await self._connection.subscribe(self._inbox, cb=self._take)
            self._came.clear()
            self._asked, self._closed = 0, ""
            self._heard = time.monotonic()
            self._well = self._well or self._heard
            self._attached = stack.pop_all()

    async def _check(self, js: JetStream) -> None:
        """StreamRefused unless the stream is the one of the position, and has all that comes after it."""
        state, name, last = await ensure_stream(js, self.service), stream_of(self.service), self.position.last
        forget = f"look what happened to it; taxi live --forget --service {self.service.name} begins anew"
        if last and state.created != self.position.created:
            raise StreamRefused(
                f"stream {name} is another one than that whose message {last:,} was stored last: it was made at "
                f"{state.created}, that one at {self.position.created}: {forget}"
            )
        if state.last < last:
            raise StreamRefused(
                f"stream {name} ends with message {state.last:,}, but {last:,} is stored: it was reset: {forget}"
            )
        if state.first > last + 1:
            raise StreamRefused(_gone(name, last + 1, state.first - 1))
        self.created = state.created

    async def _take(self, message: Any) -> None:
        """What the broker sends: a message of the stream, or a word about what we asked."""
        self._heard = time.monotonic()
        status = message.headers.get("Status") if message.headers and not message.data else None
        said = message.headers.get("Description", "") if status else ""
        if status is None:
            self._came.append(message)
            self._asked -= 1
        elif status != HEARTBEAT and said != ALL_CAME:  # what was asked for has ended
            some_came = self._asked < 2 * self.size
            self._asked = 0
            if status not in NOTHING_CAME and not (said == ENOUGH_BYTES and some_came):
                self._closed = f"{status} {said}"
                return
        self._well = self._heard

    async def _gathered(self, idle: float) -> Piece | None:
        begin = time.monotonic()
        while not self._came:
            if self._asked <= 0:
                await self._ask_for(2 * self.size)
            if self._closed or self._connection.is_closed:
                raise TimeoutError(f"it ended the connection {self._closed}".strip())
            if time.monotonic() - self._heard > 3 * HEARTBEAT_SECONDS:
                raise TimeoutError("timed out: it says nothing any more")
            if time.monotonic() - begin > idle:
                return None
            await asyncio.sleep(0.005)
        until = time.monotonic() + GATHER_SECONDS
        while len(self._came) < self.size and time.monotonic() < until:
            await asyncio.sleep(0.005)
        return await self._piece([self._came.popleft() for _ in range(min(self.size, len(self._came)))])

    async def _ask_for(self, messages: int) -> None:
        wanted = {
            "batch": messages,
            "max_bytes": BYTES_ASKED,
            "expires": 30_000_000_000,  # nanoseconds, as below
            "idle_heartbeat": HEARTBEAT_SECONDS * 1_000_000_000,
        }
        await self._connection.publish(self._ask, json.dumps(wanted).encode(), reply=self._inbox)
        self._asked = messages

    async def _piece(self, messages: list[Any]) -> Piece | None:
        first, last = messages[0].metadata.sequence.stream, messages[-1].metadata.sequence.stream
        due = self.position.last + 1
        if first != due or last - first + 1 != len(messages):
            await self.detach()
            if self._gap_at == due:  # also when it was asked for once more
                raise StreamRefused(_gone(stream_of(self.service), due, max(due, first - 1)))
            self._gap_at = due
            messages = _in_a_row(messages, due)
            if not messages:
                return None
        sent = messages[-1].metadata.timestamp.timestamp()
        piece = Piece(due, tuple(message.data for message in messages), self.created, sent)
        self.position = Position(piece.last, self.created)
        return piece

    async def detach(self) -> None:
        """End the connection; the next piece begins with another one, at the position."""
        attached, self._attached = self._attached, None
        if attached is not None:
            await attached.aclose()


def _in_a_row(messages: list[Any], due: int) -> list[Any]:
    """The first of the messages, as long as none is missing."""
    numbered = ((message, message.metadata.sequence.stream) for message in messages)
    return [message for place, (message, number) in enumerate(numbered) if number == due + place]


def _gone(stream: str, first: int, last: int) -> str:
    return (
        f"messages {first:,} to {last:,} are gone from stream {stream}, and were never stored: its limits of age or "
        f"size took them, or a person. To go on without them: update live_position set message = {last}"
    )
