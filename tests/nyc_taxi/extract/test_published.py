"""What the origin publishes is found by one request, and what it does not is named."""

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
from tests.nyc_taxi.extract.downloading import ETAG, NAME, fetch, run_at


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


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("origin", ["dtc", "tlc"])
def test_a_file_that_is_not_there_is_named_with_service_month_origin_and_address(
    status: int, origin: str, waits: list[float], tmp_path: Path
) -> None:
    with BadServer([Answer(status, b"<?xml")]) as server, pytest.raises(NotPublished) as refused:
        fetch(run_at(server.url, origin), tmp_path)
    assert str(refused.value) == (
        f"yellow 2021-01 is not published at {origin} ({server.url}{NAME[origin]}): it answered {status}, though it "
        "should have this month; check the base URL"
    )
    assert (server.count("HEAD"), server.count("GET"), waits) == (1, 0, [])


@pytest.mark.parametrize("status", [403, 404, 410])
@pytest.mark.parametrize("ago", [0, 1, 2])
def test_a_month_that_may_not_be_out_yet_is_not_published_at_once(
    ago: int, status: int, waits: list[float], tmp_path: Path
) -> None:
    this_month = Month(*time.localtime()[:2])
    with BadServer([Answer(status)]) as server, pytest.raises(NotPublished) as refused:
        fetch(run_at(server.url, "tlc", str(this_month.shift(-ago))), tmp_path)
    assert str(refused.value).endswith(
        f": TLC publishes about two months late; newest usual month is {this_month.shift(-2)}"
    )
    assert (server.count("HEAD"), waits) == (1, [])


@pytest.mark.parametrize("origin", ["dtc", "tlc"])
def test_too_many_requests_are_told_from_a_missing_file_by_asking_again(
    origin: str, body: bytes, parquet: bytes, waits: list[float], tmp_path: Path
) -> None:
    content = {"dtc": body, "tlc": parquet}[origin]
    refused, good = Answer(403, b"<?xml", {"Retry-After": "7"}), Answer(200, content, ETAG)
    with BadServer([refused, good], [refused, refused, good]) as server:
        assert fetch(run_at(server.url, origin), tmp_path).path.read_bytes() == content
    assert waits == [7, 7, 7]


def test_a_refusal_that_stays_names_both_causes(waits: list[float], tmp_path: Path) -> None:
    with BadServer([Answer(403, b"<?xml")]) as server, pytest.raises(NotPublished) as refused:
        fetch(run_at(server.url, "tlc"), tmp_path)
    assert str(refused.value) == (
        f"yellow 2021-01 cannot be had from tlc ({server.url}{NAME['tlc']}): 403 in 5 attempts, that is, too many "
        "requests or no such file; run again later, or check the address"
    )
    assert (server.count("HEAD"), waits) == (5, [1, 2, 4, 8])


def test_the_time_of_the_last_change_is_no_version(body: bytes, waits: list[float], tmp_path: Path) -> None:
    """A copy may keep the time of what it replaces."""
    with BadServer([Answer(200, body, {"Last-Modified": "Tue, 05 Jan 2021 10:00:00 GMT"})]) as server:
        assert fetch(run_at(server.url), tmp_path).published.etag == ""


@pytest.mark.parametrize("status", [400, 401, 405])
def test_another_refusal_names_its_status_at_once(status: int, waits: list[float], tmp_path: Path) -> None:
    with BadServer([Answer(status, b"no")]) as server, pytest.raises(DownloadFailed) as refused:
        fetch(run_at(server.url), tmp_path)
    assert str(refused.value) == f"{server.url}{NAME['dtc']} answered {status}: check the base URL"
    assert (server.count("HEAD"), server.count("GET"), waits) == (1, 0, [])
