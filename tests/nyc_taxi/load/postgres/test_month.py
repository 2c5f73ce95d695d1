"""A month into a real Postgres: what arrives, and what readers and other runs see while it does, killed or not."""

import gzip
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
import pytest
from nyc_taxi.errors import CountsDisagree, NotATripFile, StorageFull, TargetUnavailable
from nyc_taxi.load.postgres import locks
from nyc_taxi.load.postgres.month import check_month, measure_month, replace_month
from nyc_taxi.manifest import StagedFile
from nyc_taxi.settings import PostgresSettings, Settings

from ops.ports import free_port
from ops.stack import postgres
from ops.stack.trip_server import TripServer
from ops.synthetic.generate import trip_path
from tests.conftest import sql
from tests.nyc_taxi.load.loading import judged, miscounted, start_load, wait_for, wait_for_copy

YELLOW = "ny_taxi.yellow_cab_data"
YELLOW_COLUMNS = {
    "vendorid": "integer",
    "tpep_pickup_datetime": "timestamp without time zone",
    "tpep_dropoff_datetime": "timestamp without time zone",
    "passenger_count": "bigint",
    "trip_distance": "double precision",
    "ratecodeid": "bigint",
    "store_and_fwd_flag": "text",
    "pulocationid": "integer",
    "dolocationid": "integer",
    "payment_type": "bigint",
    "fare_amount": "double precision",
    "extra": "double precision",
    "mta_tax": "double precision",
    "tip_amount": "double precision",
    "tolls_amount": "double precision",
    "improvement_surcharge": "double precision",
    "total_amount": "double precision",
    "congestion_surcharge": "double precision",
    "airport_fee": "double precision",
    "cbd_congestion_fee": "double precision",
    "request_source": "text",
    "file_month": "date",
}
PICKUPS = {
    "yellow_cab_data": "tpep_pickup_datetime",
    "green_cab_data": "lpep_pickup_datetime",
    "fhv_trip_data": "pickup_datetime",
    "fhvhv_trip_data": "pickup_datetime",
}
SLOWEST_READ_SECONDS = 2.0
SLOWEST_READ_WHILE_THE_SWAP_WAITS_SECONDS = 3.5


def number(database: PostgresSettings, query: str) -> int:
    [(value,)] = sql(database, query)
    assert isinstance(value, int)
    return value


def rows(database: PostgresSettings, month: str = "", table: str = YELLOW) -> int:
    return number(database, f"SELECT count(*) FROM {table}" + (f" WHERE file_month = '{month}-01'" if month else ""))


def loads(database: PostgresSettings) -> int:
    return number(database, "SELECT count(*) FROM ny_taxi.load_audit")


def fingerprint(database: PostgresSettings, month: str, table: str = YELLOW) -> tuple[object, ...]:
    """Changes with any value of any row of the month, or with the table that holds it."""
    [row] = sql(
        database,
        f"SELECT count(*), sum(hashtextextended(t::text, 0))::text, min(tableoid)::text, min(xmin::text) "
        f"FROM {table} t WHERE file_month = '{month}-01'",
    )
    return row


def columns(database: PostgresSettings, table: str) -> dict[str, str]:
    return {
        str(name): str(kind)
        for name, kind in sql(
            database,
            "SELECT column_name::text, data_type::text FROM information_schema.columns "
            f"WHERE table_schema = 'ny_taxi' AND table_name = '{table}' ORDER BY ordinal_position",
        )
    }


def partitions(database: PostgresSettings, table: str) -> list[tuple[object, ...]]:
    return sql(
        database,
        "SELECT c.relname::text, pg_get_expr(c.relpartbound, c.oid) FROM pg_class c JOIN pg_inherits i ON "
        f"i.inhrelid = c.oid WHERE i.inhparent = 'ny_taxi.{table}'::regclass ORDER BY 1",
    )


def leftovers(database: PostgresSettings) -> list[tuple[object, ...]]:
    return sql(database, r"SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relname LIKE '%\_new%'")


def assert_loaded(file: StagedFile, database: PostgresSettings) -> None:
    """The month's count, sums and rejected rows by reason are the manifest's, and so is its last audit row."""
    table, month = f"ny_taxi.{file.service.table}", file.month_text
    assert rows(database, month, table) == file.rows_accepted
    for measure in file.service.measures:
        [(total,)] = sql(
            database,
            f"SELECT coalesce(sum({measure}), 0)::double precision FROM {table} WHERE file_month = '{month}-01'",
        )
        assert total == pytest.approx(file.sums[measure], rel=1e-9)
    by_reason = sql(
        database, f"SELECT reason, count(*) FROM {table}_rejected WHERE file_month = '{month}-01' GROUP BY reason"
    )
    assert {reason: count for reason, count in by_reason} == file.rejected  # noqa: C416  typed, unlike dict()
    [conserved] = sql(
        database,
        "SELECT rows_read, rows_accepted, rows_rejected FROM ny_taxi.load_audit "
        f"WHERE service = '{file.service_name}' AND file_month = '{month}-01' ORDER BY load_id DESC LIMIT 1",
    )
    assert conserved == (file.rows_read, file.rows_accepted, file.rows_rejected)
    assert file.rows_read == file.rows_accepted + file.rows_rejected
    check_month(file, database)


def finish(process: "subprocess.Popen[str]") -> str:
    """What a load printed; it must have gone well."""
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    return output


@contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    """A process that does not outlive a failing test."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=20)


def connect(database: PostgresSettings) -> "psycopg2.extensions.connection":
    return psycopg2.connect(
        host=database.host,
        port=database.port,
        user=database.user,
        password=database.password,
        dbname=database.dbname,
    )


class Reader(threading.Thread):
    """Asks for the same number again and again while the `with` block lasts, and keeps the answers and their times."""

    def __init__(self, database: PostgresSettings, query: str, preparation: str = "") -> None:
        super().__init__(daemon=True)
        self.database, self.query, self.preparation = database, query, preparation
        self.stopped = threading.Event()
        self.answers: list[int] = []
        self.slowest_seconds = 0.0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            with closing(connect(self.database)) as connection, connection.cursor() as cursor:
                connection.autocommit = True
                if self.preparation:
                    cursor.execute(self.preparation)
                while not self.stopped.is_set():
                    began = time.monotonic()
                    cursor.execute(self.query)
                    [(answer,)] = cursor.fetchall()
                    self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
                    self.answers.append(answer)
                    time.sleep(0.002)
        except psycopg2.Error as error:
            self.error = error

    def __enter__(self) -> "Reader":
        self.start()
        wait_for("a first answer", lambda: self.answers or self.error)
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.join(timeout=30)
        assert not self.is_alive()
        assert self.error is None


@pytest.fixture(scope="module")
def doomed_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    data = tmp_path_factory.mktemp("doomed") / "data"
    yield data
    postgres.stop(data)


@pytest.fixture
def doomed(doomed_data: Path) -> PostgresSettings:
    """A server of its own, for what would disturb the other tests."""
    running = postgres.start(doomed_data)
    database = PostgresSettings(running.host, running.port, running.dbname, "ny_taxi", running.user, running.password)
    sql(database, "DROP SCHEMA IF EXISTS ny_taxi CASCADE")
    return database


# What arrives


@pytest.mark.parametrize(
    ("service", "month", "origin", "generated", "malformed", "reasons"),
    [
        (
            "yellow",
            "2021-01",
            "dtc",
            20_000,
            9,
            {
                "no_passengers": 342,
                "passenger_count_missing": 1_399,
                "malformed: number of fields": 3,
                "malformed: fare_amount": 3,
                "malformed: tpep_pickup_datetime": 3,
            },
        ),
        ("yellow", "2009-03", "tlc", 20_000, 0, {"no_passengers": 417}),
        ("yellow", "2025-02", "tlc", 5_000, 0, None),
        ("green", "2021-01", "dtc", 20_000, 9, None),
        ("green", "2024-01", "tlc", 5_000, 0, None),
        (
            "fhv",
            "2021-01",
            "dtc",
            20_000,
            9,
            {"malformed: number of fields": 3, "malformed: PULocationID": 3, "malformed: pickup_datetime": 3},
        ),
        ("fhvhv", "2021-01", "dtc", 20_000, 9, None),
        ("fhvhv", "2023-05", "tlc", 5_000, 0, {}),
    ],
)
def test_a_loaded_month_has_the_rows_and_sums_of_its_manifest(
    settings: Settings,
    trips: TripServer,
    service: str,
    month: str,
    origin: str,
    generated: int,
    malformed: int,
    reasons: dict[str, int] | None,
) -> None:
    file = judged(settings, trips, service, month, origin, generated, malformed=malformed)
    load = replace_month(file, settings.postgres)
    assert load.target == f"ny_taxi.{file.service.table}"
    assert file.rows_read == generated
    assert reasons is None or file.rejected == reasons
    assert_loaded(file, settings.postgres)
    assert loads(settings.postgres) == 1
    assert leftovers(settings.postgres) == []


def test_the_table_is_spelled_as_the_courses_sql_expects_it(settings: Settings, trips: TripServer) -> None:
    replace_month(judged(settings, trips, "yellow", "2021-01", "dtc", 200), settings.postgres)
    more = {"reason": "text", "source_row": "bigint", "source_text": "text", "file_month": "date"}
    assert columns(settings.postgres, "yellow_cab_data") == YELLOW_COLUMNS
    assert columns(settings.postgres, "yellow_cab_data_2021_01") == YELLOW_COLUMNS
    assert columns(settings.postgres, "yellow_cab_data_rejected") == YELLOW_COLUMNS | more
    assert list(columns(settings.postgres, "yellow_cab_data")) == list(YELLOW_COLUMNS)
    month_bound = "FOR VALUES IN ('2021-01-01')"
    assert partitions(settings.postgres, "yellow_cab_data") == [("yellow_cab_data_2021_01", month_bound)]
    assert partitions(settings.postgres, "yellow_cab_data_rejected") == [
        ("yellow_cab_data_rejected_2021_01", month_bound)
    ]
    assert sql(settings.postgres, f"SELECT DISTINCT file_month::text FROM {YELLOW}") == [("2021-01-01",)]


@pytest.mark.parametrize("service", ["yellow", "green", "fhv", "fhvhv"])
def test_every_service_has_its_table_in_lower_case_with_a_brin_index_on_the_pickup_time(
    settings: Settings, trips: TripServer, service: str
) -> None:
    file = judged(settings, trips, service, "2021-01", "dtc", 200)
    replace_month(file, settings.postgres)
    table = file.service.table
    names = [name.lower() for name in file.service.schema.names]
    assert list(columns(settings.postgres, table)) == [*names, "file_month"]
    for of in (table, f"{table}_rejected"):
        [(defined, valid, parts)] = sql(
            settings.postgres,
            "SELECT pg_get_indexdef(i.indexrelid), p.indisvalid, count(*) OVER () FROM pg_index i "
            "JOIN pg_inherits h ON h.inhrelid = i.indexrelid JOIN pg_index p ON p.indexrelid = h.inhparent "
            f"WHERE i.indrelid = 'ny_taxi.{of}_2021_01'::regclass",
        )
        assert str(defined).endswith(f"ON ny_taxi.{of}_2021_01 USING brin ({PICKUPS[table]})")
        assert (valid, parts) == (True, 1)


def test_columns_that_an_era_does_not_have_are_null(settings: Settings, trips: TripServer) -> None:
    file = judged(settings, trips, "yellow", "2021-01", "dtc", 2_000)
    replace_month(file, settings.postgres)
    counted = ", ".join(f"count({name})" for name in YELLOW_COLUMNS)
    [counts] = sql(settings.postgres, f"SELECT {counted} FROM {YELLOW}")
    filled = dict(zip(YELLOW_COLUMNS, counts, strict=True))
    assert {name for name, count in filled.items() if count == 0} == {
        "airport_fee",
        "cbd_congestion_fee",
        "request_source",
    }
    for name in ("vendorid", "tpep_pickup_datetime", "pulocationid", "total_amount", "congestion_surcharge"):
        assert filled[name] == file.rows_accepted


def test_two_eras_live_in_one_table_with_one_type_per_column(settings: Settings, trips: TripServer) -> None:
    early = judged(settings, trips, "yellow", "2009-03", "tlc", 2_000)
    middle = judged(settings, trips, "yellow", "2021-01", "dtc", 2_000)
    late = judged(settings, trips, "yellow", "2025-02", "tlc", 2_000)
    for file in (late, early, middle):
        replace_month(file, settings.postgres)
    for file in (early, middle, late):
        assert_loaded(file, settings.postgres)
    for month in ("2009_03", "2021_01", "2025_02"):
        assert columns(settings.postgres, f"yellow_cab_data_{month}") == YELLOW_COLUMNS
    found = sql(
        settings.postgres,
        "SELECT file_month::text, count(pulocationid) > 0, count(cbd_congestion_fee) > 0, count(airport_fee) > 0, "
        f"min(vendorid), max(vendorid) FROM {YELLOW} GROUP BY file_month ORDER BY file_month",
    )
    assert [row[:4] for row in found] == [
        ("2009-03-01", False, False, False),
        ("2021-01-01", True, False, False),
        ("2025-02-01", True, True, True),
    ]
    # The words CMT, VTS and DDS of 2009 have become TLC's codes.
    assert found[0][4:] == (1, 3)
    assert rows(settings.postgres) == early.rows_accepted + middle.rows_accepted + late.rows_accepted


def test_malformed_rows_are_kept_with_their_reason_place_and_text(settings: Settings, trips: TripServer) -> None:
    replace_month(judged(settings, trips, "yellow", "2021-01", "dtc", 2_000, malformed=3), settings.postgres)
    published = trip_path("yellow", "2021-01", "dtc", trips.folder)
    lines = gzip.decompress(published.read_bytes()).decode().split("\r\n")
    # One line in the middle of each third is broken; the header is line 0.
    assert sql(
        settings.postgres,
        f"SELECT source_row, reason, source_text FROM {YELLOW}_rejected WHERE source_row IS NOT NULL ORDER BY 1",
    ) == [
        (334, "malformed: number of fields", lines[334]),
        (1_001, "malformed: fare_amount", lines[1_001]),
        (1_667, "malformed: tpep_pickup_datetime", lines[1_667]),
    ]


def test_rows_that_break_a_rule_are_kept_with_their_values(settings: Settings, trips: TripServer) -> None:
    file = judged(settings, trips, "yellow", "2021-01", "dtc", 2_000)
    replace_month(file, settings.postgres)
    found = sql(
        settings.postgres,
        "SELECT reason, count(*), count(passenger_count), count(tpep_pickup_datetime), count(source_row) "
        f"FROM {YELLOW}_rejected GROUP BY reason ORDER BY reason",
    )
    zero, missing = file.rejected["no_passengers"], file.rejected["passenger_count_missing"]
    assert found == [
        ("no_passengers", zero, zero, zero, 0),
        ("passenger_count_missing", missing, 0, missing, 0),
    ]
    assert missing == 140
    assert number(settings.postgres, f"SELECT count(*) FROM {YELLOW} WHERE passenger_count IS NULL") == 0


# One month, one unit


def test_the_same_month_twice_is_there_once(settings: Settings, trips: TripServer) -> None:
    file = judged(settings, trips, "yellow", "2021-01", "dtc", 20_000, malformed=9)
    replace_month(file, settings.postgres)
    replace_month(file, settings.postgres)
    assert rows(settings.postgres) == 18_250
    assert rows(settings.postgres, table=f"{YELLOW}_rejected") == 1_750
    assert_loaded(file, settings.postgres)
    assert loads(settings.postgres) == 2


def test_a_month_that_the_origin_changed_is_replaced_whole(settings: Settings, trips: TripServer) -> None:
    replace_month(judged(settings, trips, "yellow", "2021-01", "dtc", 3_000, malformed=9), settings.postgres)
    changed = judged(settings, trips, "yellow", "2021-01", "dtc", 2_000, seed=1)
    replace_month(changed, settings.postgres)
    assert_loaded(changed, settings.postgres)
    assert rows(settings.postgres) == changed.rows_accepted
    other_origin = judged(settings, trips, "yellow", "2021-01", "tlc", 1_000)
    replace_month(other_origin, settings.postgres)
    assert_loaded(other_origin, settings.postgres)
    assert rows(settings.postgres) == other_origin.rows_accepted
    assert sql(settings.postgres, "SELECT origin FROM ny_taxi.load_audit ORDER BY load_id") == [
        ("dtc",),
        ("dtc",),
        ("tlc",),
    ]


def test_a_rerun_of_one_month_leaves_its_neighbour_untouched_stray_trips_included(
    settings: Settings, trips: TripServer
) -> None:
    january = judged(settings, trips, "yellow", "2021-01", "dtc", 5_000)
    february = judged(settings, trips, "yellow", "2021-02", "dtc", 5_000)
    replace_month(january, settings.postgres)
    replace_month(february, settings.postgres)
    strays = (
        f"SELECT count(*) FROM {YELLOW} WHERE file_month = '2021-02-01' "
        "AND tpep_pickup_datetime >= '2021-01-01' AND tpep_pickup_datetime < '2021-02-01'"
    )
    before = fingerprint(settings.postgres, "2021-02")
    stray_trips = number(settings.postgres, strays)
    assert stray_trips >= 1
    assert rows(settings.postgres) == january.rows_accepted + february.rows_accepted

    again = judged(settings, trips, "yellow", "2021-01", "dtc", 4_000, seed=1)
    replace_month(again, settings.postgres)

    assert fingerprint(settings.postgres, "2021-02") == before
    assert number(settings.postgres, strays) == stray_trips
    assert_loaded(again, settings.postgres)
    assert_loaded(february, settings.postgres)
    assert [name for name, _ in partitions(settings.postgres, "yellow_cab_data")] == [
        "yellow_cab_data_2021_01",
        "yellow_cab_data_2021_02",
    ]


def test_what_the_check_after_a_load_measures_is_what_the_table_has(settings: Settings, trips: TripServer) -> None:
    file = judged(settings, trips, "yellow", "2021-01", "dtc", 2_000)
    replace_month(file, settings.postgres)
    accepted, rejected, sums = measure_month(file.service, file.month, settings.postgres)
    assert (accepted, rejected) == (file.rows_accepted, file.rows_rejected)
    assert sums == pytest.approx(dict(file.sums), rel=1e-9)
    sql(settings.postgres, f"DELETE FROM {YELLOW} WHERE ctid = (SELECT min(ctid) FROM {YELLOW})")
    with pytest.raises(CountsDisagree, match=r"yellow 2021-01: .*another run replaced the month"):
        check_month(file, settings.postgres)


# Two runs at once


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


# Readers


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


def copies(database: PostgresSettings) -> int:
    # The driver fetches by COPY as well, this number too.
    return number(database, "SELECT count(*) FROM pg_stat_progress_copy WHERE command = 'COPY FROM'")


def waiting_swaps(database: PostgresSettings) -> int:
    return number(
        database,
        "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted AND relation IS NOT NULL",
    )


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


# Interrupted


def test_a_load_killed_while_it_copies_leaves_the_old_month(settings: Settings, trips: TripServer) -> None:
    old = judged(settings, trips, "yellow", "2021-01", "dtc", 1_000)
    replace_month(old, settings.postgres)
    before = fingerprint(settings.postgres, "2021-01")
    new = judged(settings, trips, "yellow", "2021-01", "dtc", 20_000)
    with ended(start_load(new, settings.postgres, pause=60)) as load:
        wait_for_copy(settings.postgres)
        load.kill()
        assert load.wait(timeout=10) == -signal.SIGKILL
    assert fingerprint(settings.postgres, "2021-01") == before
    # The server notices that nobody sends any more.
    wait_for("the end of the COPY", lambda: copies(settings.postgres) == 0)
    assert leftovers(settings.postgres) == []
    assert_loaded(old, settings.postgres)
    assert loads(settings.postgres) == 1
    replace_month(new, settings.postgres)
    assert_loaded(new, settings.postgres)


def test_a_load_killed_while_its_swap_waits_leaves_the_old_month_and_nothing_else(
    settings: Settings, trips: TripServer
) -> None:
    old = judged(settings, trips, "yellow", "2021-01", "dtc", 1_000)
    replace_month(old, settings.postgres)
    new = judged(settings, trips, "yellow", "2021-01", "dtc", 2_000)
    with closing(connect(settings.postgres)) as reader, reader.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {YELLOW}")
        with ended(start_load(new, settings.postgres)) as load:
            wait_for("a swap that waits", lambda: waiting_swaps(settings.postgres) == 1)
            load.kill()
            assert load.wait(timeout=10) == -signal.SIGKILL
            wait_for("the end of the swap", lambda: waiting_swaps(settings.postgres) == 0)
    assert_loaded(old, settings.postgres)
    assert loads(settings.postgres) == 1
    assert leftovers(settings.postgres) == []
    again = judged(settings, trips, "yellow", "2021-01", "dtc", 1_500)
    replace_month(again, settings.postgres)
    assert_loaded(again, settings.postgres)
    assert leftovers(settings.postgres) == []


def test_a_server_killed_while_it_copies_comes_back_with_the_old_month(
    settings: Settings, trips: TripServer, doomed: PostgresSettings, doomed_data: Path
) -> None:
    old = judged(settings, trips, "yellow", "2021-01", "dtc", 1_000)
    replace_month(old, doomed)
    new = judged(settings, trips, "yellow", "2021-01", "dtc", 20_000)
    with ended(start_load(new, doomed, pause=2)) as load:
        wait_for_copy(doomed)
        os.kill(int((doomed_data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        output, _ = load.communicate(timeout=60)
    assert load.returncode == 1
    [said] = [line for line in output.splitlines() if line.startswith("nyc_taxi.errors.")]
    assert said.startswith(
        f"nyc_taxi.errors.TargetUnavailable: Postgres at {doomed.where} as {doomed.user}: "
        "the server stopped in the middle; what was not committed is undone: start it and run again"
    )
    assert doomed.password not in output
    running = postgres.start(doomed_data)
    again = replace(doomed, port=running.port)
    assert leftovers(again) == []
    assert_loaded(old, again)
    assert loads(again) == 1
    replace_month(new, again)
    assert_loaded(new, again)


@pytest.fixture
def tiny_tablespace(doomed: PostgresSettings, doomed_data: Path, tmp_path: Path) -> Iterator[str]:
    """The name of a tablespace of 8 MB, in which the server makes its tables by default."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs takes root on Linux")
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"mount is not allowed here: {mounted.stderr.strip()}")
    owner = doomed_data.stat()
    os.chown(folder, owner.st_uid, owner.st_gid)
    try:
        sql(doomed, f"CREATE TABLESPACE tiny LOCATION '{folder}'")
        sql(doomed, f"ALTER ROLE {doomed.user} SET default_tablespace = tiny")
        yield "tiny"
        sql(doomed, f"ALTER ROLE {doomed.user} RESET default_tablespace")
        sql(doomed, "DROP SCHEMA IF EXISTS ny_taxi CASCADE")
        sql(doomed, "DROP TABLESPACE tiny")
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_under_the_server_is_named_and_leaves_the_old_month(
    settings: Settings, trips: TripServer, doomed: PostgresSettings, tiny_tablespace: str
) -> None:
    old = judged(settings, trips, "yellow", "2021-01", "dtc", 5_000)
    replace_month(old, doomed)
    assert sql(
        doomed, "SELECT DISTINCT tablespace FROM pg_tables WHERE schemaname = 'ny_taxi' AND tablespace <> ''"
    ) == [(tiny_tablespace,)]
    full = f"Postgres at {doomed.where} as {doomed.user}: its disk is full: make room there and run again"
    with pytest.raises(StorageFull) as raised:
        replace_month(judged(settings, trips, "yellow", "2021-01", "dtc", 150_000), doomed)
    assert str(raised.value).startswith(full)
    assert leftovers(doomed) == []
    assert_loaded(old, doomed)
    assert loads(doomed) == 1
    # The half-copied month has given its room back.
    smaller = judged(settings, trips, "yellow", "2021-01", "dtc", 6_000)
    replace_month(smaller, doomed)
    assert_loaded(smaller, doomed)


# Refused


def test_a_manifest_that_counts_other_rows_than_the_file_has_changes_nothing(
    settings: Settings, trips: TripServer
) -> None:
    old = judged(settings, trips, "yellow", "2021-01", "dtc", 1_000)
    replace_month(old, settings.postgres)
    before = fingerprint(settings.postgres, "2021-01")
    new = judged(settings, trips, "yellow", "2021-01", "dtc", 2_000)
    with pytest.raises(CountsDisagree) as raised:
        replace_month(miscounted(new, 1), settings.postgres)
    expected, copied = f"{new.rows_accepted + 1:,} accepted", f"{new.rows_accepted:,} and {new.rows_rejected:,}"
    assert str(raised.value) == (
        f"yellow 2021-01: {expected} and {new.rows_rejected:,} rejected rows expected, {copied} were copied; "
        "nothing was changed: run the pipeline again"
    )
    assert fingerprint(settings.postgres, "2021-01") == before
    assert loads(settings.postgres) == 1
    assert leftovers(settings.postgres) == []


def test_a_manifest_that_loses_rows_is_refused_before_anything_is_written(
    settings: Settings, trips: TripServer
) -> None:
    file = judged(settings, trips, "yellow", "2021-01", "dtc", 1_000)
    lossy = replace(file, rows_read=1_001)
    with pytest.raises(
        CountsDisagree, match=r"^yellow 2021-01: 1,001 rows read, but .* run transform_taxi_data again$"
    ):
        replace_month(lossy, settings.postgres)
    assert sql(settings.postgres, "SELECT 1 FROM pg_namespace WHERE nspname = 'ny_taxi'") == []


def test_a_staged_file_that_is_gone_is_named(settings: Settings, trips: TripServer) -> None:
    old = judged(settings, trips, "yellow", "2021-01", "dtc", 1_000)
    replace_month(old, settings.postgres)
    new = judged(settings, trips, "yellow", "2021-01", "dtc", 2_000)
    Path(new.path).unlink()
    with pytest.raises(NotATripFile) as raised:
        replace_month(new, settings.postgres)
    assert str(raised.value) == f"staged file {new.path} is gone: run load_api_data again"
    assert_loaded(old, settings.postgres)


def test_a_staging_folder_that_is_gone_is_named(settings: Settings, trips: TripServer) -> None:
    file = judged(settings, trips, "yellow", "2021-01", "dtc", 1_000)
    shutil.rmtree(settings.staging_dir)
    with pytest.raises(NotATripFile) as raised:
        replace_month(file, settings.postgres)
    assert str(raised.value) == f"staged file {file.path} is gone: run load_api_data again"


@pytest.fixture(scope="module")
def limited(server: PostgresSettings) -> Iterator[PostgresSettings]:
    """A user who may connect and nothing else."""
    sql(server, "CREATE ROLE limited LOGIN PASSWORD 'p@ss/w:rd %41'")
    yield replace(server, user="limited", password="p@ss/w:rd %41")
    sql(server, "DROP ROLE limited")


WRONG = "the password is wrong: check POSTGRES_USER and POSTGRES_PASSWORD"
NOT_ALLOWED = "the user may not do this: grant it CREATE on the database, or the ownership of the tables"
NOBODY_THERE = "nothing listens there: start the server (taxi up), or check POSTGRES_HOST and POSTGRES_PORT"


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ({"password": "not-the-p@ssword"}, WRONG),
        # A word of the server's own message: hiding it must not hide the cause.
        ({"password": "password"}, WRONG),
        ({"password": ""}, "no password was given: set POSTGRES_PASSWORD"),
        ({"user": "nobody-known", "password": "s3cret-s3cret"}, WRONG),
        ({"dbname": "no_such_database"}, "there is no such database: check POSTGRES_DBNAME"),
        ({"host": "no-such-host.invalid"}, "there is no such host: check POSTGRES_HOST"),
        ({"port": 0}, NOBODY_THERE),
        ({"host": "[::1", "password": "not-the-p@ss/word"}, "there is no such host: check POSTGRES_HOST"),
    ],
)
def test_a_server_that_cannot_be_reached_is_named_with_what_to_do_and_without_the_password(
    settings: Settings, trips: TripServer, wrong: dict[str, Any], advice: str
) -> None:
    file = judged(settings, trips, "yellow", "2021-01", "dtc", 200)
    if wrong.get("port") == 0:
        wrong = {"port": free_port()}
    unreachable = replace(settings.postgres, **wrong)
    refused(file, unreachable, advice)
    assert sql(settings.postgres, "SELECT 1 FROM pg_namespace WHERE nspname = 'ny_taxi'") == []


def refused(file: StagedFile, database: PostgresSettings, advice: str) -> None:
    """The load fails, says where, as whom and what to do, and keeps the password to itself."""
    with pytest.raises(TargetUnavailable) as raised:
        replace_month(file, database)
    said = str(raised.value).splitlines()[0]
    assert said.startswith(
        f"Postgres at {database.host}:{database.port}/{database.dbname} as {database.user}: {advice} ["
    )
    shown = "".join(traceback.format_exception(raised.value))
    for secret in {database.password, quote(database.password, "")} - {"", "password"}:
        assert secret not in shown


def test_a_user_without_the_right_to_create_is_told_which_grant_is_missing(
    settings: Settings, trips: TripServer, limited: PostgresSettings
) -> None:
    file = judged(settings, trips, "yellow", "2021-01", "dtc", 200)
    refused(file, limited, NOT_ALLOWED)
    replace_month(file, settings.postgres)
    # The same where the schema is there but another user's.
    refused(file, limited, NOT_ALLOWED)
    assert_loaded(file, settings.postgres)
    assert loads(settings.postgres) == 1


# Tables of an earlier version


@pytest.mark.parametrize("column", ["airport_fee", "tpep_pickup_datetime"])
def test_a_column_that_the_table_lacks_is_added_and_the_old_months_keep_their_rows(
    settings: Settings, trips: TripServer, column: str
) -> None:
    january = judged(settings, trips, "yellow", "2023-01", "tlc", 1_000)
    replace_month(january, settings.postgres)
    sql(settings.postgres, f"ALTER TABLE {YELLOW} DROP COLUMN {column}")
    february = judged(settings, trips, "yellow", "2023-02", "tlc", 1_000)
    replace_month(february, settings.postgres)
    assert columns(settings.postgres, "yellow_cab_data") == YELLOW_COLUMNS
    assert sql(
        settings.postgres,
        f"SELECT file_month::text, count(*), count({column}) FROM {YELLOW} GROUP BY file_month ORDER BY file_month",
    ) == [
        ("2023-01-01", january.rows_accepted, 0),
        ("2023-02-01", february.rows_accepted, february.rows_accepted),
    ]
    replace_month(january, settings.postgres)
    assert_loaded(january, settings.postgres)
    assert number(settings.postgres, f"SELECT count({column}) FROM {YELLOW}") == rows(settings.postgres)


def test_a_column_is_added_without_shutting_readers_out(settings: Settings, trips: TripServer) -> None:
    january = judged(settings, trips, "yellow", "2023-01", "tlc", 1_000)
    replace_month(january, settings.postgres)
    sql(settings.postgres, f"ALTER TABLE {YELLOW} DROP COLUMN request_source")
    with (
        closing(connect(settings.postgres)) as long_transaction,
        Reader(settings.postgres, f"SELECT count(*) FROM {YELLOW}") as other,
        ended(start_load(january, settings.postgres)) as load,
    ):
        with long_transaction.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {YELLOW}")
        wait_for("a change that waits", lambda: waiting_swaps(settings.postgres) == 1)
        wait_for("a change that has given up", lambda: waiting_swaps(settings.postgres) == 0, seconds=5)
        assert load.poll() is None
        long_transaction.rollback()
        finish(load)
    assert other.slowest_seconds < SLOWEST_READ_WHILE_THE_SWAP_WAITS_SECONDS
    assert columns(settings.postgres, "yellow_cab_data") == {
        **{name: kind for name, kind in YELLOW_COLUMNS.items() if name != "request_source"},
        "request_source": "text",
    }


def test_an_audit_table_that_was_dropped_is_made_again(settings: Settings, trips: TripServer) -> None:
    file = judged(settings, trips, "yellow", "2021-01", "dtc", 200)
    replace_month(file, settings.postgres)
    sql(settings.postgres, "DROP TABLE ny_taxi.load_audit")
    replace_month(file, settings.postgres)
    assert_loaded(file, settings.postgres)
    assert loads(settings.postgres) == 1


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
