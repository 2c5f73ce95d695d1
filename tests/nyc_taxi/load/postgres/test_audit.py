"""The load history on a real Postgres: what it says, what it refuses, and that it stands or falls with the rows."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import psycopg2
import pytest
from nyc_taxi.errors import TargetUnavailable
from nyc_taxi.load.postgres import audit
from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.load.postgres.month import replace_month
from nyc_taxi.manifest import Manifest
from nyc_taxi.operate.failures import describe
from nyc_taxi.operate.failures import record as record_failure
from nyc_taxi.settings import PostgresSettings, Settings
from nyc_taxi.transform.rules import apply_rules

from ops.stack.trip_server import TripServer
from ops.synthetic.generate import trip_path
from tests.conftest import sql
from tests.nyc_taxi.load.loading import judged, wait_for


def audit_rows(database: PostgresSettings) -> int:
    [(count,)] = sql(database, "SELECT count(*) FROM ny_taxi.load_audit")
    return int(str(count))


def test_the_audit_row_says_what_the_manifest_says(settings: Settings, trips: TripServer) -> None:
    file = judged(settings, trips, "yellow", "2021-01", "dtc", 5_000, malformed=6)
    load = replace_month(file, settings.postgres)

    [row] = sql(
        settings.postgres,
        "SELECT load_id, service, file_month, origin, target, url, etag, bytes, sha256, rules::text, rows_read, "
        "rows_accepted, rows_rejected, rejected::text, sums::text, columns_dropped::text, seconds "
        "FROM ny_taxi.load_audit",
    )
    load_id, *said, rules, read, accepted, rejected, by_reason, sums, dropped, seconds = row
    published = trip_path("yellow", "2021-01", "dtc", trips.folder).read_bytes()
    url = f"{trips.dtc_base_url}/yellow/yellow_tripdata_2021-01.csv.gz"
    sha256 = hashlib.sha256(published).hexdigest()
    assert load_id == 1
    assert said == [
        "yellow",
        date(2021, 1, 1),
        "dtc",
        "ny_taxi.yellow_cab_data",
        url,
        file.etag,
        len(published),
        sha256,
    ]
    assert (file.url, file.bytes, file.sha256) == (url, len(published), sha256)
    assert file.etag
    assert json.loads(str(rules)) == ["has_passengers"]
    assert (read, accepted, rejected) == (5_000, file.rows_accepted, 5_000 - file.rows_accepted)
    assert json.loads(str(by_reason)) == dict(file.rejected)
    assert set(file.rejected) == {
        "no_passengers",
        "passenger_count_missing",
        "malformed: number of fields",
        "malformed: fare_amount",
        "malformed: tpep_pickup_datetime",
    }
    assert json.loads(str(sums)) == dict(file.sums)
    assert set(file.sums) == {"trip_distance", "total_amount"}
    assert json.loads(str(dropped)) == []
    assert isinstance(seconds, float)
    assert 0 < seconds < 60
    assert seconds == pytest.approx(load.seconds, abs=0.001)


def test_the_audit_row_lists_the_columns_that_have_no_place(settings: Settings, trips: TripServer) -> None:
    replace_month(judged(settings, trips, "yellow", "2009-01", "tlc", 1_000), settings.postgres)
    [(dropped,)] = sql(settings.postgres, "SELECT columns_dropped::text FROM ny_taxi.load_audit")
    assert json.loads(str(dropped)) == ["Start_Lon", "Start_Lat", "End_Lon", "End_Lat"]


def test_the_audit_row_lists_the_columns_that_the_file_lacks(settings: Settings, trips: TripServer) -> None:
    replace_month(judged(settings, trips, "yellow", "2021-01", "dtc", 500), settings.postgres)
    [(missing,)] = sql(settings.postgres, "SELECT columns_missing::text FROM ny_taxi.load_audit")
    assert json.loads(str(missing)) == ["airport_fee", "cbd_congestion_fee", "request_source"]


def test_the_audit_row_counts_what_is_loaded_with_a_warning(settings: Settings, trips: TripServer) -> None:
    file = judged(settings, trips, "yellow", "2021-01", "dtc", 2_000)
    rules = ["positive_distance:warn", "plausible_speed:warn:max_mph=20", "has_passengers"]
    [file] = apply_rules(Manifest((file,)), rules).files
    replace_month(file, settings.postgres)
    [(warned, rules_told)] = sql(settings.postgres, "SELECT warned, rules FROM ny_taxi.load_audit")
    assert rules_told == rules
    where = "FROM ny_taxi.yellow_cab_data WHERE"
    hours = "extract(epoch FROM tpep_dropoff_datetime - tpep_pickup_datetime) / 3600"
    [(no_distance,)] = sql(settings.postgres, f"SELECT count(*) {where} trip_distance <= 0")
    [(too_fast,)] = sql(settings.postgres, f"SELECT count(*) {where} trip_distance > 20 * greatest(0, {hours})")
    assert warned == {"no_distance": no_distance, "too_fast": too_fast} == file.warned
    assert 0 not in (no_distance, too_fast)


def test_loads_are_numbered_and_dated_in_the_order_they_were_made(settings: Settings, trips: TripServer) -> None:
    began = datetime.now(UTC)
    for month in ("2021-02", "2021-01", "2021-02"):
        replace_month(judged(settings, trips, "green", month, "dtc", 500), settings.postgres)
    rows = sql(
        settings.postgres, "SELECT load_id, file_month::text, loaded_at FROM ny_taxi.load_audit ORDER BY loaded_at"
    )
    assert [row[:2] for row in rows] == [(1, "2021-02-01"), (2, "2021-01-01"), (3, "2021-02-01")]
    for _, _, loaded_at in rows:
        assert isinstance(loaded_at, datetime)
        assert timedelta(seconds=-1) < loaded_at - began < timedelta(seconds=60)


@pytest.mark.parametrize("lost", [1, -1])
def test_a_row_that_does_not_add_up_is_refused_by_the_database(
    settings: Settings, trips: TripServer, lost: int
) -> None:
    file = judged(settings, trips, "yellow", "2021-01", "dtc", 1_000)
    replace_month(file, settings.postgres)
    dishonest = audit.Load(replace(file, rows_accepted=file.rows_accepted - lost), "ny_taxi.yellow_cab_data", 1.0)
    with connect(settings.postgres) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.Error, match='violates check constraint "rows_conserved"'):
            audit.record(cursor, "ny_taxi", dishonest)
        connection.rollback()
    with pytest.raises(TargetUnavailable, match='violates check constraint "rows_conserved"'):
        sql(settings.postgres, f"UPDATE ny_taxi.load_audit SET rows_read = rows_read + {lost}")
    assert sql(settings.postgres, "SELECT rows_read FROM ny_taxi.load_audit") == [(1_000,)]


def test_without_its_audit_row_the_month_is_not_replaced(settings: Settings, trips: TripServer) -> None:
    old = judged(settings, trips, "yellow", "2021-01", "dtc", 1_000)
    replace_month(old, settings.postgres)
    sql(settings.postgres, "ALTER TABLE ny_taxi.load_audit ADD CONSTRAINT frozen CHECK (rows_read <= 1000)")
    with pytest.raises(TargetUnavailable, match='violates check constraint "frozen"'):
        replace_month(judged(settings, trips, "yellow", "2021-01", "dtc", 2_000), settings.postgres)
    assert sql(settings.postgres, "SELECT count(*) FROM ny_taxi.yellow_cab_data") == [(old.rows_accepted,)]
    assert audit_rows(settings.postgres) == 1
    assert sql(settings.postgres, r"SELECT relname FROM pg_class WHERE relname LIKE '%\_new'") == []


# --- tables of before failures were recorded

OLD_TABLE = """
CREATE SCHEMA ny_taxi;
CREATE TABLE ny_taxi.load_audit (load_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
loaded_at timestamptz NOT NULL DEFAULT clock_timestamp(), service text NOT NULL, file_month date NOT NULL,
origin text NOT NULL, target text NOT NULL, url text NOT NULL, etag text NOT NULL, bytes bigint NOT NULL,
sha256 text NOT NULL, rules jsonb NOT NULL, rows_read bigint NOT NULL, rows_accepted bigint NOT NULL,
rows_rejected bigint NOT NULL, rejected jsonb NOT NULL, sums jsonb NOT NULL, columns_dropped jsonb NOT NULL,
seconds double precision NOT NULL,
CONSTRAINT rows_conserved CHECK (rows_read = rows_accepted + rows_rejected));
INSERT INTO ny_taxi.load_audit (loaded_at, service, file_month, origin, target, url, etag, bytes, sha256, rules,
rows_read, rows_accepted, rows_rejected, rejected, sums, columns_dropped, seconds)
SELECT '2025-01-01', 'green', date '2019-01-01' + n * interval '1 month', 'dtc', 'ny_taxi.green_cab_data',
'https://example.org/' || n, '"' || n || '"', n * 1000, 'abc', '["has_passengers"]', 10 + n, 10, n,
jsonb_build_object('no_passengers', n), '{"total_amount": 1.5}', '[]', 0.25 FROM generate_series(1, 30) n
"""
OLD_COLUMNS = ", ".join(["load_id", "loaded_at", *audit.OF_A_LOAD])
FAILURE = describe(
    RuntimeError("why"), "a_block", {"pipeline_uuid": "a_pipeline", "pipeline_run_id": 7, "service": "x"}
)


@pytest.fixture
def old_rows(database: PostgresSettings) -> str:
    """Every value of the thirty rows of an audit table in its old form, as text."""
    sql(database, OLD_TABLE)
    return every_row(database)


def every_row(database: PostgresSettings) -> str:
    rows = f"SELECT {OLD_COLUMNS} FROM ny_taxi.load_audit WHERE load_id <= 30 ORDER BY load_id"
    [(text,)] = sql(database, f"SELECT string_agg(r::text, E'\\n') FROM ({rows}) r")
    assert str(text).count("\n") == 29
    return str(text)


def test_a_load_into_an_old_table_loses_no_row_of_it(settings: Settings, trips: TripServer, old_rows: str) -> None:
    replace_month(judged(settings, trips, "green", "2020-10", "dtc", 300), settings.postgres)
    assert every_row(settings.postgres) == old_rows
    assert sql(settings.postgres, "SELECT status, count(*), max(load_id) FROM ny_taxi.load_audit GROUP BY 1") == [
        ("loaded", 31, 31)
    ]


def test_a_failure_into_an_old_table_loses_no_row_of_it(database: PostgresSettings, old_rows: str) -> None:
    for _ in range(2):
        assert record_failure(FAILURE, database)
    assert every_row(database) == old_rows
    assert sql(database, "SELECT status, count(*), max(load_id) FROM ny_taxi.load_audit GROUP BY 1 ORDER BY 1") == [
        ("failed", 2, 32),
        ("loaded", 30, 30),
    ]


def test_an_old_table_and_a_new_one_end_in_the_same_form(database: PostgresSettings, old_rows: str) -> None:
    columns = (
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute WHERE attnum > 0 AND "
        "NOT attisdropped AND attrelid = 'ny_taxi.load_audit'::regclass ORDER BY attname"
    )
    rules = (
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c' "
        "AND conrelid = 'ny_taxi.load_audit'::regclass ORDER BY conname"
    )
    record_failure(FAILURE, database)
    migrated = sql(database, columns), sql(database, rules)
    assert [name for name, _ in migrated[1]] == ["failures_say_why", "loads_are_complete", "rows_conserved"]
    sql(database, "DROP TABLE ny_taxi.load_audit")
    record_failure(FAILURE, database)
    assert (sql(database, columns), sql(database, rules)) == migrated


@pytest.mark.parametrize(
    ("later", "told"), [("columns_missing", ["cbd_congestion_fee", "request_source"]), ("warned", {})]
)
def test_a_table_of_before_missing_columns_or_warnings_were_recorded_gets_them(
    later: str, told: object, settings: Settings, trips: TripServer
) -> None:
    replace_month(judged(settings, trips, "green", "2020-10", "dtc", 300), settings.postgres)
    before = sql(settings.postgres, f"SELECT {OLD_COLUMNS}, status FROM ny_taxi.load_audit")
    sql(settings.postgres, f"ALTER TABLE ny_taxi.load_audit DROP COLUMN {later}")
    replace_month(judged(settings, trips, "green", "2020-11", "dtc", 300), settings.postgres)
    old, new = sql(settings.postgres, f"SELECT {OLD_COLUMNS}, status, {later} FROM ny_taxi.load_audit ORDER BY load_id")
    assert [old[:-1]] == before
    assert (old[-1], new[-1]) == (None, told)


def test_a_reader_of_an_old_table_delays_a_failure_and_loses_none(database: PostgresSettings, old_rows: str) -> None:
    with connect(database) as reader, reader.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM ny_taxi.load_audit")
        with ThreadPoolExecutor(1) as pool:
            recording = pool.submit(record_failure, FAILURE, database)
            wait_for("a change that waits", lambda: waiting(database) == 1)
            reader.rollback()
            assert recording.result(30)
    assert every_row(database) == old_rows
    assert audit_rows(database) == 31


def waiting(database: PostgresSettings) -> int:
    [(count,)] = sql(database, "SELECT count(*) FROM pg_locks WHERE NOT granted")
    return int(str(count))


# --- what no row may be


@pytest.mark.parametrize("missing", list(audit.OF_A_LOAD))
def test_a_load_without_one_of_its_values_is_refused(settings: Settings, trips: TripServer, missing: str) -> None:
    replace_month(judged(settings, trips, "green", "2020-10", "dtc", 200), settings.postgres)
    with pytest.raises(TargetUnavailable, match='violates check constraint "loads_are_complete"'):
        sql(settings.postgres, f"UPDATE ny_taxi.load_audit SET {missing} = NULL")


@pytest.mark.parametrize("change", ["error = NULL", "pipeline = NULL", "block = NULL", "status = 'skipped'"])
def test_a_failure_without_a_reason_is_refused(database: PostgresSettings, change: str) -> None:
    record_failure(FAILURE, database)
    with pytest.raises(TargetUnavailable, match='violates check constraint "failures_say_why"'):
        sql(database, f"UPDATE ny_taxi.load_audit SET {change}")


def test_a_failure_cannot_pass_for_a_load(database: PostgresSettings) -> None:
    record_failure(FAILURE, database)
    with pytest.raises(TargetUnavailable, match='violates check constraint "loads_are_complete"'):
        sql(database, "UPDATE ny_taxi.load_audit SET status = 'loaded'")
