"""The tables of the services in a real Postgres: columns of every era, made and extended where they are missing."""

from contextlib import closing

import pytest
from nyc_taxi.load.postgres.month import replace_month
from nyc_taxi.settings import Settings

from ops.stack.trip_server import TripServer
from tests.conftest import sql
from tests.nyc_taxi.load.loading import judged, start_load, wait_for
from tests.nyc_taxi.load.postgres.postgres_helpers import (
    SLOWEST_READ_WHILE_THE_SWAP_WAITS_SECONDS,
    YELLOW,
    Reader,
    assert_loaded,
    columns,
    connect,
    ended,
    finish,
    loads,
    number,
    partitions,
    rows,
    waiting_swaps,
)

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


def test_tables_and_columns_say_what_they_hold_and_what_a_user_wrote_there_stays(
    settings: Settings, trips: TripServer
) -> None:
    file = judged(settings, trips, "yellow", "2021-01", "dtc", 100)
    replace_month(file, settings.postgres)
    table = "ny_taxi.yellow_cab_data"
    described = (
        f"SELECT obj_description('{table}'::regclass), col_description('{table}'::regclass, attnum) "
        f"FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attname = 'trip_distance'"
    )
    about = "Accepted yellow trips by month of trip file; times are NYC wall clock, amounts USD"
    assert sql(settings.postgres, described) == [(about, "miles, by the taximeter")]
    # A table of before has no comments, but perhaps one of a user's.
    sql(settings.postgres, f"COMMENT ON TABLE {table} IS NULL; COMMENT ON COLUMN {table}.trip_distance IS 'mine'")
    replace_month(file, settings.postgres)
    assert sql(settings.postgres, described) == [(about, "mine")]
    rejected = sql(settings.postgres, f"SELECT obj_description('{table}_rejected'::regclass)")
    assert str(rejected[0][0]).startswith("Rejected yellow trips by month of trip file")
