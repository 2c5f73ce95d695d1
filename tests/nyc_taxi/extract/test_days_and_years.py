"""A month of a data set of one's own may be made of a file for each day, or be part of a file for a year."""

from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from nyc_taxi.catalog.origins import ORIGINS, Origin
from nyc_taxi.errors import NotATripFile, NotPublished, TooManyMalformed, UnknownColumn
from nyc_taxi.extract.download import download
from nyc_taxi.extract.published import find_published
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.manifest import StagedFile
from nyc_taxi.months import Month
from nyc_taxi.run import RunContext, run_context
from nyc_taxi.settings import Settings

from ops.stack.trip_server import TripServer

HEADER = "lpep_pickup_datetime,PULocationID"


@pytest.fixture
def own(request: pytest.FixtureRequest, trips: TripServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with an origin of one's own, whose files are named as the test says."""
    origin = Origin("own", trips.url, "OWN_BASE_URL", request.param, {"green": Month(2020, 1)})
    monkeypatch.setitem(ORIGINS, "own", origin)
    settings = Settings.from_environment({"OWN_BASE_URL": trips.url})
    return replace(settings, staging_dir=tmp_path / "staging")


def run_of(settings: Settings, month: str, share: str = "") -> RunContext:
    return run_context({"service": "green", "month": month, "origin": "own", "malformed_share": share}, settings)


def stage(settings: Settings, month: str, share: str = "") -> StagedFile:
    [file] = stage_trip_file(run_of(settings, month, share)).files
    return file


def publish(trips: TripServer, name: str, *lines: str, header: str = HEADER) -> Path:
    path = trips.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in (header, *lines)))
    return path


def days_of(file: StagedFile) -> list[date]:
    return [time.date() for time in pq.read_table(file.path)["lpep_pickup_datetime"].to_pylist()]


FEBRUARY = [date(2020, 2, day) for day in range(1, 30)]
BY_DAY = pytest.mark.parametrize("own", ["{day}.csv", "{day:%Y/%m/%d}/rides.csv"], indirect=True)


def publish_days(trips: TripServer) -> list[Path]:
    """A file of two rows for each day of a February."""
    file = ORIGINS["own"]
    names = file.files_of("green", Month(2020, 2))
    return [
        publish(trips, name, f"{day} 08:00:00,1", f"{day} 09:00:00,2")
        for name, day in zip(names, FEBRUARY, strict=True)
    ]


@BY_DAY
def test_a_file_for_each_day_makes_a_month(own: Settings, trips: TripServer, tmp_path: Path) -> None:
    paths = publish_days(trips)
    file = stage(own, "2020-02")
    assert days_of(file) == [day for day in FEBRUARY for _ in range(2)]
    assert (file.rows_read, file.bytes) == (58, sum(path.stat().st_size for path in paths))
    assert file.url == f"{trips.url}/2020{'-02-*.csv' if '-' in paths[0].name else '/02/*/rides.csv'}"
    left = [path for path in (tmp_path / "staging" / "own" / "green" / "downloads").rglob("*") if path.is_file()]
    assert left == []


@BY_DAY
def test_an_unchanged_month_of_days_is_not_fetched_again_and_a_changed_day_is(own: Settings, trips: TripServer) -> None:
    paths = publish_days(trips)
    file = stage(own, "2020-02")
    assert stage(own, "2020-02") == file
    assert Counter(method for method, _, _ in trips.requests) == {"HEAD": 58, "GET": 29}
    paths[7].write_text(f"{HEADER}\n2020-02-08 10:00:00,3\n")
    changed = stage(own, "2020-02")
    assert (changed.rows_read, changed.etag == file.etag, changed.sha256 == file.sha256) == (57, False, False)


@BY_DAY
def test_a_day_that_is_not_there_is_named(own: Settings, trips: TripServer) -> None:
    paths = publish_days(trips)
    paths[11].unlink()
    with pytest.raises(
        NotPublished, match=r"^green 2020-02 is not published at own \(http://\S+2020.02.12\S*\): it answ"
    ):
        stage(own, "2020-02")


@BY_DAY
def test_days_may_differ_in_their_columns_and_share_the_tolerated_lines(own: Settings, trips: TripServer) -> None:
    paths = publish_days(trips)
    paths[3].write_text("trip_distance,lpep_pickup_datetime\n1.5,2020-02-04 08:00:00\n2.5,2020-02-04 09:00:00\n")
    assert set(stage(own, "2020-02").columns) == {"lpep_pickup_datetime", "PULocationID", "trip_distance"}
    paths[3].write_text(f"{HEADER}\n2020-02-04 08:00:00,1\nbroken\n")
    with pytest.raises(TooManyMalformed, match=r"at least 1 rows cannot be parsed"):
        stage(own, "2020-02")
    file = stage(own, "2020-02", share="0.02")
    assert (file.rows_read, file.malformed) == (58, {"malformed: number of fields": 1})
    paths[3].write_text("a\n1\n")
    with pytest.raises(UnknownColumn):
        stage(own, "2020-02")


YEAR = pytest.mark.parametrize("own", ["{month.year}.csv"], indirect=True)
LINES = [f"{date(2020, month, day)} 08:00:00,{day}" for month in range(1, 13) for day in (1, 28)]


@YEAR
def test_of_a_file_for_a_year_a_month_takes_its_own_rows_and_counts_the_others(
    own: Settings, trips: TripServer, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(trips, "2020.csv", *LINES, ",7", "2019-12-31 23:59:59,8", "2021-01-01 00:00:00,9")
    for month in (2, 12):
        file = stage(own, f"2020-{month:02d}")
        assert days_of(file) == [date(2020, month, 1), date(2020, month, 28)]
        assert (file.rows_read, file.malformed) == (3, {"malformed: lpep_pickup_datetime": 1})
        said = capsys.readouterr().out
        assert f"{trips.url}/2020.csv of green 2020-{month:02d} (own): 24 rows of other months are left out" in said
        assert "WARNING" not in said


@YEAR
def test_a_file_for_a_year_without_rows_of_the_month_is_refused(own: Settings, trips: TripServer) -> None:
    publish(trips, "2020.csv", *LINES[:4])
    with pytest.raises(NotATripFile, match=r"of green 2020-03 \(own\) has no rows"):
        stage(own, "2020-03")


@YEAR
def test_lines_that_cannot_be_read_are_kept_with_each_month_of_the_year(own: Settings, trips: TripServer) -> None:
    publish(trips, "2020.csv", *LINES * 5, "broken")
    for month in ("2020-01", "2020-02"):
        file = stage(own, month)
        assert (file.rows_read, file.malformed) == (11, {"malformed: number of fields": 1})
        assert stage(own, month) == file
    assert Counter(method for method, _, _ in trips.requests) == {"HEAD": 4, "GET": 2}


@pytest.mark.parametrize("own", ["{month.year}.csv", "{month.year}/rides.csv", "{month.number:02d}.csv"], indirect=True)
def test_two_months_fetched_at_once_have_a_place_each(own: Settings, trips: TripServer, tmp_path: Path) -> None:
    runs = [run_of(own, month) for month in ("2020-01", "2020-02", "2021-01")]
    for run in runs:
        for name in run.origin.files_of("green", run.month):
            publish(trips, name, *LINES)
    assert len({download(run, find_published(run), tmp_path / "downloads").path for run in runs}) == 3
