"""What the origin publishes is found by one request, and what it does not is named."""

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from nyc_taxi.errors import DownloadFailed, NotPublished
from nyc_taxi.extract.published import trip_file_url
from nyc_taxi.months import Month
from nyc_taxi.settings import Settings

from tests.conftest import run_of
from tests.nyc_taxi.extract.bad_server import Answer, BadServer
from tests.nyc_taxi.extract.downloading import NAME, fetch, run_at


@pytest.mark.parametrize(
    ("service", "origin", "expected"),
    [
        ("green", "dtc", "/dtc/green/green_tripdata_2020-11.csv.gz"),
        ("fhvhv", "tlc", "/trip-data/fhvhv_tripdata_2020-11.parquet"),
    ],
)
def test_the_address_is_that_of_the_origin_with_or_without_a_slash_at_the_end(
    service: str, origin: str, expected: str
) -> None:
    for slash in ("", "/"):
        urls = {"dtc": f"http://x/dtc{slash}", "tlc": f"http://x/trip-data{slash}"}
        settings = replace(Settings.from_environment({}), base_urls=urls)
        assert trip_file_url(run_of(settings, service, "2020-11", origin)) == f"http://x{expected}"


@pytest.mark.parametrize("status", [403, 404, 410])
@pytest.mark.parametrize(
    ("origin", "known"),
    [
        ("dtc", "origin dtc ends with 2021-07, newer months are at tlc"),
        ("tlc", "TLC publishes about two months late; newest usual month is \\d{4}-\\d{2}"),
    ],
)
def test_a_file_that_is_not_there_is_named_with_service_month_origin_and_address(
    status: int, origin: str, known: str, waits: list[float], tmp_path: Path
) -> None:
    with BadServer([Answer(status, b"<?xml")]) as server, pytest.raises(NotPublished) as refused:
        fetch(run_at(server.url, origin), tmp_path)
    address = re.escape(server.url + NAME[origin])
    assert re.fullmatch(
        f"yellow 2021-01 is not published at {origin} \\({address}\\): {known}",
        str(refused.value),
    )
    assert (server.count("HEAD"), server.count("GET"), waits) == (1, 0, [])


def test_the_newest_usual_month_is_two_before_this_one(tmp_path: Path) -> None:
    with BadServer([Answer(404)]) as server, pytest.raises(NotPublished) as refused:
        fetch(run_at(server.url, "tlc"), tmp_path)
    this_month = Month(*time.localtime()[:2])
    assert str(refused.value).endswith(f"newest usual month is {this_month.shift(-2)}")


@pytest.mark.parametrize("status", [400, 401, 405])
def test_another_refusal_names_its_status_at_once(status: int, waits: list[float], tmp_path: Path) -> None:
    with BadServer([Answer(status, b"no")]) as server, pytest.raises(DownloadFailed) as refused:
        fetch(run_at(server.url), tmp_path)
    assert str(refused.value) == f"{server.url}{NAME['dtc']} answered {status}: check the base URL"
    assert (server.count("HEAD"), server.count("GET"), waits) == (1, 0, [])
