"""Waiting for a month on a real HTTP server and an emulator of Cloud Storage: what is asked, how long, what is said."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from nyc_taxi.errors import DownloadFailed, NotATripFile, NotPublished, TargetUnavailable, UnknownName
from nyc_taxi.google import bucket_of
from nyc_taxi.load.bucket.month import find_month, replace_month
from nyc_taxi.operate import sensors
from nyc_taxi.operate.sensors import wait_until_in_lake, wait_until_published
from nyc_taxi.run import longest_wait
from nyc_taxi.settings import GoogleSettings, Settings

from ops.ports import free_port
from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.nyc_taxi.load.loading import judged

GREEN = {"service": "green", "month": "2020-10", "origin": "dtc"}
SOON = timedelta(milliseconds=50)
A_SECOND = 1 / 3600
"""As wait_hours."""


@dataclass
class Clock:
    """The time of a wait, which passes in its pauses only: what is planned for one comes between two looks."""

    plan: dict[int, Callable[[], object]] = field(default_factory=dict)
    """What happens in which pause; the first one is 1."""
    pauses: int = 0
    now: float = 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses += 1
        self.now += seconds
        if self.pauses in self.plan:
            self.plan[self.pauses]()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock of the test's own in the place of the machine's."""
    clock = Clock()
    monkeypatch.setattr(sensors, "time", clock)
    return clock


@pytest.fixture
def with_lake(settings: Settings, google: GoogleSettings) -> Settings:
    """Settings with a bucket of the test's own."""
    return replace(settings, google=google)


@pytest.mark.parametrize(("given", "hours"), [(None, 0), ("", 0), (0, 0), (480, 480), ("0.5", 0.5), (8784, 8784)])
def test_wait_hours_is_a_number_of_hours(given: object, hours: float) -> None:
    assert longest_wait({"wait_hours": given}) == timedelta(hours=hours)


@pytest.mark.parametrize("given", [-1, 8785, "soon", "nan", "inf", "1e9"])
def test_wait_hours_that_cannot_be_are_refused(given: object) -> None:
    with pytest.raises(UnknownName, match=r"wait_hours '.+' is not a number of hours from 0 to 8,784, such as 480"):
        longest_wait({"wait_hours": given})


# --- at the origin


def test_a_published_file_is_found_with_one_head_request_and_no_download(settings: Settings, trips: TripServer) -> None:
    generate("green", "2020-10", "dtc", 100, trips.folder)
    wait_until_published(GREEN, settings)
    assert trips.requests == [("HEAD", "/dtc/green/green_tripdata_2020-10.csv.gz", 200)]


def test_by_hand_one_look_fails_with_the_known_message(settings: Settings, trips: TripServer) -> None:
    with pytest.raises(NotPublished) as failure:
        wait_until_published(GREEN, settings)
    url = f"{trips.dtc_base_url}/green/green_tripdata_2020-10.csv.gz"
    assert str(failure.value) == (
        f"green 2020-10 is not published at dtc ({url}): it answered 404, though it should "
        "have this month; check the base URL"
    )
    assert len(trips.requests) == 1


def test_a_file_that_comes_while_we_wait_is_found(
    settings: Settings, trips: TripServer, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    clock.plan[2] = lambda: generate("green", "2020-10", "dtc", 100, trips.folder)
    wait_until_published(GREEN | {"wait_hours": 1}, settings, SOON)
    assert [(method, status) for method, _, status in trips.requests] == [("HEAD", 404), ("HEAD", 404), ("HEAD", 200)]
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3
    assert "green 2020-10 is not published at dtc" in said[0]
    assert "looking again in 0 minutes, for 1.0 hours at most" in said[0]


def test_the_end_of_the_wait_names_the_file_its_length_and_what_to_do(
    settings: Settings, trips: TripServer, clock: Clock
) -> None:
    with pytest.raises(NotPublished) as failure:
        wait_until_published(GREEN | {"wait_hours": A_SECOND}, settings, timedelta(seconds=0.4))
    assert str(failure.value).startswith("green 2020-10 is not published at dtc (http")
    assert len(trips.requests) == 4, "at 0, 0.4, 0.8 and 1 seconds"
    assert str(failure.value).endswith(
        "; looked 4 times in 0.0 hours, which is all that wait_hours allows: run again when it is there, or "
        "raise wait_hours"
    )


@pytest.mark.parametrize("month", ["2018-12", "2021-08"])
def test_a_month_that_the_origin_never_has_is_not_waited_for(settings: Settings, trips: TripServer, month: str) -> None:
    with pytest.raises(UnknownName, match=f"green {month} does not exist at origin dtc"):
        wait_until_published(GREEN | {"month": month, "wait_hours": 480}, settings)
    assert trips.requests == []


def test_an_origin_that_stays_silent_is_not_waited_for_until_the_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nyc_taxi.extract.http.ATTEMPTS", 1)
    nowhere = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(DownloadFailed, match=r"could not be fetched .+ check the network and the base URL$"):
        wait_until_published(
            GREEN | {"wait_hours": 480}, replace(settings, base_urls={"dtc": nowhere, "tlc": nowhere}), SOON
        )
    assert capsys.readouterr().out.count("looking again") == sensors.UNANSWERED_LOOKS - 1 == 5


# --- in the lake


def test_by_hand_any_version_in_the_lake_will_do(with_lake: Settings, trips: TripServer) -> None:
    with pytest.raises(NotPublished, match=r"green_tripdata_2020-10\.parquet does not exist: run api_to_gcs for green"):
        wait_until_in_lake(GREEN, with_lake)
    replace_month(judged(with_lake, trips, "green", "2020-10", "dtc", 200), with_lake.google)
    generate("green", "2020-10", "dtc", 200, trips.folder, seed=1)
    asked = len(trips.requests)
    wait_until_in_lake(GREEN, with_lake)
    assert len(trips.requests) == asked, "the origin is not asked"


def test_a_scheduled_run_waits_for_the_version_that_is_published_now(
    with_lake: Settings, trips: TripServer, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_month(judged(with_lake, trips, "green", "2020-10", "dtc", 200), with_lake.google)
    wait_until_in_lake(GREEN | {"wait_hours": 1}, with_lake, SOON)
    assert "of the version that http" in capsys.readouterr().out

    new = judged(with_lake, trips, "green", "2020-10", "dtc", 300, seed=1)
    capsys.readouterr()
    clock.plan[1] = lambda: replace_month(new, with_lake.google)
    wait_until_in_lake(GREEN | {"wait_hours": 1}, with_lake, SOON)
    said = capsys.readouterr().out.splitlines()
    assert "is of another version than http" in said[0]
    assert f"not {new.etag}): run api_to_gcs for green 2020-10; looking again in 0 minutes" in said[0]
    assert "looking again" not in said[-1]
    assert find_month(new.service, new.month, with_lake.google).etag == new.etag


def test_a_scheduled_run_waits_for_the_object(with_lake: Settings, trips: TripServer, clock: Clock) -> None:
    file = judged(with_lake, trips, "green", "2020-10", "dtc", 200)
    with pytest.raises(NotPublished, match=r"does not exist: .+ looked 3 times in 0\.0 hours"):
        wait_until_in_lake(GREEN | {"wait_hours": A_SECOND}, with_lake, timedelta(seconds=0.6))
    clock.plan[clock.pauses + 2] = lambda: replace_month(file, with_lake.google)
    wait_until_in_lake(GREEN | {"wait_hours": 1}, with_lake, SOON)
    assert clock.pauses == 2 + 2


def test_a_wait_sleeps_between_its_looks(settings: Settings, trips: TripServer) -> None:
    began = time.monotonic()
    with pytest.raises(NotPublished):
        wait_until_published(GREEN | {"wait_hours": A_SECOND}, settings, timedelta(seconds=0.4))
    assert time.monotonic() - began >= 1
    assert len(trips.requests) <= 4


def test_a_bucket_that_does_not_answer_or_a_foreign_object_ends_the_wait(
    with_lake: Settings, trips: TripServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate("green", "2020-10", "dtc", 100, trips.folder)
    blob = bucket_of(with_lake.google).blob("trips/green/green_tripdata_2020-10.parquet")
    blob.upload_from_string("no parquet")
    with pytest.raises(NotATripFile, match="is no Parquet file"):
        wait_until_in_lake(GREEN | {"wait_hours": 1}, with_lake, SOON)
    monkeypatch.setattr("nyc_taxi.google.RETRY_SECONDS", 0.1)
    silent = replace(with_lake.google, storage_emulator=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TargetUnavailable, match="it does not answer"):
        wait_until_in_lake(GREEN | {"wait_hours": 1}, replace(with_lake, google=silent), SOON)
