"""A staged month onto its stream and into Postgres: each trip once, in order, and the same as the batch load has it."""

import asyncio
import threading
import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nyc_taxi.errors import BrokerUnavailable, StreamRefused, TooManyRows, UnknownName
from nyc_taxi.extract.staging import already_staged, stage_trip_file
from nyc_taxi.live import replay as replaying
from nyc_taxi.live.compare import compare_month
from nyc_taxi.live.executor import LiveRun, live_run
from nyc_taxi.live.now import live_now
from nyc_taxi.live.replay import replay
from nyc_taxi.live.store import forget, stored_of_month
from nyc_taxi.live.stream import delete_stream, ensure_stream, stream_of
from nyc_taxi.load.postgres.month import replace_month
from nyc_taxi.manifest import StagedFile
from nyc_taxi.months import Month
from nyc_taxi.settings import PostgresSettings, Settings
from nyc_taxi.transform.rules import apply_rules

from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.conftest import run_of, sql
from tests.nyc_taxi.live.streaming import YELLOW, OwnBroker, on, publish, settings_of, store_all

ROWS, MONTH = 3_000, Month(2021, 1)
AT_ONCE = 1e9


@pytest.fixture
def live(settings: Settings, broker: OwnBroker) -> LiveRun:
    """A run against the test's own servers, whose month is staged and loaded."""
    own = replace(settings, broker=settings_of(broker).broker)
    return live_run({"until_idle": 0.2}, own)


@pytest.fixture
def file(live: LiveRun, trips: TripServer) -> StagedFile:
    """A staged month, that Postgres holds too."""
    generate("yellow", "2021-01", "dtc", ROWS, trips.folder, malformed=5)
    run = run_of(live.settings, "yellow", "2021-01", "dtc")
    [staged] = apply_rules(stage_trip_file(run), run.rules).files
    replace_month(staged, live.settings.postgres)
    found = already_staged(run)
    assert found
    return found


def differing(live: LiveRun) -> list[str]:
    return [one.what for one in compare_month(live.settings.postgres, YELLOW, MONTH) if not one.agrees]


def ids(live: LiveRun) -> list[str]:
    """The trips on the stream, in its order."""

    async def read(js: Any) -> list[str]:
        state = await ensure_stream(js, YELLOW)
        found = [await js.get_msg(stream_of(YELLOW), seq=seq) for seq in range(state.first, state.last + 1)]
        return [(message.headers or {}).get("Nats-Msg-Id", "").rpartition(":")[2] for message in found]

    return list(on(live.settings, read))


def test_stream_and_batch_of_a_month_are_the_same(live: LiveRun, file: StagedFile, database: PostgresSettings) -> None:
    heard: list[int] = []
    rows = replay(live.settings.broker, file, AT_ONCE, heard.append)
    assert rows == heard[-1] == ROWS - 5
    store_all(live)
    compared = {one.what: one for one in compare_month(database, YELLOW, MONTH)}
    assert differing(live) == []
    assert (
        compared["accepted trips"].stream
        + sum(one.stream for what, one in compared.items() if what.startswith("rejected"))
        == rows
        == stored_of_month(database, YELLOW, MONTH)
    )
    assert compared["zone-minutes"].stream > 1_000


def test_the_comparison_finds_what_differs(live: LiveRun, file: StagedFile, database: PostgresSettings) -> None:
    replay(live.settings.broker, file, AT_ONCE)
    store_all(live)
    sql(database, "UPDATE ny_taxi.live_zone_minutes SET revenue = revenue + 0.01 WHERE zone = 132")
    assert differing(live) == ["zone-minutes"]
    sql(database, "DELETE FROM ny_taxi.yellow_cab_data_live")
    sql(database, "DELETE FROM ny_taxi.yellow_cab_data_live_rejected WHERE reason = 'no_passengers'")
    wrong = ["accepted trips", "sum of trip_distance", "sum of total_amount", "rejected: no_passengers", "zone-minutes"]
    assert differing(live) == wrong


def test_the_comparison_needs_both(live: LiveRun, database: PostgresSettings) -> None:
    with pytest.raises(UnknownName, match="no yellow stream is stored"):
        compare_month(database, YELLOW, MONTH)
    store_all(live)
    with pytest.raises(UnknownName, match="yellow 2021-01 is not loaded: `taxi run api_to_postgres`"):
        compare_month(database, YELLOW, MONTH)


def test_a_month_that_is_nowhere_does_not_agree(live: LiveRun, file: StagedFile, database: PostgresSettings) -> None:
    replay(live.settings.broker, file, AT_ONCE)
    store_all(live)
    with pytest.raises(UnknownName, match="yellow 2021-02 is not loaded, and no trip of it is stored"):
        compare_month(database, YELLOW, Month(2021, 2))


def test_begun_again_it_goes_on_after_its_last_trip(live: LiveRun, file: StagedFile) -> None:
    class Enough(Exception):
        pass

    def until(done: int) -> None:
        if done >= 2_000:
            raise Enough

    with pytest.raises(Enough):
        replay(live.settings.broker, file, AT_ONCE, until)
    replay(live.settings.broker, file, AT_ONCE)
    assert ids(live) == [str(number) for number in range(ROWS - 5)]
    assert replay(live.settings.broker, file, AT_ONCE) == ROWS - 5
    assert len(ids(live)) == ROWS - 5


def test_what_is_stored_is_not_published_again_when_the_stream_has_dropped_it(live: LiveRun, file: StagedFile) -> None:
    replay(live.settings.broker, file, AT_ONCE)
    store_all(live)

    async def purge(js: Any) -> None:
        await js.purge_stream(stream_of(YELLOW))

    on(live.settings, purge)
    replay(live.settings.broker, file, AT_ONCE, stored=stored_of_month(live.settings.postgres, YELLOW, MONTH))
    store_all(live)
    assert differing(live) == []


def test_a_broker_that_is_not_there_is_said_also_when_all_is_stored(live: LiveRun, file: StagedFile) -> None:
    nowhere = replace(live.settings.broker, url="nats://127.0.0.1:1")
    with pytest.raises(BrokerUnavailable, match="nothing listens there"):
        replay(nowhere, file, AT_ONCE, stored=ROWS - 5)


def test_two_replays_of_a_month_at_once_make_each_trip_once(live: LiveRun, file: StagedFile) -> None:
    both = [threading.Thread(target=replay, args=(live.settings.broker, file, AT_ONCE)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(30)
    assert not any(one.is_alive() for one in both)
    assert Counter(ids(live)) == Counter(str(number) for number in range(ROWS - 5))


def test_another_producer_on_the_stream_does_not_stop_it(live: LiveRun, file: StagedFile) -> None:
    end = threading.Event()

    def disturb() -> None:
        while not end.is_set():
            publish(live.settings, b"not ours", producer="dispatch")

    other = threading.Thread(target=disturb)
    other.start()
    try:
        replay(live.settings.broker, file, AT_ONCE)
    finally:
        end.set()
        other.join()
    store_all(live)
    assert differing(live) == []
    assert sql(live.settings.postgres, "SELECT count(*) > 0 FROM ny_taxi.live_not_trips") == [(True,)]


def test_answers_about_a_piece_that_was_given_up_do_not_count_for_the_next(live: LiveRun, file: StagedFile) -> None:
    producer = replaying._Producer(live.settings.broker, file, pa.table({}), 1, lambda _: None, 0)
    producer._attempt = 2
    late = SimpleNamespace(subject="_INBOX.x.1", data=b'{"stream": "trips_yellow", "seq": 1}')
    asyncio.run(producer._answered(late))
    assert producer._acked == 0
    asyncio.run(producer._answered(SimpleNamespace(subject="_INBOX.x.2", data=late.data)))
    assert producer._acked == 1


def test_another_producer_on_its_own_subject_is_refused(live: LiveRun, file: StagedFile) -> None:
    publish(live.settings, b"not ours", producer="2021-01")
    with pytest.raises(StreamRefused, match=r"trips\.yellow\.2021-01 has messages of another producer"):
        replay(live.settings.broker, file, AT_ONCE)


def test_a_broker_that_is_killed_meanwhile_makes_no_gap(live: LiveRun, file: StagedFile, broker: OwnBroker) -> None:
    killed = threading.Event()

    def at_1000(done: int) -> None:
        if done >= 1_000 and not killed.is_set():
            killed.set()
            broker.kill()
            threading.Timer(0.5, broker.start).start()

    replay(live.settings.broker, file, AT_ONCE, at_1000)
    assert killed.is_set()
    assert ids(live) == [str(number) for number in range(ROWS - 5)]


def test_a_full_stream_ends_it_in_one_line_and_nothing_old_is_lost(live: LiveRun, file: StagedFile) -> None:
    async def small(js: Any) -> None:
        await ensure_stream(js, YELLOW)
        config = (await js.stream_info(stream_of(YELLOW))).config
        await js.update_stream(replace(config, max_bytes=100_000))

    on(live.settings, small)
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable, match="the stream is full, and refuses what is new"):
        replay(live.settings.broker, file, AT_ONCE)
    assert time.monotonic() - began < 5
    assert ids(live)[:3] == ["0", "1", "2"]


def test_the_speed_is_that_of_the_pickups_and_nobody_waits_for_other_years(live: LiveRun, file: StagedFile) -> None:
    begin, end = MONTH.bounds()
    moments = replaying._moments(pq.read_table(file.path)[YELLOW.pickup], begin, end)
    assert moments.min() >= 0
    assert moments.max() <= (end - begin).total_seconds()
    began = time.monotonic()
    replay(live.settings.broker, file, speed=float(np.ptp(moments)) / 2)
    assert 1.5 < time.monotonic() - began < 8


def test_a_month_that_memory_could_not_hold_is_refused(live: LiveRun, file: StagedFile) -> None:
    with pytest.raises(TooManyRows, match="yellow 2021-01 has 9,000,000 trips, more than 8,000,000"):
        replay(live.settings.broker, replace(file, rows_read=9_000_000), AT_ONCE)


def test_what_the_stream_does_now(live: LiveRun, file: StagedFile, broker: OwnBroker) -> None:
    assert live_now(live.settings, YELLOW).stored == 0
    replay(live.settings.broker, file, AT_ONCE)
    before = live_now(live.settings, YELLOW)
    assert (before.stored, before.waiting) == (0, ROWS - 5)
    assert before.behind_seconds is not None
    assert 0 <= before.behind_seconds < 30
    store_all(live)
    now = live_now(live.settings, YELLOW, minutes=24 * 60, zones=3)
    assert (now.stored, now.waiting, now.behind_seconds) == (ROWS - 5, 0, 0)
    assert now.pickup is not None
    assert sum(minute.trips for minute in now.minutes) >= sum(zone.trips for zone in now.zones) > 0
    assert [zone.trips for zone in now.zones] == sorted((zone.trips for zone in now.zones), reverse=True)
    broker.kill()
    gone = live_now(live.settings, YELLOW)
    assert (gone.stored, gone.waiting, gone.behind_seconds) == (ROWS - 5, None, None)


def test_a_stream_that_is_forgotten_begins_anew_and_the_batch_load_stays(live: LiveRun, file: StagedFile) -> None:
    for _ in range(2):
        replay(live.settings.broker, file, AT_ONCE)
        store_all(live)
        assert differing(live) == []
        forget(live.settings.postgres, YELLOW)
        asyncio.run(delete_stream(live.settings.broker, YELLOW))
    assert sql(live.settings.postgres, "SELECT count(*) > 0 FROM ny_taxi.yellow_cab_data") == [(True,)]
    assert sql(live.settings.postgres, "SELECT count(*) FROM ny_taxi.live_position") == [(0,)]
