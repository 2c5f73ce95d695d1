"""A month into a real Postgres: what arrives, that it is replaced as a whole, and what is refused."""

import gzip
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from nyc_taxi.errors import CountsDisagree, NotATripFile
from nyc_taxi.load.postgres.month import check_month, measure_month, replace_month
from nyc_taxi.settings import Settings

from ops.stack.trip_server import TripServer
from ops.synthetic.generate import trip_path
from tests.conftest import sql
from tests.nyc_taxi.load.loading import judged, miscounted
from tests.nyc_taxi.load.postgres.postgres_helpers import (
    YELLOW,
    assert_loaded,
    fingerprint,
    leftovers,
    loads,
    number,
    partitions,
    rows,
)


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
