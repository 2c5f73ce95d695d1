"""How a stream is read: from the position of Postgres, and only if it is the stream that the position is of."""

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from nyc_taxi.errors import BrokerUnavailable, StreamRefused
from nyc_taxi.live import reader
from nyc_taxi.live.executor import LiveRun
from nyc_taxi.live.stream import stream_of
from nyc_taxi.settings import PostgresSettings

from ops.ports import free_port
from tests.nyc_taxi.live.streaming import TRIP, YELLOW, OwnBroker, delete_stream, held, on, publish, store_all, trips


def test_a_message_of_another_producer_is_stored_as_any_other(run: LiveRun, database: PostgresSettings) -> None:
    publish(run.settings, TRIP)
    publish(run.settings, TRIP, b"not for us", producer="dispatch")
    store_all(run)
    assert held(database) == [1, 2]


def test_the_next_run_begins_after_the_last_message_that_is_stored(run: LiveRun, database: PostgresSettings) -> None:
    for count in (3, 2):
        publish(run.settings, *trips(count))
        store_all(run)
    assert store_all(run) == 0
    assert held(database) == [1, 2, 3, 4, 5]


def test_a_broker_that_is_killed_and_comes_back_is_read_on(
    run: LiveRun, broker: OwnBroker, database: PostgresSettings
) -> None:
    publish(run.settings, *trips(150))
    store, unread = run.store(), replace(run, until_idle=5).unread()
    store.write(run.judged(next(unread)))
    broker.kill()
    broker.start()
    publish(run.settings, *trips(100))
    while held(database) != list(range(1, 251)):
        store.write(run.judged(next(unread)))
    store.close()


def test_a_broker_that_stays_away_ends_the_run(
    run: LiveRun, broker: OwnBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "PATIENCE_SECONDS", 2)
    publish(run.settings, TRIP)
    unread = replace(run, until_idle=1).unread()
    next(unread)
    broker.kill()
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=r"^NATS at nats://127\.0\.0\.1:\d+: "):
        next(unread)
    assert time.monotonic() - began < 5


def test_no_broker_is_one_line_at_once(run: LiveRun) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    nowhere = replace(run, settings=replace(run.settings, broker=replace(run.settings.broker, url=url)))
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=f"NATS at {url}: nothing listens there: start it .taxi live does"):
        store_all(nowhere)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("gone", ["limit", "purge", "all", "one in the middle"])
def test_messages_that_are_gone_unread_are_noticed(gone: str, run: LiveRun, database: PostgresSettings) -> None:
    publish(run.settings, *trips(3))
    store_all(run)
    publish(run.settings, *trips(6))

    async def take(js: Any) -> None:
        name = stream_of(YELLOW)
        if gone == "limit":
            from nats.js.api import DiscardPolicy

            config = (await js.stream_info(name)).config
            await js.update_stream(replace(config, max_msgs=4, discard=DiscardPolicy.OLD))
        elif gone == "purge":
            await js.purge_stream(name, seq=6)
        elif gone == "all":
            await js.purge_stream(name)
        else:
            await js.delete_msg(name, 5)

    on(run.settings, take)
    first, last = {"one in the middle": (5, 5), "all": (4, 9)}.get(gone, (4, 5))
    with pytest.raises(StreamRefused, match=f"messages {first} to {last} are gone from stream trips_yellow, and were"):
        store_all(run)
    assert held(database) == ([1, 2, 3, 4] if gone == "one in the middle" else [1, 2, 3])


def test_another_stream_of_the_same_name_is_refused(run: LiveRun, database: PostgresSettings) -> None:
    publish(run.settings, *trips(3))
    store_all(run)
    on(run.settings, delete_stream)
    publish(run.settings, *trips(9))
    with pytest.raises(StreamRefused, match="stream trips_yellow is another one than that whose message 3 was stored"):
        store_all(run)
    assert held(database) == [1, 2, 3]


def test_a_stream_for_other_subjects_is_refused(run: LiveRun) -> None:
    async def make(js: Any) -> None:
        await js.add_stream(name=stream_of(YELLOW), subjects=["orders.>"])

    on(run.settings, make)
    with pytest.raises(StreamRefused, match=r"stream trips_yellow has the subjects orders\.>, not trips\.yellow\.>"):
        store_all(run)


def test_another_stream_that_takes_our_subjects_is_refused(run: LiveRun) -> None:
    async def make(js: Any) -> None:
        await js.add_stream(name="everything", subjects=["trips.>"])

    on(run.settings, make)
    with pytest.raises(BrokerUnavailable, match="another stream takes these subjects"):
        store_all(run)


def test_a_full_stream_refuses_what_is_new_and_keeps_what_is_old(run: LiveRun, database: PostgresSettings) -> None:
    publish(run.settings, TRIP)

    async def fill(js: Any) -> None:
        config = (await js.stream_info(stream_of(YELLOW))).config
        await js.update_stream(replace(config, max_bytes=500))

    on(run.settings, fill)
    with pytest.raises(BrokerUnavailable, match="the stream is full, and refuses what is new"):
        publish(run.settings, *trips(9))
    store_all(run)
    assert held(database) == [1]


def test_many_messages_are_read_without_a_pause(
    run: LiveRun, database: PostgresSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    count = 5 * run.messages  # more than two requests ask for
    publish(run.settings, *trips(count))
    store_all(run)
    assert held(database) == list(range(1, count + 1))
    assert "trying again" not in capsys.readouterr().out


def test_messages_as_large_as_the_broker_takes_are_read_without_a_pause(
    run: LiveRun, database: PostgresSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    large = json.dumps(TRIP | {"note": "x" * 1_000_000}).encode()
    publish(run.settings, *[large] * 150)
    store_all(run)
    assert held(database) == list(range(1, 151))
    assert "trying again" not in capsys.readouterr().out
