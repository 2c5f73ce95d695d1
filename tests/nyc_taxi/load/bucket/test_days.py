"""A month as one object per day of pickup: which days, which rows, and what reruns, neighbours and accidents leave."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from google.cloud.storage import Bucket
from nyc_taxi.catalog.services import GREEN, SERVICES, YELLOW, Service
from nyc_taxi.errors import CountsDisagree, NotATripFile, TargetUnavailable, UnknownName
from nyc_taxi.load.bucket import objects
from nyc_taxi.load.bucket.days import (
    HELD_ROWS,
    check_month,
    day_object,
    measure_month,
    partition_column,
    replace_month,
    split_by_day,
)
from nyc_taxi.load.bucket.month import replace_month as replace_object
from nyc_taxi.load.bucket.runs import own_name
from nyc_taxi.manifest import StagedFile
from nyc_taxi.months import Month
from nyc_taxi.settings import GoogleSettings

from ops.stack.trip_server import TripServer
from tests.nyc_taxi.load.bucket.bucket_helpers import (
    JANUARY,
    DoomedStore,
    Line,
    Months,
    bucket_of,
    file_system,
    generations,
    metadata_of,
    objects_in,
    of_rows,
    put,
    read,
    refusing,
    sorted_rows,
    start_run,
)
from tests.nyc_taxi.load.loading import in_one_instant, miscounted

YELLOW_DAYS = "trips_by_day/yellow/tpep_pickup_date="
YELLOW_JANUARY = f"{YELLOW_DAYS}*/yellow_tripdata_2021-01.parquet"
STRICT = "has_passengers,positive_distance"
COURSE = {"2020-10": 49_269, "2020-11": 45_870, "2020-12": 44_231}


@pytest.fixture
def course(real_trips: TripServer, tmp_path: Path) -> list[StagedFile]:
    """The three months of the course, from the city's own files, by the course's rules."""
    real = Months(real_trips, tmp_path)
    return [real.published("green", month, "dtc", STRICT) for month in COURSE]


def days_in(google: GoogleSettings, service: Service = YELLOW) -> dict[str, set[str]]:
    """Per month, the days that have an object."""
    found: dict[str, set[str]] = {}
    for name in objects_in(google, f"trips_by_day/{service.name}/"):
        _, _, partition, last = name.split("/")
        month = last.removeprefix(f"{service.name}_tripdata_").removesuffix(".parquet")
        found.setdefault(month, set()).add(partition.partition("=")[2])
    return found


def all_rows(google: GoogleSettings, service: Service) -> pa.Table:
    """What a reader of Hive partitions sees of a service: all days of all months, with the day as a column."""
    days = pa.schema([(partition_column(service), pa.date32())])
    return ds.dataset(
        f"{google.bucket}/trips_by_day/{service.name}",
        filesystem=file_system(google),
        partitioning=ds.partitioning(days, flavor="hive"),
    ).to_table()


def versions(google: GoogleSettings, prefix: str) -> set[str]:
    return {metadata_of(google, name)["version"] for name in objects_in(google, prefix)}


def at(*days: int, month: int = 1) -> list[datetime | None]:
    """Times of pickup at noon of days of 2021."""
    return [datetime(2021, month, day, 12) for day in days]


def with_pickups(months: Months, times: list[datetime | None], folder: Path) -> StagedFile:
    """Yellow trips of 2021-01 with these times of pickup."""
    source = months.judged("yellow", "2021-01", "dtc", 500)
    rows = pq.read_table(source.path).slice(0, len(times))
    place = rows.schema.get_field_index(YELLOW.pickup)
    return of_rows(source, rows.set_column(place, YELLOW.pickup, pa.array(times, pa.timestamp("us"))), folder)


# --- Names


@pytest.mark.parametrize(
    ("service", "name"),
    [
        ("yellow", "trips_by_day/yellow/tpep_pickup_date=2021-01-05/yellow_tripdata_2021-01.parquet"),
        ("green", "trips_by_day/green/lpep_pickup_date=2021-01-05/green_tripdata_2021-01.parquet"),
        ("fhv", "trips_by_day/fhv/pickup_date=2021-01-05/fhv_tripdata_2021-01.parquet"),
        ("fhvhv", "trips_by_day/fhvhv/pickup_date=2021-01-05/fhvhv_tripdata_2021-01.parquet"),
    ],
)
def test_the_folder_of_a_day_is_a_hive_partition(service: str, name: str) -> None:
    assert day_object(SERVICES[service], JANUARY, "2021-01-05") == name
    column = partition_column(SERVICES[service])
    assert column not in SERVICES[service].schema.names  # it would be there twice


# --- The days are the month


@pytest.mark.parametrize(
    ("service", "origin", "rules"),
    [("yellow", "dtc", ""), ("green", "dtc", STRICT), ("fhv", "dtc", ""), ("fhvhv", "tlc", "")],
)
def test_the_days_hold_exactly_the_rows_of_the_month(
    google: GoogleSettings, months: Months, service: str, origin: str, rules: str
) -> None:
    kind = SERVICES[service]
    file = months.judged(service, "2021-01", origin, 20_000, rules=rules)
    replace_object(file, google)
    replace_month(file, google)
    found = all_rows(google, kind)
    column = partition_column(kind)
    assert found.schema.names == [*kind.schema.names, column]
    assert found[column].equals(found[kind.pickup].cast(pa.date32()))
    month = read(google, f"trips/{service}/{service}_tripdata_2021-01.parquet")
    assert len(found) == file.rows_accepted > 15_000
    assert sorted_rows(found.drop_columns([column])).equals(sorted_rows(month))
    check_month(file, google)
    rows, sums, days = measure_month(kind, JANUARY, google)
    assert (rows, days) == (file.rows_accepted, len(objects_in(google, f"trips_by_day/{service}/")))
    assert sums == pytest.approx(file.sums, rel=1e-9)
    assert days == len(set(found[column].to_pylist())) >= 31


def test_every_day_tells_what_is_in_it(google: GoogleSettings, months: Months) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 2_000)
    replace_month(file, google)
    told = 0
    for name in objects_in(google, "trips_by_day/"):
        about, rows = metadata_of(google, name), read(google, name)
        day = name.partition("=")[2][:10]
        assert set(rows[YELLOW.pickup].cast(pa.date32()).to_pylist()) == {date.fromisoformat(day)}
        assert rows.schema.equals(YELLOW.schema)
        assert int(about["rows"]) == len(rows)
        assert float(about["sum_total_amount"]) == pytest.approx(pc.sum(rows["total_amount"]).as_py())
        assert float(about["sum_trip_distance"]) == pytest.approx(pc.sum(rows["trip_distance"]).as_py())
        assert (about["service"], about["month"], about["rules"]) == ("yellow", "2021-01", "has_passengers")
        told += len(rows)
    assert told == file.rows_accepted
    [kind] = {blob.content_type for blob in bucket_of(google).list_blobs(prefix="trips_by_day/")}
    assert kind == "application/vnd.apache.parquet"


def test_rows_in_any_order_come_to_the_same_days(google: GoogleSettings, months: Months, tmp_path: Path) -> None:
    source = months.judged("yellow", "2021-01", "dtc", 20_000, rules="none")
    table = pq.read_table(source.path)
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    replace_month(source, google)
    expected, days = sorted_rows(all_rows(google, YELLOW)), days_in(google)
    counts = {name: metadata_of(google, name)["rows"] for name in objects_in(google)}
    replace_month(of_rows(source, shuffled, tmp_path / "rows"), google)
    assert sorted_rows(all_rows(google, YELLOW)).equals(expected)
    assert days_in(google) == days
    assert {name: metadata_of(google, name)["rows"] for name in objects_in(google)} == counts
    assert len(expected) == 20_000


def test_a_day_begins_at_midnight(google: GoogleSettings, months: Months, tmp_path: Path) -> None:
    midnight, moment = datetime(2021, 1, 15), timedelta(microseconds=1)
    old = datetime(1969, 12, 31, 23, 59, 59)
    times = [midnight - moment, midnight, midnight + moment, midnight + timedelta(days=1), old, datetime(3019, 2, 3)]
    replace_month(with_pickups(months, [*times], tmp_path / "rows"), google)
    by_day = {name.partition("=")[2][:10]: read(google, name)[YELLOW.pickup].to_pylist() for name in objects_in(google)}
    assert by_day == {
        "1969-12-31": [old],
        "2021-01-14": [times[0]],
        "2021-01-15": [times[1], times[2]],
        "2021-01-16": [times[3]],
        "3019-02-03": [times[5]],
    }


def test_trips_without_a_time_go_to_the_partition_that_hive_has_for_them(
    google: GoogleSettings, months: Months, tmp_path: Path
) -> None:
    times: list[datetime | None] = [None, *at(5, 5), None, *at(6), None]
    file = with_pickups(months, times, tmp_path / "rows")
    replace_month(file, google)
    assert days_in(google) == {"2021-01": {"2021-01-05", "2021-01-06", "__HIVE_DEFAULT_PARTITION__"}}
    lost = f"{YELLOW_DAYS}__HIVE_DEFAULT_PARTITION__/yellow_tripdata_2021-01.parquet"
    assert read(google, lost)[YELLOW.pickup].to_pylist() == [None, None, None]
    rows = all_rows(google, YELLOW)
    assert Counter(rows["tpep_pickup_date"].to_pylist()) == {None: 3, date(2021, 1, 5): 2, date(2021, 1, 6): 1}
    check_month(file, google)
    assert measure_month(YELLOW, JANUARY, google)[0] == 6


def test_a_month_of_nothing_but_lost_times_is_one_object(
    google: GoogleSettings, months: Months, tmp_path: Path
) -> None:
    replace_month(with_pickups(months, [None, None], tmp_path / "rows"), google)
    assert days_in(google) == {"2021-01": {"__HIVE_DEFAULT_PARTITION__"}}


# --- Again


def test_a_month_written_twice_is_the_same_objects_and_bytes(google: GoogleSettings, months: Months) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 20_000)
    replace_month(file, google)
    first, writings = objects_in(google), generations(google)
    replace_month(file, google)
    assert objects_in(google) == first
    assert len(first) >= 31
    assert all(generations(google)[name] > writing for name, writing in writings.items())


def test_the_days_that_a_new_version_no_longer_has_go(google: GoogleSettings, months: Months, tmp_path: Path) -> None:
    replace_month(with_pickups(months, [*at(1, 2, 3, 4), None], tmp_path / "rows"), google)
    assert len(days_in(google)["2021-01"]) == 5
    replace_month(with_pickups(months, at(2, 2, 9), tmp_path / "rows"), google)
    assert days_in(google) == {"2021-01": {"2021-01-02", "2021-01-09"}}
    assert measure_month(YELLOW, JANUARY, google)[::2] == (3, 2)


def test_another_program_s_object_in_the_set_is_named_and_beside_it_is_none_of_ours(
    google: GoogleSettings, months: Months, tmp_path: Path
) -> None:
    file = with_pickups(months, at(2), tmp_path / "rows")
    alien = f"{YELLOW_DAYS}2021-01-03/yellow_tripdata_2021-01.parquet"
    beside = [f"{YELLOW_DAYS}2021-01-03/part-0.parquet", f"{YELLOW_DAYS}2021-01-02/yellow_tripdata_2020-12.parquet"]
    for name in (alien, *beside):
        put(google, name, b"another program's")
    with pytest.raises(NotATripFile) as refused:
        check_month(file, google)
    assert str(refused.value) == (
        f"gs://{google.bucket}/{alien} says nothing of its rows: another program wrote it; move it and run api_to_gcs"
    )
    with pytest.raises(TargetUnavailable, match=f"{alien} was written by another program, and nothing was changed"):
        replace_month(file, google)
    bucket_of(google).delete_blob(alien)
    replace_month(file, google)
    assert set(objects_in(google)) == {*beside, f"{YELLOW_DAYS}2021-01-02/yellow_tripdata_2021-01.parquet"}


def test_a_check_without_any_day_is_refused(google: GoogleSettings, months: Months) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 500)
    assert measure_month(YELLOW, JANUARY, google) == (0, {}, 0)
    with pytest.raises(CountsDisagree, match=f"has {file.rows_accepted} rows and sums .*, the day partitions 0 and"):
        check_month(file, google)


# --- Trips of neighbouring months


def test_the_course_s_months_keep_their_95_days_whichever_is_run_again(
    google: GoogleSettings, course: list[StagedFile]
) -> None:
    for file in course:
        replace_month(file, google)
    assert {file.month_text: file.rows_accepted for file in course} == COURSE
    rows = all_rows(google, GREEN)
    assert len(rows) == 139_370
    days = Counter(rows["lpep_pickup_date"].to_pylist())
    assert len(days) == 95
    in_their_month = {month: {day for day in days if f"{day:%Y-%m}" == month} for month in COURSE}
    assert {month: len(of) for month, of in in_their_month.items()} == {"2020-10": 31, "2020-11": 30, "2020-12": 31}
    outside = set(days).difference(*in_their_month.values())
    assert len(outside) == 3
    assert outside > {date(2009, 1, 1), date(2021, 1, 1)}
    spilt = {
        ("2020-10", "2020-11-01"): 5,
        ("2020-11", "2020-10-31"): 1,
        ("2020-11", "2020-12-01"): 1,
        ("2020-12", "2020-11-30"): 1,
        ("2020-12", "2009-01-01"): 1,
        ("2020-12", "2021-01-01"): 1,
    }
    for (month, day), count in spilt.items():
        assert metadata_of(google, day_object(GREEN, Month.parse(month), day))["rows"] == str(count)
    before = objects_in(google)
    for number in (1, 2, 0, 2, 1, 0):  # each month after each other one
        replace_month(course[number], google)
        assert objects_in(google) == before
    for file in course:
        check_month(file, google)
    assert sorted_rows(all_rows(google, GREEN)).equals(sorted_rows(rows))


def test_two_services_with_the_same_column_do_not_touch_each_other(google: GoogleSettings, months: Months) -> None:
    fhv, fhvhv = (months.judged(service, "2021-01", "dtc", 500) for service in ("fhv", "fhvhv"))
    replace_month(fhv, google)
    replace_month(fhvhv, google)
    of_fhvhv = generations(google, "trips_by_day/fhvhv/")
    replace_month(fhv, google)
    assert generations(google, "trips_by_day/fhvhv/") == of_fhvhv
    check_month(fhv, google)
    check_month(fhvhv, google)
    assert len(of_fhvhv) == 31


def test_the_course_s_months_may_come_in_any_order(google: GoogleSettings, course: list[StagedFile]) -> None:
    for file in reversed(course):
        replace_month(file, google)
    assert {month: len(days) for month, days in days_in(google, GREEN).items()} == {
        file.month_text: measure_month(GREEN, file.month, google)[2] for file in course
    }
    rows = all_rows(google, GREEN)
    assert (len(rows), len(pc.unique(rows["lpep_pickup_date"]))) == (139_370, 95)


# --- Wrong numbers, and places that cannot be


@pytest.mark.parametrize("wrong", ["rows", "sums", "conservation"])
def test_numbers_that_are_wrong_change_nothing(google: GoogleSettings, months: Months, wrong: str) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 2_000)
    replace_month(file, google)
    before = generations(google)
    spoilt = {
        "rows": miscounted(file, 1),
        "sums": replace(file, sums={**file.sums, "trip_distance": 0.0}),
        "conservation": replace(file, rows_read=file.rows_read + 1),
    }[wrong]
    with pytest.raises(CountsDisagree):
        replace_month(spoilt, google)
    assert generations(google) == before
    assert len(before) >= 31


def test_a_bucket_that_cannot_be_is_one_line(google: GoogleSettings, months: Months) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 500)
    with pytest.raises(UnknownName, match=r"^GCS_BUCKET is not set: give the name of a bucket"):
        replace_month(file, replace(google, bucket=""))
    with (
        refusing(404, "The specified bucket does not exist.", "notFound") as url,
        pytest.raises(TargetUnavailable) as missing,
    ):
        replace_month(file, replace(google, storage_emulator=url, bucket="nobodys"))
    assert str(missing.value).startswith(
        f"gs://nobodys/{YELLOW_JANUARY}: make the bucket (gcloud storage buckets create gs://nobodys --location=US)"
    )
    with pytest.raises(TargetUnavailable, match=r"^gs://nobodys/trips_by_day/yellow/.* \[404 "):
        replace_month(file, replace(google, bucket="nobodys"))
    said = "mage@p.iam.gserviceaccount.com does not have storage.objects.list access to the bucket."
    with refusing(403, said, "forbidden") as url, pytest.raises(TargetUnavailable) as refused:
        replace_month(file, replace(google, storage_emulator=url))
    assert str(refused.value).startswith(
        f"gs://{google.bucket}/{YELLOW_JANUARY}: the account lacks storage.objects.list: "
        f"grant it roles/storage.objectAdmin on the bucket [403 "
    )


# --- Writers that die


def test_a_writer_killed_in_the_middle_of_the_upload_leaves_the_old_days_and_the_next_run_heals(
    google: GoogleSettings, months: Months, tmp_path: Path
) -> None:
    old = months.judged("yellow", "2021-01", "dtc", 2_000)
    new = months.judged("yellow", "2021-01", "dtc", 60_000)
    replace_month(old, google)
    before = generations(google)
    with Line(google.storage_emulator, hold_after=600_000) as line:
        process = start_run(new, line.of(google), "days", tmp_path)
        try:
            assert line.held.wait(30), "no upload"
            process.send_signal(signal.SIGKILL)
            assert process.wait(10) == -signal.SIGKILL
        finally:
            process.kill()
            process.communicate(timeout=10)
    left = set(objects_in(google, "_incoming/"))
    assert 0 < len(left) < 31
    assert generations(google, "trips_by_day/") == before
    check_month(old, google)
    replace_month(new, google)
    check_month(new, google)
    assert objects_in(google, "_incoming/") == {}  # the process that left them is known to be gone


def test_a_line_that_breaks_in_the_middle_of_the_upload_leaves_the_old_days(
    google: GoogleSettings, months: Months, impatient: float
) -> None:
    old = months.judged("yellow", "2021-01", "dtc", 2_000)
    new = months.judged("yellow", "2021-01", "dtc", 60_000)
    replace_month(old, google)
    before = generations(google)
    with Line(google.storage_emulator, break_after=600_000) as line:
        with pytest.raises(TargetUnavailable) as failed:
            replace_month(new, line.of(google))
        assert line.broken
    assert str(failed.value).startswith(f"gs://{google.bucket}/{YELLOW_JANUARY}: it does not answer: check the network")
    assert generations(google, "trips_by_day/") == before
    check_month(old, google)
    replace_month(new, google)
    check_month(new, google)


def test_a_store_that_dies_in_the_middle_ends_the_run_within_the_retry_time(
    months: Months, tmp_path: Path, impatient: float
) -> None:
    old = months.judged("yellow", "2021-01", "dtc", 2_000)
    new = months.judged("yellow", "2021-01", "dtc", 60_000)
    with DoomedStore(tmp_path / "doomed") as store:
        doomed = store.settings
        replace_month(old, doomed)
        before = generations(doomed)
        with Line(doomed.storage_emulator, hold_after=600_000) as line:
            killed: list[float] = []

            def kill() -> None:
                line.held.wait(20)
                store.kill()
                killed.append(time.monotonic())
                line.release.set()

            killer = threading.Thread(target=kill)
            killer.start()
            with pytest.raises(TargetUnavailable, match="it does not answer"):
                replace_month(new, line.of(doomed))
            # Not once for the uploads and once more for the cleaning up.
            assert time.monotonic() - killed[0] < 2 * impatient
            killer.join()
        store.start()
        assert generations(doomed, "trips_by_day/") == before
        replace_month(new, doomed)
        check_month(new, doomed)


def test_a_writer_that_ends_between_two_copies_is_found_by_the_check_and_healed_by_the_next_run(
    google: GoogleSettings, months: Months, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = months.judged("yellow", "2021-01", "dtc", 2_000)
    new = months.judged("yellow", "2021-01", "dtc", 2_000, rules="none")
    replace_month(old, google)
    copied: list[str] = []
    copy = objects.copy_object

    def copy_some(bucket: Bucket, source: objects.NewObject, new: objects.NewObject) -> None:
        if len(copied) >= 7:
            raise KeyboardInterrupt
        copied.append(new.name)
        copy(bucket, source, new)

    with monkeypatch.context() as patched:
        patched.setattr(objects, "copy_object", copy_some)
        with pytest.raises(KeyboardInterrupt):
            replace_month(new, google)
    assert len(versions(google, "trips_by_day/")) == 2
    for file in (old, new):
        with pytest.raises(CountsDisagree, match=r"the days are of two versions, .*; run the pipeline again"):
            check_month(file, google)
    assert objects_in(google, "_incoming/") == {}
    replace_month(new, google)
    check_month(new, google)
    assert len(versions(google, "trips_by_day/")) == 1


# --- Several writers


def at_once(google: GoogleSettings, files: list[StagedFile], times: int) -> None:
    """Each file in a thread of its own, so many times; their errors, if any, are the test's."""

    def write(file: StagedFile) -> None:
        for _ in range(times):
            replace_month(file, google)

    in_one_instant([partial(write, file) for file in files])


def test_two_writers_of_one_month_end_as_exactly_one_of_them(
    google: GoogleSettings, months: Months, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "ATTEMPTS", 30)
    two = [months.judged("yellow", "2021-01", "dtc", 300, rules=rules) for rules in ("none", STRICT)]
    assert two[0].rows_accepted > two[1].rows_accepted
    at_once(google, two, 3)
    assert len(versions(google, "trips_by_day/")) == 1
    rows, sums, _ = measure_month(YELLOW, JANUARY, google)
    [winner] = [file for file in two if file.rows_accepted == rows]
    assert sums == pytest.approx(winner.sums, rel=1e-9)
    check_month(winner, google)
    assert len(all_rows(google, YELLOW)) == rows
    assert objects_in(google, "_incoming/") == {}


def test_two_processes_of_one_month_end_as_exactly_one_of_them(
    google: GoogleSettings, months: Months, tmp_path: Path
) -> None:
    two = [months.judged("yellow", "2021-01", "dtc", 2_000, rules=rules) for rules in ("none", STRICT)]
    running = []
    for number, file in enumerate(two):
        (tmp_path / str(number)).mkdir()
        running.append(start_run(file, google, "days", tmp_path / str(number)))
    said = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert len(versions(google, "trips_by_day/")) == 1
    rows = measure_month(YELLOW, JANUARY, google)[0]
    assert rows in {file.rows_accepted for file in two}
    assert len(all_rows(google, YELLOW)) == rows


def test_different_months_at_once_do_not_disturb_each_other(google: GoogleSettings, months: Months) -> None:
    files = [months.judged("yellow", month, "dtc", 500) for month in ("2021-01", "2021-02", "2021-03")]
    at_once(google, files, 2)
    for file in files:
        check_month(file, google)
    assert len(all_rows(google, YELLOW)) == sum(file.rows_accepted for file in files)
    assert objects_in(google, "_incoming/") == {}


# --- Where a set is uploaded first


def test_what_a_dead_run_left_goes_after_a_day_and_what_another_run_is_uploading_stays(
    google: GoogleSettings, months: Months, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 500)
    of_month = f"_incoming/{YELLOW_DAYS}_/yellow_tripdata_2021-01.parquet"
    living = f"{of_month}/{own_name()}"
    put(google, f"{of_month}/old", b"left behind")
    put(google, living, b"of a process of this machine")
    put(google, f"_incoming/{YELLOW_DAYS}_/yellow_tripdata_2021-02.parquet/old", b"of another month")
    before = datetime.now(UTC)
    replace_month(file, google)
    assert set(objects_in(google, "_incoming/")) == {
        f"{of_month}/old",
        living,
        f"_incoming/{YELLOW_DAYS}_/yellow_tripdata_2021-02.parquet/old",
    }
    time.sleep(0.3)
    put(google, f"{of_month}/fresh", b"of a run that goes on")
    # As if the first two had been there for a day: they are older than this, the third is not.
    monkeypatch.setattr(objects, "ABANDONED", datetime.now(UTC) - before - timedelta(seconds=0.2))
    replace_month(file, google)
    assert set(objects_in(google, "_incoming/")) == {
        f"{of_month}/fresh",
        living,
        f"_incoming/{YELLOW_DAYS}_/yellow_tripdata_2021-02.parquet/old",
    }


def test_no_reader_of_the_days_sees_what_is_uploaded_aside(google: GoogleSettings, months: Months) -> None:
    put(google, f"_incoming/{YELLOW_DAYS}_/yellow_tripdata_2021-01.parquet/0", b"not yet there")
    file = months.judged("yellow", "2021-01", "dtc", 500)
    replace_month(file, google)
    assert len(all_rows(google, YELLOW)) == file.rows_accepted
    assert measure_month(YELLOW, JANUARY, google)[0] == file.rows_accepted


def test_nothing_stays_beside_the_staged_file(google: GoogleSettings, months: Months) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 500)
    replace_month(file, google)
    with pytest.raises(CountsDisagree):
        replace_month(miscounted(file, 1), google)
    assert list((Path(file.path).parent / "exports").iterdir()) == []


# --- Splitting


def test_splitting_shuffled_rows_needs_no_more_memory_than_what_is_held(tmp_path: Path) -> None:
    rows, batch_rows = 2_000_000, 16_384
    schema = pa.schema([("pickup", pa.timestamp("us")), *((f"m{number}", pa.float64()) for number in range(9))])
    rng = np.random.default_rng(0)

    def batches() -> Iterator[pa.RecordBatch]:
        for first in range(0, rows, batch_rows):
            count = min(batch_rows, rows - first)
            seconds = rng.integers(0, 31 * 86_400, count)
            pickups = np.datetime64("2021-01-01", "us") + seconds * np.timedelta64(1_000_000, "us")
            amounts = [pa.array(rng.integers(0, 5_000, count) / 100) for _ in range(9)]
            yield pa.record_batch([pa.array(pickups), *amounts], schema=schema)

    pool = pa.default_memory_pool()
    idle = pool.bytes_allocated()
    peak = 0

    def watched() -> Iterator[pa.RecordBatch]:
        nonlocal peak
        for batch in batches():
            peak = max(peak, pool.bytes_allocated() - idle)
            yield batch

    days = split_by_day(watched(), tmp_path, schema, "pickup", ["m0"])
    assert [day.day for day in days] == [date(2021, 1, 1) + timedelta(days=number) for number in range(31)]
    assert sum(day.rows for day in days) == sum(pq.read_metadata(day.path).num_rows for day in days) == rows
    all_of_it, held = rows * 80, HELD_ROWS * 80
    # What waits, what two threads encode at the moment, and the edges of many small pieces.
    assert held < peak < 4 * held < all_of_it / 3


def test_a_month_in_order_is_written_in_large_row_groups(months: Months, tmp_path: Path) -> None:
    times = pa.array(np.datetime64("2021-01-01", "us") + np.arange(1_200_000) * np.timedelta64(500_000, "us"))
    batches = pa.table({"pickup": times}).to_batches(max_chunksize=16_384)
    days = split_by_day(batches, tmp_path, pa.schema([("pickup", pa.timestamp("us"))]), "pickup", [])
    assert [(day.text, day.rows) for day in days[:2]] == [("2021-01-01", 172_800), ("2021-01-02", 172_800)]
    assert sum(day.rows for day in days) == 1_200_000
    # A day has more rows than may wait: it is written in a group of that size and what is left of it.
    assert max(pq.read_metadata(day.path).num_row_groups for day in days) <= 3


def test_splitting_nothing_is_no_day(tmp_path: Path) -> None:
    schema = pa.schema([("pickup", pa.timestamp("us"))])
    empty = pa.record_batch([pa.array([], pa.timestamp("us"))], schema=schema)
    assert split_by_day([], tmp_path, schema, "pickup", []) == []
    assert split_by_day([empty], tmp_path, schema, "pickup", []) == []
    assert list(tmp_path.iterdir()) == []
