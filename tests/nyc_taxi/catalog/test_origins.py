"""What an origin declares is checked where it is declared, and how it is packed is told by the name itself."""

from typing import Any

import pytest
from nyc_taxi.catalog.origins import ORIGINS, Origin
from nyc_taxi.errors import UnknownName
from nyc_taxi.months import Month


def origin(file: str, **more: Any) -> Origin:
    """An origin of one's own."""
    return Origin("own", "https://bikes.example", "BIKES_BASE_URL", file, {"green": Month(2023, 1)}, **more)


@pytest.mark.parametrize(
    ("file", "name", "suffix"),
    [
        ("{month.year}/{month.number:02d}-rides.csv.gz", "2024/05-rides.csv.gz", "csv.gz"),
        ("JC-{month.year}{month.number:02d}-citibike-tripdata.csv.zip", "JC-202405-citibike-tripdata.csv.zip", "zip"),
        ("v1.2-{month}.csv.gz", "v1.2-2024-05.csv.gz", "csv.gz"),
        ("{service}/{month}.csv", "green/2024-05.csv", "csv"),
        ("{service}.{month}.zip", "green.2024-05.zip", "zip"),
        ("raw/{month.year}/{service}_{month}.parquet", "raw/2024/green_2024-05.parquet", "parquet"),
    ],
)
def test_the_packing_is_that_of_the_formatted_name(file: str, name: str, suffix: str) -> None:
    own = origin(file)
    assert (own.files_of("green", Month(2024, 5)), own.suffix) == ([name], suffix)
    assert not own.holds_other_months


def test_the_packings_of_the_two_public_origins() -> None:
    assert {name: origin.suffix for name, origin in ORIGINS.items()} == {"dtc": "csv.gz", "tlc": "parquet"}


@pytest.mark.parametrize("file", ["{month}.xlsx", "{month}", "{month}.csv.bz2", "{month}.gz", "{month}-parquet"])
def test_an_unknown_packing_is_refused_where_the_origin_is_declared(file: str) -> None:
    with pytest.raises(UnknownName) as refused:
        origin(file)
    assert str(refused.value) == (
        f"origin own: file '{file}' ends with none of .csv.gz, .csv, .zip, .parquet, which are what can be read"
    )


@pytest.mark.parametrize("file", ["{moth}.csv", "{month.day}.csv", "{}.csv", "{month:02d}.csv", "{month.csv"])
def test_a_name_that_cannot_be_filled_in_is_refused_where_the_origin_is_declared(file: str) -> None:
    with pytest.raises(UnknownName, match=r"^origin own: file '.*' cannot be filled in \(.*; it may have \{service\}"):
        origin(file)


def test_an_origin_may_have_a_file_for_each_day() -> None:
    own = origin("{service}/{day}.csv")
    assert own.files_of("green", Month(2024, 2)) == [f"green/2024-02-{day:02d}.csv" for day in range(1, 30)]
    assert origin("{day:%Y/%m/%d}/rides.zip").files_of("green", Month(2023, 12))[-1] == "2023/12/31/rides.zip"
    assert not own.holds_other_months


@pytest.mark.parametrize("file", ["{month.year}.csv", "rides.csv.gz", "{service}-{day:%Y}.zip"])
def test_a_file_may_hold_more_than_a_month(file: str) -> None:
    own = origin(file)
    assert own.holds_other_months
    assert len(own.files_of("green", Month(2024, 5))) == 1


def test_the_files_of_the_two_public_origins_hold_one_month() -> None:
    assert not any(origin.holds_other_months for origin in ORIGINS.values())
