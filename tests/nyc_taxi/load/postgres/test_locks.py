"""What readers and other runs see while a month is loaded into a real Postgres."""

import time
from contextlib import closing

import pytest
from nyc_taxi.load.postgres import locks
from nyc_taxi.load.postgres.month import replace_month
from nyc_taxi.settings import Settings

from ops.stack.trip_server import TripServer
from tests.conftest import sql
from tests.nyc_taxi.load.loading import judged, start_load, wait_for, wait_for_copy
from tests.nyc_taxi.load.postgres.postgres_helpers import (
    SLOWEST_READ_WHILE_THE_SWAP_WAITS_SECONDS,
    YELLOW,
    Reader,
    assert_loaded,
    connect,
    copies,
    ended,
    finish,
    leftovers,
    loads,
    refused,
    rows,
    waiting_swaps,
)

SLOWEST_READ_SECONDS = 2.0


def test_two_processes_with_the_same_month_end_as_one(settings: Settings, trips: TripServer) -> None:
    file = judged(settings, trips, "yellow", "2021-01", "dtc", 20_000)
    with (
        ended(start_load(file, settings.postgres, pause=1.0)) as first,
        ended(start_load(file, settings.postgres, pause=1.0)) as second,
    ):
        outputs = [finish(first), finish(second)]
    waited = "ny_taxi.yellow_cab_data 2021-01 is being loaded by another run: waiting for it"
    assert sorted(output.count(waited) for output in outputs) == [0, 1]
    assert_loaded(file, settings.postgres)
    assert rows(settings.postgres) == file.rows_accepted
    assert loads(settings.postgres) == 2
    assert leftovers(settings.postgres) == []


def test_two_different_months_at_once_never_deadlock(settings: Settings, trips: TripServer) -> None:
    # The first of the eight rounds makes the tables, in both processes at once.
    january = judged(settings, trips, "yellow", "2021-01", "dtc", 2_000)
    february = judged(settings, trips, "yellow", "2021-02", "dtc", 2_000)
    with (
        ended(start_load(january, settings.postgres, times=8)) as first,
        ended(start_load(february, settings.postgres, times=8)) as second,
    ):
        for output in (finish(first), finish(second)):
            assert output.count(" rows in ") == 8
            assert "waiting for it" not in output
    assert_loaded(january, settings.postgres)
    assert_loaded(february, settings.postgres)
    assert loads(settings.postgres) == 16


def test_a_reader_sees_the_old_month_or_the_new_one_and_never_waits_long(settings: Settings, trips: TripServer) -> None:
    old = judged(settings, trips, "yellow", "2021-01", "dtc", 20_000)
    replace_month(old, settings.postgres)
    new = judged(settings, trips, "yellow", "2021-01", "dtc", 300_000)
    began = time.monotonic()
    with (
        Reader(settings.postgres, f"SELECT count(*) FROM {YELLOW}") as simple,
        Reader(settings.postgres, "EXECUTE counting", f"PREPARE counting AS SELECT count(*) FROM {YELLOW}") as prepared,
        Reader(settings.postgres, f"SELECT count(*) FROM {YELLOW}_rejected") as rejected,
        ended(start_load(new, settings.postgres, pause=0.6)) as load,
    ):
        finish(load)
        seconds = time.monotonic() - began
        wait_for(
            "the new month",
            lambda: (
                simple.answers[-1] == prepared.answers[-1] == new.rows_accepted
                and rejected.answers[-1] == new.rows_rejected
            ),
        )
    # The load took longer than any reader may wait, or the comparison would say nothing.
    assert seconds > SLOWEST_READ_SECONDS + 1
    for reader in (simple, prepared):
        assert set(reader.answers) == {old.rows_accepted, new.rows_accepted}
        assert reader.answers == sorted(reader.answers)
    assert set(rejected.answers) == {old.rows_rejected, new.rows_rejected}
    for reader in (simple, prepared, rejected):
        assert len(reader.answers) > 100
        assert reader.slowest_seconds < SLOWEST_READ_SECONDS


def test_a_load_holds_no_lock_on_the_table_while_it_copies(settings: Settings, trips: TripServer) -> None:
    old = judged(settings, trips, "yellow", "2021-01", "dtc", 1_000)
    replace_month(old, settings.postgres)
    new = judged(settings, trips, "yellow", "2021-01", "dtc", 20_000)
    with ended(start_load(new, settings.postgres, pause=2)) as load:
        wait_for_copy(settings.postgres)
        held = sql(
            settings.postgres,
            "SELECT c.relname::text, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation "
            "JOIN pg_stat_progress_copy p ON p.pid = l.pid AND p.command = 'COPY FROM' "
            "WHERE c.relnamespace = 'ny_taxi'::regnamespace",
        )
        assert rows(settings.postgres) == old.rows_accepted
        assert copies(settings.postgres) == 1
        finish(load)
    assert held == []
    assert_loaded(new, settings.postgres)


def test_the_swap_gives_way_to_readers_while_a_long_transaction_blocks_it(
    settings: Settings, trips: TripServer
) -> None:
    old = judged(settings, trips, "yellow", "2021-01", "dtc", 1_000)
    replace_month(old, settings.postgres)
    new = judged(settings, trips, "yellow", "2021-01", "dtc", 2_000)
    with (
        closing(connect(settings.postgres)) as long_transaction,
        Reader(settings.postgres, f"SELECT count(*) FROM {YELLOW}") as other,
        ended(start_load(new, settings.postgres)) as load,
    ):
        with long_transaction.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {YELLOW}")
            assert cursor.fetchall() == [(old.rows_accepted,)]
        for _ in range(2):
            wait_for("a swap that waits", lambda: waiting_swaps(settings.postgres) == 1)
            answered = len(other.answers)
            wait_for("a swap that has given up", lambda: waiting_swaps(settings.postgres) == 0)
            wait_for("readers that go on", lambda: len(other.answers) > answered + 5)  # noqa: B023  used at once
        assert load.poll() is None
        assert set(other.answers) == {old.rows_accepted}
        long_transaction.rollback()
        output = finish(load)
        wait_for("the new month", lambda: other.answers[-1] == new.rows_accepted)
    assert "ny_taxi.yellow_cab_data is being read; the swap waits (2 of 60)" in output
    assert set(other.answers) == {old.rows_accepted, new.rows_accepted}
    assert 1 < other.slowest_seconds < SLOWEST_READ_WHILE_THE_SWAP_WAITS_SECONDS
    assert_loaded(new, settings.postgres)


def test_a_reader_whose_snapshot_is_older_than_the_load_finds_no_empty_month(
    settings: Settings, trips: TripServer
) -> None:
    replace_month(judged(settings, trips, "yellow", "2021-01", "dtc", 1_000), settings.postgres)
    with closing(connect(settings.postgres)) as reader, reader.cursor() as cursor:
        reader.set_session(isolation_level="REPEATABLE READ")
        cursor.execute("SELECT count(*) FROM ny_taxi.load_audit")
        assert cursor.fetchone() == (1,)
        new = judged(settings, trips, "yellow", "2021-01", "dtc", 2_000)
        replace_month(new, settings.postgres)
        # Its partition is another table now, whose rows an ordinary COPY would hide from the older snapshot.
        cursor.execute(f"SELECT count(*) FROM {YELLOW}")
        assert cursor.fetchone() == (new.rows_accepted,)


def test_a_reader_that_crosses_the_swap_fails_neither_itself_nor_the_load(
    settings: Settings, trips: TripServer
) -> None:
    # It holds the second table that the swap locks, and asks for the first: one of the two must give way.
    old = judged(settings, trips, "yellow", "2021-01", "dtc", 1_000)
    replace_month(old, settings.postgres)
    new = judged(settings, trips, "yellow", "2021-01", "dtc", 2_000)
    with closing(connect(settings.postgres)) as reader, reader.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {YELLOW}_rejected")
        with ended(start_load(new, settings.postgres)) as load:
            wait_for("a swap that waits", lambda: waiting_swaps(settings.postgres) == 1)
            cursor.execute(f"SELECT count(*) FROM {YELLOW}")
            assert cursor.fetchall() == [(old.rows_accepted,)]
            reader.rollback()
            finish(load)
    assert_loaded(new, settings.postgres)


def test_the_swap_gives_up_after_minutes_and_says_why(
    settings: Settings, trips: TripServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "SWAP_ATTEMPTS", 2)
    monkeypatch.setattr(locks, "SWAP_LOCK_TIMEOUT", "100ms")
    old = judged(settings, trips, "yellow", "2021-01", "dtc", 1_000)
    replace_month(old, settings.postgres)
    new = judged(settings, trips, "yellow", "2021-01", "dtc", 2_000)
    with closing(connect(settings.postgres)) as long_transaction, long_transaction.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {YELLOW}")
        refused(new, settings.postgres, "a reader kept the table for minutes: end its transaction and run again")
    assert_loaded(old, settings.postgres)
    assert loads(settings.postgres) == 1
    assert leftovers(settings.postgres) == []
