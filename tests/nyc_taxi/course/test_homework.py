"""The homework's three green months: cleaned, in a real Postgres and in day partitions, twice, at once and killed."""

import csv
import gzip
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nyc_taxi.course.homework import MONTHS, CleanTrips, clean, stage_months
from nyc_taxi.course.homework_targets import check_days, check_table, replace_days, replace_table
from nyc_taxi.errors import CountsDisagree, NotATripFile, StorageFull, TargetUnavailable
from nyc_taxi.google import bucket_of
from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.settings import GoogleSettings, PostgresSettings, Settings

from ops.paths import ROOT
from ops.stack.google import GoogleServer
from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.conftest import REAL_FILES, environment_of, settings_for, sql
from tests.nyc_taxi.load.loading import wait_for, wait_for_copy

COLUMNS = {
    "vendor_id": "integer",
    "lpep_pickup_datetime": "timestamp without time zone",
    "lpep_dropoff_datetime": "timestamp without time zone",
    "passenger_count": "bigint",
    "trip_distance": "double precision",
    "ratecode_id": "bigint",
    "store_and_fwd_flag": "text",
    "pu_location_id": "integer",
    "do_location_id": "integer",
    "payment_type": "bigint",
    "fare_amount": "double precision",
    "extra": "double precision",
    "mta_tax": "double precision",
    "tip_amount": "double precision",
    "tolls_amount": "double precision",
    "improvement_surcharge": "double precision",
    "total_amount": "double precision",
    "congestion_surcharge": "double precision",
    "ehail_fee": "double precision",
    "trip_type": "bigint",
    "lpep_pickup_date": "date",
}
SLOW_LOAD = """
import sys, time
from unittest.mock import patch
import pandas as pd
from nyc_taxi.course.homework import CleanTrips
from nyc_taxi.course.homework_targets import replace_table
from nyc_taxi.settings import Settings

read = CleanTrips.batches

def read_slowly(self, columns=None):
    for batch in read(self, columns):
        yield batch
        time.sleep(float(sys.argv[2]))

with patch.object(CleanTrips, "batches", read_slowly):
    replace_table(CleanTrips.of_frame(pd.read_json(sys.argv[1], dtype=False)), Settings.from_environment().postgres)
"""


@pytest.fixture
def offline(trips: TripServer, tmp_path: Path) -> Settings:
    """Settings for synthetic files that need no database."""
    return settings_for(Settings.from_environment({}).postgres, trips, tmp_path)


@pytest.fixture
def real_offline(real_trips: TripServer, tmp_path: Path) -> Settings:
    """The same for the city's real files."""
    return settings_for(Settings.from_environment({}).postgres, real_trips, tmp_path)


@pytest.fixture
def postgres(server: PostgresSettings) -> Iterator[PostgresSettings]:
    """The server without the homework's table, before and after."""
    sql(server, "DROP SCHEMA IF EXISTS mage CASCADE")
    yield server
    sql(server, "DROP SCHEMA IF EXISTS mage CASCADE")


@pytest.fixture
def google(google_server: GoogleServer) -> GoogleSettings:
    """The emulators, without the homework's objects."""
    google = Settings.from_environment(google_server.environment()).google
    for prefix in ("green_taxi", "_incoming/green_taxi"):
        for blob in bucket_of(google).list_blobs(prefix=prefix):
            blob.delete()
    return google


@pytest.fixture
def synthetic(offline: Settings, trips: TripServer) -> Callable[..., CleanTrips]:
    """Three months of so many rows each, cleaned."""

    def make(rows: int, *, malformed: int = 0, seed: int = 0) -> CleanTrips:
        for month in MONTHS:
            generate("green", month, "dtc", rows, trips.folder, malformed=malformed, seed=seed)
        return clean(stage_months(offline), offline.staging_dir)

    return make


def objects(google: GoogleSettings, prefix: str = "green_taxi/") -> dict[str, tuple[str, str]]:
    """Name to checksum and generation."""
    return {blob.name: (blob.crc32c, str(blob.generation)) for blob in bucket_of(google).list_blobs(prefix=prefix)}


def checksums(google: GoogleSettings) -> dict[str, str]:
    return {name: checksum for name, (checksum, _) in objects(google).items()}


def fingerprint(postgres: PostgresSettings) -> tuple[object, ...]:
    """Changes with any value of any row, but not with the table that holds it."""
    [row] = sql(postgres, "SELECT count(*), sum(hashtextextended(t::text, 0))::text FROM mage.green_taxi t")
    return row


def tables(postgres: PostgresSettings) -> list[str]:
    found = sql(postgres, "SELECT relname::text FROM pg_class WHERE relnamespace = 'mage'::regnamespace")
    return sorted(str(name) for (name,) in found)


def slow_load(trips: CleanTrips, postgres: PostgresSettings, pause: float) -> "subprocess.Popen[str]":
    """Load in a process of its own, `pause` seconds slower per batch."""
    frame = Path(f"{trips.path}.json")
    trips.to_frame().to_json(frame)
    return subprocess.Popen(
        [sys.executable, "-c", SLOW_LOAD, frame, str(pause)],
        cwd=ROOT,
        env=os.environ | environment_of(postgres),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(load: "subprocess.Popen[str]") -> str:
    try:
        output, _ = load.communicate(timeout=60)
    finally:
        load.kill()
    assert load.returncode == 0, output
    return output


# The city's real files


def test_the_real_files_are_cleaned_to_the_courses_numbers(real_offline: Settings) -> None:
    manifest = stage_months(real_offline)
    assert [file.rows_read for file in manifest.files] == [95_120, 88_605, 83_130]
    assert {len(file.columns) for file in manifest.files} == {20}
    trips = clean(manifest, real_offline.staging_dir)
    assert trips.total_read == 266_855
    assert trips.rows_kept == {"2020-10": 49_269, "2020-11": 45_870, "2020-12": 44_231}
    assert trips.total_kept == pq.read_metadata(trips.path).num_rows == 139_370
    assert trips.rejected == {"passenger_count_missing": 119_462, "no_distance": 7_362, "no_passengers": 661}
    assert trips.columns_renamed == {
        "VendorID": "vendor_id",
        "RatecodeID": "ratecode_id",
        "PULocationID": "pu_location_id",
        "DOLocationID": "do_location_id",
    }
    assert pq.read_schema(trips.path).names == list(COLUMNS)
    assert trips.distinct("vendor_id") == {1, 2}
    assert trips.distinct("passenger_count") == set(range(1, 10))
    assert min(trips.distinct("trip_distance")) > 0
    assert len(trips.distinct("lpep_pickup_date")) == 95


def test_every_day_of_the_real_files_has_the_trips_that_a_plain_reading_of_them_finds(real_offline: Settings) -> None:
    days, miles = Counter[str](), 0.0
    for month in MONTHS:
        with gzip.open(REAL_FILES / "dtc" / "green" / f"green_tripdata_{month}.csv.gz", "rt", newline="") as file:
            for row in csv.DictReader(file):
                if row["passenger_count"] not in ("", "0") and float(row["trip_distance"]) > 0:
                    days[row["lpep_pickup_datetime"][:10]] += 1
                    miles += float(row["trip_distance"])
    trips = clean(stage_months(real_offline), real_offline.staging_dir)
    kept = Counter(day.isoformat() for day in pq.read_table(trips.path)["lpep_pickup_date"].to_pylist())
    assert kept == days
    assert trips.sums["trip_distance"] == pytest.approx(miles, rel=1e-9)


def test_both_targets_hold_the_real_files_day_by_day(
    real_offline: Settings, postgres: PostgresSettings, google: GoogleSettings
) -> None:
    trips = clean(stage_months(real_offline), real_offline.staging_dir)
    replace_table(trips, postgres)
    replace_days(trips, google)
    assert check_table(trips, postgres) == 139_370
    assert check_days(trips, google) == 95
    in_postgres = sql(postgres, "SELECT lpep_pickup_date::text, count(*) FROM mage.green_taxi GROUP BY 1")
    in_bucket = {blob.name: int(blob.metadata["rows"]) for blob in bucket_of(google).list_blobs(prefix="green_taxi/")}
    assert in_bucket == {f"green_taxi/lpep_pickup_date={day}/green_taxi.parquet": rows for day, rows in in_postgres}
    strays = {str(day) for day, _ in in_postgres if not str(day).startswith(MONTHS)}
    assert strays == {"2009-01-01", "2020-09-30", "2021-01-01"}


# Cleaning


def test_every_row_is_kept_or_left_out_with_its_reason(
    synthetic: Callable[..., CleanTrips], capsys: pytest.CaptureFixture[str]
) -> None:
    trips = synthetic(3_000, malformed=3)
    assert trips.rows_read == dict.fromkeys(MONTHS, 3_000)
    assert trips.total_kept + sum(trips.rejected.values()) == 9_000
    assert trips.rejected["malformed: number of fields"] == 3
    assert {"no_distance", "no_passengers", "passenger_count_missing"} <= trips.rejected.keys()
    said = capsys.readouterr().out
    assert "green 2020-10: 1 of 3,000 rows rejected: malformed: number of fields" in said
    assert f"{trips.total_kept:,} of 9,000 green trips kept" in said


def test_the_same_trip_files_give_the_same_bytes_and_others_another_file(
    synthetic: Callable[..., CleanTrips], offline: Settings
) -> None:
    trips = synthetic(2_000)
    before = Path(trips.path).read_bytes()
    Path(trips.path).unlink()
    assert clean(stage_months(offline), offline.staging_dir) == trips
    assert Path(trips.path).read_bytes() == before
    other = synthetic(2_000, seed=1)
    assert (other.version != trips.version, other.path != trips.path) == (True, True)
    assert sorted(path.name for path in Path(trips.path).parent.iterdir() if path.is_file()) == sorted(
        [Path(trips.path).name, Path(other.path).name]
    )


def test_the_date_is_that_of_the_pickup(synthetic: Callable[..., CleanTrips]) -> None:
    trips = synthetic(2_000)
    table = pq.read_table(trips.path, columns=["lpep_pickup_datetime", "lpep_pickup_date"])
    assert table["lpep_pickup_date"].type == pa.date32()
    assert all(row["lpep_pickup_datetime"].date() == row["lpep_pickup_date"] for row in table.to_pylist())


def test_what_blocks_hand_on_comes_back_as_it_was(synthetic: Callable[..., CleanTrips]) -> None:
    trips = synthetic(1_000, malformed=3)
    frame = trips.to_frame()
    assert CleanTrips.of_frame(frame) == trips
    assert (len(frame), set(frame.iloc[0].map(type))) == (1, {str})


def test_a_cleaned_file_that_is_gone_is_named(synthetic: Callable[..., CleanTrips], postgres: PostgresSettings) -> None:
    trips = synthetic(1_000)
    Path(trips.path).unlink()
    with pytest.raises(NotATripFile, match=r"cleaned file .*\.parquet is gone: run clean_green_taxi again"):
        replace_table(trips, postgres)
    assert tables(postgres) == []


def test_a_folder_that_cannot_be_written_is_named(offline: Settings, trips: TripServer) -> None:
    for month in MONTHS:
        generate("green", month, "dtc", 100, trips.folder)
    manifest = stage_months(offline)
    (offline.staging_dir / "green_taxi").write_text("in the way")
    with pytest.raises(StorageFull, match=r"cannot write to .*green_taxi.*: make room there or set STAGING_DIR"):
        clean(manifest, offline.staging_dir)


# Postgres


def test_the_table_has_the_columns_of_the_files_in_snake_case_and_the_date(
    synthetic: Callable[..., CleanTrips], postgres: PostgresSettings
) -> None:
    trips = synthetic(1_000)
    replace_table(trips, postgres)
    found = sql(
        postgres,
        "SELECT column_name::text, data_type::text FROM information_schema.columns WHERE table_schema = 'mage' AND "
        "table_name = 'green_taxi' ORDER BY ordinal_position",
    )
    assert found == list(COLUMNS.items())
    assert check_table(trips, postgres) == trips.total_kept


def test_the_table_is_replaced_as_a_whole_and_twice_is_once(
    synthetic: Callable[..., CleanTrips], postgres: PostgresSettings
) -> None:
    first = synthetic(2_000)
    replace_table(first, postgres)
    before = fingerprint(postgres)
    replace_table(first, postgres)
    assert fingerprint(postgres) == before
    smaller = synthetic(500, seed=1)
    replace_table(smaller, postgres)
    assert check_table(smaller, postgres) == smaller.total_kept < first.total_kept
    assert tables(postgres) == ["green_taxi"]
    with pytest.raises(CountsDisagree, match=r"mage\.green_taxi has .* run green_taxi_etl again"):
        check_table(first, postgres)


def test_rows_other_than_those_counted_change_nothing(
    synthetic: Callable[..., CleanTrips], postgres: PostgresSettings
) -> None:
    trips = synthetic(1_000)
    replace_table(trips, postgres)
    before = fingerprint(postgres)
    with pytest.raises(CountsDisagree, match=r"mage\.green_taxi_new has"):
        replace_table(replace(trips, rows_kept={"2020-10": 1}), postgres)
    assert (fingerprint(postgres), tables(postgres)) == (before, ["green_taxi"])


def test_a_view_on_the_table_stops_the_load_with_one_clear_line(
    synthetic: Callable[..., CleanTrips], postgres: PostgresSettings
) -> None:
    replace_table(synthetic(1_000), postgres)
    before = fingerprint(postgres)
    sql(postgres, "CREATE VIEW mage.my_trips AS SELECT * FROM mage.green_taxi")
    with pytest.raises(TargetUnavailable, match=r"a view uses the old table, .*: drop the view and run again"):
        replace_table(synthetic(1_000, seed=1), postgres)
    assert fingerprint(postgres) == before


def test_the_old_table_is_read_until_the_swap_and_a_load_that_is_killed_leaves_it(
    synthetic: Callable[..., CleanTrips], postgres: PostgresSettings
) -> None:
    old = synthetic(1_000)
    replace_table(old, postgres)
    before = fingerprint(postgres)
    new = synthetic(20_000, seed=1)
    load = slow_load(new, postgres, 60)
    try:
        wait_for_copy(postgres)
        assert fingerprint(postgres) == before
    finally:
        load.send_signal(signal.SIGKILL)
        load.communicate(timeout=10)
    wait_for("the end of the load", lambda: tables(postgres) == ["green_taxi"])
    assert fingerprint(postgres) == before
    replace_table(new, postgres)
    assert check_table(new, postgres) == new.total_kept


def test_two_loads_at_once_end_as_one(synthetic: Callable[..., CleanTrips], postgres: PostgresSettings) -> None:
    trips = synthetic(20_000)
    loads = [slow_load(trips, postgres, 0.7) for _ in range(2)]
    outputs = [finish(load) for load in loads]
    waited = "mage.green_taxi is being loaded by another run: waiting for it"
    assert sorted(output.count(waited) for output in outputs) == [0, 1]
    assert check_table(trips, postgres) == trips.total_kept
    assert tables(postgres) == ["green_taxi"]


def test_the_swap_waits_for_a_reader_and_lets_other_readers_pass(
    synthetic: Callable[..., CleanTrips], postgres: PostgresSettings, capfd: pytest.CaptureFixture[str]
) -> None:
    old = synthetic(1_000)
    replace_table(old, postgres)
    new = synthetic(1_500, seed=1)
    load = threading.Thread(target=replace_table, args=(new, postgres), daemon=True)
    said = ""

    def gave_way() -> bool:
        nonlocal said
        said += capfd.readouterr().out
        return "mage.green_taxi is being read; the swap waits (1 of 60)" in said

    with connect(postgres) as reader, reader.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM mage.green_taxi")
        load.start()
        wait_for("a swap that gives way", gave_way)
        assert sql(postgres, "SELECT count(*) FROM mage.green_taxi") == [(old.total_kept,)]
    load.join(30)
    assert check_table(new, postgres) == new.total_kept


def test_readers_see_one_of_the_tables_whole_while_they_are_swapped(
    synthetic: Callable[..., CleanTrips], postgres: PostgresSettings
) -> None:
    versions = [synthetic(500), synthetic(1_000, seed=1)]
    replace_table(versions[0], postgres)
    stopped, answers = threading.Event(), Counter[object]()

    def read(query: str, preparation: str = "SELECT 1") -> None:
        with connect(postgres) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute(preparation)
            while not stopped.is_set():
                cursor.execute(query)
                answers.update(count for (count,) in cursor.fetchall())

    count = "SELECT count(*) FROM mage.green_taxi"
    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read, count), pool.submit(read, "EXECUTE counting", f"PREPARE counting AS {count}")]
        try:
            for number in range(1, 11):
                replace_table(versions[number % 2], postgres)
        finally:
            stopped.set()
        for reader in readers:
            reader.result()
    assert set(answers) == {trips.total_kept for trips in versions}
    assert answers.total() > 100


def test_a_user_who_may_use_the_schema_but_make_none_can_load(
    synthetic: Callable[..., CleanTrips], postgres: PostgresSettings
) -> None:
    trips = synthetic(500)
    sql(postgres, "CREATE ROLE homework LOGIN PASSWORD 'homework'")
    try:
        user = replace(postgres, user="homework", password="homework")
        with pytest.raises(TargetUnavailable, match="the user may not do this: grant it CREATE on the database"):
            replace_table(trips, user)
        sql(postgres, "CREATE SCHEMA mage")
        sql(postgres, "GRANT ALL ON SCHEMA mage TO homework")
        replace_table(trips, user)
        assert check_table(trips, user) == trips.total_kept
    finally:
        sql(postgres, "DROP OWNED BY homework")
        sql(postgres, "DROP ROLE homework")


# Cloud Storage


def test_the_days_add_up_and_hold_the_trips_without_the_date(
    synthetic: Callable[..., CleanTrips], google: GoogleSettings, tmp_path: Path
) -> None:
    trips = synthetic(2_000)
    replace_days(trips, google)
    days = sorted(day.isoformat() for day in trips.distinct("lpep_pickup_date"))
    names = [f"green_taxi/lpep_pickup_date={day}/green_taxi.parquet" for day in days]
    assert sorted(objects(google)) == names
    assert check_days(trips, google) == len(days)
    rows = 0
    for number, name in enumerate(names):
        bucket_of(google).blob(name).download_to_filename(str(tmp_path / f"{number}.parquet"))
        table = pq.read_table(tmp_path / f"{number}.parquet")
        assert table.column_names == list(COLUMNS)[:-1]
        assert {pickup.date().isoformat() for pickup in table["lpep_pickup_datetime"].to_pylist()} == {days[number]}
        rows += len(table)
    assert rows == trips.total_kept


def test_the_same_trips_again_are_the_same_bytes_and_stale_days_go(
    synthetic: Callable[..., CleanTrips], google: GoogleSettings
) -> None:
    trips = synthetic(2_000)
    bucket = bucket_of(google)
    for name in ("lpep_pickup_date=1999-12-31/green_taxi.parquet", "lpep_pickup_date=2020-10-05/mine.parquet"):
        stale = bucket.blob(f"green_taxi/{name}")
        stale.metadata = {"service": "green"}
        stale.upload_from_string(b"older")
    replace_days(trips, google)
    first = checksums(google)
    assert "green_taxi/lpep_pickup_date=1999-12-31/green_taxi.parquet" not in first
    assert "green_taxi/lpep_pickup_date=2020-10-05/mine.parquet" in first
    replace_days(trips, google)
    assert checksums(google) == first
    assert objects(google, "_incoming/") == {}


def test_a_day_that_is_gone_is_noticed(synthetic: Callable[..., CleanTrips], google: GoogleSettings) -> None:
    trips = synthetic(2_000)
    replace_days(trips, google)
    bucket_of(google).delete_blob("green_taxi/lpep_pickup_date=2020-10-05/green_taxi.parquet")
    with pytest.raises(CountsDisagree, match=r"gs://.*lpep_pickup_date=\*/green_taxi.parquet has"):
        check_days(trips, google)


def test_trips_other_than_those_counted_change_no_day(
    synthetic: Callable[..., CleanTrips], google: GoogleSettings
) -> None:
    trips = synthetic(1_000)
    replace_days(trips, google)
    before = objects(google)
    with pytest.raises(CountsDisagree, match="run green_taxi_etl again"):
        replace_days(replace(trips, sums=dict.fromkeys(trips.sums, 0.0)), google)
    assert objects(google) == before
