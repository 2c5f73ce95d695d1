"""One day's trips as an object of their own."""

from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from nyc_taxi.catalog.services import GREEN, YELLOW
from nyc_taxi.errors import CountsDisagree, NotATripFile
from nyc_taxi.load.bucket.month import replace_month
from nyc_taxi.load.bucket.slice import slice_object, write_slice
from nyc_taxi.settings import GoogleSettings

from tests.nyc_taxi.load.bucket.bucket_helpers import (
    JANUARY,
    Months,
    generations,
    metadata_of,
    objects_in,
    of_rows,
    put,
    read,
    sorted_rows,
)

MIDNIGHT = datetime(2021, 1, 15)
A_MOMENT = timedelta(microseconds=1)


def columns_over(source: pa.Table, rows: list[datetime | None], pickup: str) -> pa.Table:
    """The first rows of a table with these times of pickup."""
    times = pa.array(rows, pa.timestamp("us"))
    return source.slice(0, len(rows)).set_column(source.schema.get_field_index(pickup), pickup, times)


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("", "2021/01/05/daily-trips.parquet"),
        ("green", "green/2021/01/05/daily-trips.parquet"),
        ("/by/hand/", "by/hand/2021/01/05/daily-trips.parquet"),
    ],
)
def test_a_slice_is_named_after_its_day(prefix: str, name: str) -> None:
    assert slice_object(date(2021, 1, 5), prefix) == name


def test_the_trip_at_midnight_belongs_to_the_new_day(google: GoogleSettings, months: Months, tmp_path: Path) -> None:
    source = months.judged("yellow", "2021-01", "dtc", 500)
    times = [
        MIDNIGHT - A_MOMENT,
        MIDNIGHT,
        MIDNIGHT + A_MOMENT,
        None,
        MIDNIGHT + timedelta(days=1) - A_MOMENT,
        MIDNIGHT + timedelta(days=1),
        datetime(2008, 1, 15, 12),
    ]
    file = of_rows(source, columns_over(pq.read_table(source.path), times, YELLOW.pickup), tmp_path / "rows")
    written = {day: write_slice(file, date(2021, 1, day), google) for day in (14, 15, 16)}
    assert written == {14: 1, 15: 3, 16: 1}
    found = {day: read(google, f"2021/01/{day}/daily-trips.parquet")[YELLOW.pickup].to_pylist() for day in written}
    assert found == {14: [times[0]], 15: [times[1], times[2], times[4]], 16: [times[5]]}


def test_the_days_of_a_month_are_all_of_its_accepted_rows(google: GoogleSettings, months: Months) -> None:
    file = months.judged("green", "2021-01", "dtc", 2_000, malformed=3)
    first, end = (bound.date() for bound in JANUARY.bounds())
    days = [first + timedelta(days=number) for number in range((end - first).days)]
    written = sum(write_slice(file, day, google, "green") for day in days)
    replace_month(file, google)
    pickups = read(google, "trips/green/green_tripdata_2021-01.parquet")[GREEN.pickup]
    outside = sum(not first <= pickup.date() < end for pickup in pickups.to_pylist())
    assert outside >= 2  # every taxi file has trips of other months
    assert written + outside == file.rows_accepted
    assert len(objects_in(google, "green/2021/01/")) == 31


def test_a_slice_written_twice_is_the_same_bytes_and_tells_what_it_is(google: GoogleSettings, months: Months) -> None:
    file = months.judged("green", "2021-01", "dtc", 2_000)
    rows = write_slice(file, date(2021, 1, 15), google)
    first = objects_in(google)
    assert write_slice(file, date(2021, 1, 15), google) == rows
    assert objects_in(google) == first
    name = "2021/01/15/daily-trips.parquet"
    assert set(first) == {name}
    about = metadata_of(google, name)
    assert (about["service"], about["month"], about["rows"]) == ("green", "2021-01", str(rows))
    assert read(google, name).schema.equals(GREEN.schema)
    assert read(google, name).num_rows == rows > 0


def test_another_services_slice_of_the_day_is_not_replaced(google: GoogleSettings, months: Months) -> None:
    yellow = months.judged("yellow", "2021-01", "dtc", 2_000)
    green = months.judged("green", "2021-01", "dtc", 2_000)
    day = date(2021, 1, 15)
    write_slice(yellow, day, google)
    before = generations(google)
    with pytest.raises(CountsDisagree) as refused:
        write_slice(green, day, google)
    assert str(refused.value) == (
        f"gs://{google.bucket}/2021/01/15/daily-trips.parquet holds yellow trips, which green would replace: "
        f"set the variable prefix, such as green"
    )
    assert generations(google) == before
    rows = write_slice(green, day, google, "green")
    assert read(google, "green/2021/01/15/daily-trips.parquet").num_rows == rows > 0


def test_a_day_without_trips_is_refused_and_what_is_there_stays(google: GoogleSettings, months: Months) -> None:
    file = months.judged("green", "2021-01", "dtc", 2_000)
    put(google, "2021/03/09/daily-trips.parquet", b"what was there", {"service": "green"})
    before = generations(google)
    with pytest.raises(NotATripFile) as refused:
        write_slice(file, date(2021, 3, 9), google)
    assert str(refused.value) == (
        f"{file.url}: no accepted trip was picked up on 2021-03-09; "
        f"gs://{google.bucket}/2021/03/09/daily-trips.parquet is as it was"
    )
    assert generations(google) == before


def test_a_slice_has_no_rejected_trip(google: GoogleSettings, months: Months) -> None:
    strict = months.judged("green", "2021-01", "dtc", 2_000, rules="has_passengers,positive_distance")
    everything = months.judged("green", "2021-01", "dtc", 2_000, rules="none")
    day = date(2021, 1, 15)
    kept, all_rows = write_slice(strict, day, google, "kept"), write_slice(everything, day, google, "all")
    table = read(google, "all/2021/01/15/daily-trips.parquet")
    passing = table.filter(pc.and_(pc.greater(table["passenger_count"], 0), pc.greater(table["trip_distance"], 0)))
    assert 0 < kept == len(passing) < all_rows == len(table)
    assert sorted_rows(passing).equals(sorted_rows(read(google, "kept/2021/01/15/daily-trips.parquet")))
