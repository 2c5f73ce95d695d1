"""
A staged month onto its stream, in the order of pickup, faster than life: each trip once, whatever dies meanwhile.

TLC publishes months, not trips as they happen: this is a replay, for whoever wants to see a stream of real trips.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nyc_taxi.errors import BrokerUnavailable, StreamRefused, TooManyRows
from nyc_taxi.live.broker import JetStream, connected, unavailable
from nyc_taxi.live.stream import ensure_stream, stream_of, subject_of
from nyc_taxi.manifest import StagedFile
from nyc_taxi.settings import BrokerSettings

MOST_ROWS = 8_000_000
"""Sorted in memory, some 250 bytes each."""
AT_ONCE = 1_000
ANSWER_SECONDS = 5
PATIENCE_SECONDS = 60
AGAIN_SECONDS = 0.5
STEP_SECONDS = 0.1
ANOTHER_CAME_FIRST = 10070
"""What the broker answers to a message that names another one before it than there is."""


def replay(
    settings: BrokerSettings,
    file: StagedFile,
    speed: float,
    told: Callable[[int], None] = lambda _: None,
    stored: int = 0,
) -> int:
    """
    Publish the file's trips, each once, `speed` times as fast as they happened; how many there are.

    Begun again, it goes on after its last trip on the stream, or after those that are `stored` already. `told` hears
    how many there are. BrokerUnavailable when the broker is not there, goes for a minute, or its stream is full;
    StreamRefused for what is another producer's, or of another version of the file; TooManyRows.
    """
    if file.rows_read > MOST_ROWS:
        raise TooManyRows(f"{file.service_name} {file.month} has {file.rows_read:,} trips, more than {MOST_ROWS:,}")
    with file.reading():
        trips = pq.read_table(file.path)
    numbered = trips.append_column("row", pa.array(range(len(trips)), pa.int64()))
    order = pc.sort_indices(numbered, [(file.service.pickup, "ascending"), ("row", "ascending")])
    return asyncio.run(_Producer(settings, file, trips.take(order), speed, told, stored).run())


@dataclass
class _Producer:
    settings: BrokerSettings
    file: StagedFile
    trips: pa.Table
    speed: float
    told: Callable[[int], None]
    done: int
    """Trips that the broker has for sure."""
    _attempt: int = 0
    """Which piece is being published: an answer about an earlier one, that was given up, says nothing of this one."""
    _acked: int = 0
    _refused: dict[str, Any] = field(default_factory=dict)
    _clock: float = 0.0

    async def run(self) -> int:
        well = time.monotonic()
        moments = _moments(self.trips[self.file.service.pickup], *self.file.month.bounds()) / self.speed
        while True:  # also where all are stored: whoever says that all is well has asked the broker
            before = self.done
            try:
                await self._publish(moments)
                return len(self.trips)
            except _Refused:
                raise
            except BrokerUnavailable as error:
                if self.done == before and (not self._clock or time.monotonic() - well > PATIENCE_SECONDS):
                    raise
                print(f"{error}; trying again", flush=True)
                await asyncio.sleep(AGAIN_SECONDS)
            if self.done > before:
                well = time.monotonic()

    async def _publish(self, moments: "np.ndarray[Any, Any]") -> None:
        async with connected(self.settings) as connection:
            js = connection.jetstream()
            await ensure_stream(js, self.file.service)
            self.done = max(self.done, await self._rows_there(js))
            self.told(self.done)
            inbox = connection.new_inbox()
            await connection.subscribe(f"{inbox}.>", cb=self._answered)
            if self.done < len(moments) and not self._clock:
                self._clock = time.monotonic() - moments[self.done]
            while self.done < len(moments):
                due = int(np.searchsorted(moments, time.monotonic() - self._clock, side="right"))
                if due <= self.done:
                    await asyncio.sleep(min(STEP_SECONDS, moments[self.done] - time.monotonic() + self._clock))
                    continue
                wanted = min(due - self.done, AT_ONCE)
                if not await self._publish_next(connection, inbox, wanted):
                    self.done = await self._rows_there(js)
                self.told(self.done)

    async def _publish_next(self, connection: Any, inbox: str, count: int) -> bool:
        """Publish so many trips, and wait for the answers; whether all are there. Each names the one before it."""
        self._attempt, self._acked, self._refused = self._attempt + 1, 0, {}
        for number, text in enumerate(_messages(self.trips.slice(self.done, count), self.file), self.done):
            headers = {"Nats-Msg-Id": self._id(number)}
            if number > self.done:  # of those before this one, all are there
                headers["Nats-Expected-Last-Msg-Id"] = self._id(number - 1)
            await connection.publish(self._subject, text, reply=f"{inbox}.{self._attempt}", headers=headers)
        until, seen = time.monotonic() + ANSWER_SECONDS, 0
        while self._acked < count and not self._refused:
            if connection.is_closed or time.monotonic() > until:
                raise unavailable(self.settings, TimeoutError("timed out: not every trip was acknowledged"))
            if self._acked > seen:
                until, seen = time.monotonic() + ANSWER_SECONDS, self._acked
            await asyncio.sleep(0.002)
        if self._refused and self._refused.get("err_code") != ANOTHER_CAME_FIRST:
            raise _Refused(str(unavailable(self.settings, RuntimeError(self._refused.get("description")))))
        if not self._refused:
            self.done += count
        return not self._refused

    async def _answered(self, message: Any) -> None:
        if not message.subject.endswith(f".{self._attempt}"):
            return
        if not message.data:
            self._refused = self._refused or {"description": "no responders: no stream takes these subjects any more"}
            return
        answer = json.loads(message.data)
        if "error" in answer:
            self._refused = self._refused or answer["error"]
        else:
            self._acked += 1

    async def _rows_there(self, js: JetStream) -> int:
        """How many of the file's trips are on the stream."""
        from nats.js.errors import NotFoundError

        try:
            last = await js.get_last_msg(stream_of(self.file.service), self._subject)
        except NotFoundError:
            return self.done
        file, _, number = (last.headers or {}).get("Nats-Msg-Id", "").rpartition(":")
        if file != self._id(0).rpartition(":")[0] or not number.isdecimal():
            raise StreamRefused(
                f"{self._subject} has messages of another producer, or of another version of {self.file.month}: "
                f"taxi live --forget --service {self.file.service_name} begins anew"
            )
        return int(number) + 1

    @property
    def _subject(self) -> str:
        return subject_of(self.file.service, str(self.file.month))

    def _id(self, number: int) -> str:
        return f"{self.file.month} {self.file.sha256[:16]}:{number}"


class _Refused(BrokerUnavailable):
    """The broker took a trip's message and refused it: to try again would not help."""


def _messages(trips: pa.Table, file: StagedFile) -> Iterator[bytes]:
    month = str(file.month.first_day)
    for row in trips.to_pylist():
        known = {name: value for name, value in row.items() if value is not None}
        yield json.dumps({**known, "file_month": month}, default=datetime.isoformat).encode()


def _moments(pickups: pa.ChunkedArray, begin: datetime, end: datetime) -> "np.ndarray[Any, Any]":
    """
    When each trip began, in seconds since its month did.

    A file has pickups of other years, and none at all: nobody waits for those.
    """
    seconds = pc.divide(pc.subtract(pc.fill_null(pickups, end), begin).cast(pa.int64()), 1_000_000)
    moments: np.ndarray[Any, Any] = np.clip(seconds.to_numpy(), 0, (end - begin).total_seconds()).astype(float)
    return moments
