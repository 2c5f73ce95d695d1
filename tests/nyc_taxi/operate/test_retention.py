"""What may go after so many days, and what never does."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from filelock import FileLock
from nyc_taxi.errors import UnknownName
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.operate.retention import Run, cutoff, old_runs, remove_run_folders, remove_staged_files
from nyc_taxi.settings import Settings

from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.conftest import run_of

NOW = datetime.now(UTC)
BEFORE = NOW - timedelta(days=30)


def aged(path: Path, days: float, text: str = "12345") -> Path:
    """A file that was last used so many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(text)
    age(path, days)
    return path


def age(path: Path, days: float) -> None:
    moment = time.time() - days * 86_400
    for each in (*path.rglob("*"), path):
        os.utime(each, (moment, moment))


def run(number: int, days: float, status: str = "completed", trigger: int = 1) -> Run:
    when = NOW - timedelta(days=days)
    return Run(number, trigger, when, status, when)


def test_days_are_counted_back_from_now() -> None:
    before = datetime.now(UTC)  # not NOW, which is when the tests were collected: minutes ago, in a whole run
    thirty = cutoff({"keep_days": 30}) + timedelta(days=30)
    assert before <= thirty <= datetime.now(UTC)
    assert cutoff({"keep_days": "1"}) > BEFORE


@pytest.mark.parametrize("days", ["", 0, -1, "a month", 4_000, 1.5, None])
def test_days_that_are_none_are_refused(days: object) -> None:
    with pytest.raises(UnknownName, match="is not a whole number of days from 1 to 3,650, such as 30"):
        cutoff({"keep_days": days})


def test_finished_runs_go_when_they_are_old() -> None:
    runs = [run(1, 40), run(2, 35, "failed"), run(3, 31, "cancelled"), run(4, 29), run(5, 1)]
    assert old_runs(runs, BEFORE) == [1, 2, 3]


def test_active_runs_stay_however_old_they_are() -> None:
    assert old_runs([run(1, 90, "running"), run(2, 90, "initial"), run(3, 1)], BEFORE) == []


def test_the_latest_run_of_each_trigger_stays_for_without_it_the_trigger_would_fire_again() -> None:
    monthly, once = [run(1, 95), run(2, 65), run(3, 35)], [run(4, 80, "failed", trigger=2)]
    assert old_runs([*monthly, *once], BEFORE) == [1, 2]
    retried = Run(5, 1, monthly[2].execution_date, "failed", monthly[2].changed)
    assert old_runs([*monthly, retried], BEFORE) == [1, 2], "a retry has the date of what it repeats"


def test_a_run_of_an_old_month_that_ended_today_is_new() -> None:
    backfilled = Run(1, 1, datetime(2021, 1, 1, tzinfo=UTC), "completed", NOW)
    assert old_runs([backfilled, run(2, 0)], BEFORE) == []


def test_outputs_and_logs_go_when_nothing_was_written_there_lately(tmp_path: Path) -> None:
    variables, logs = (tmp_path / "pipelines" / "api_to_postgres" / name for name in (".variables", ".logs"))
    old = aged(variables / "3" / "20260101T000000_000001" / "load" / "output_0" / "data.parquet", 40)
    age(variables / "3" / "20260101T000000_000001", 40)
    of_known_run = aged(variables / "4" / "20260101T000000" / "load" / "data.parquet", 40)
    age(variables / "4" / "20260101T000000", 40)
    of_backfill = aged(variables / "5" / "20210101T000000" / "load" / "data.parquet", 0)
    of_editor = aged(variables / "load_api_data" / "output_0" / "data.parquet", 40)
    old_log = aged(logs / "3" / "20260101T000000_000001" / "load.log", 40, "123")
    age(logs / "3" / "20260101T000000_000001", 40)
    by_hand = aged(logs / "pipeline.log", 40, "1")
    new_log = aged(logs / "3" / "20260301T000000" / "load.log", 2)

    outputs, of_logs = remove_run_folders(tmp_path, {("api_to_postgres", "4/20260101T000000")}, BEFORE)
    gone = [
        path for path in (old, of_known_run, of_backfill, of_editor, old_log, by_hand, new_log) if not path.exists()
    ]
    assert gone == [old, old_log, by_hand]
    assert (outputs.there, outputs.removed, outputs.bytes_there, outputs.bytes_freed) == (3, 1, 15, 5)
    assert (of_logs.there, of_logs.removed, of_logs.bytes_there, of_logs.bytes_freed) == (3, 2, 9, 4)
    assert not (variables / "3").exists(), "the trigger's folder goes with its last run's"
    assert (logs / "3").exists()


def test_a_month_that_no_run_asked_for_is_fetched_anew_by_the_next_one(settings: Settings, trips: TripServer) -> None:
    for month in ("2021-01", "2021-02"):
        generate("yellow", month, "dtc", 2_000, trips.folder, malformed=3)
        stage_trip_file(run_of(settings, "yellow", month, "dtc"))
    folder = settings.staging_dir / "dtc" / "yellow"
    age(folder, 40)
    [february] = stage_trip_file(run_of(settings, "yellow", "2021-02", "dtc")).files
    assert len(trips.requests) == 5, "February was there, and was asked for again today"
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}

    cleaned = remove_staged_files(settings.staging_dir, BEFORE)
    assert (cleaned.there, cleaned.removed) == (2, 1)
    assert cleaned.bytes_freed == sum(size for name, size in sizes.items() if name.startswith("2021-01"))
    assert cleaned.bytes_there == sum(sizes.values())
    assert february.rows_staged == 1_997
    assert not [path for path in folder.iterdir() if path.name.startswith("2021-01")]

    [january] = stage_trip_file(run_of(settings, "yellow", "2021-01", "dtc")).files
    assert january.rows_staged == 1_997


def test_a_month_that_is_being_staged_stays(tmp_path: Path) -> None:
    part = aged(tmp_path / "tlc" / "fhvhv" / "downloads" / "fhvhv_tripdata_2025-01.parquet.part", 40)
    with FileLock(tmp_path / "tlc" / "fhvhv" / ".2025-01.lock"):
        assert remove_staged_files(tmp_path, BEFORE).removed == 0
    assert part.exists()
    assert remove_staged_files(tmp_path, BEFORE).removed == 1
    assert not part.exists()


def test_files_of_no_month_go_when_they_are_old_and_a_result_of_a_pipeline_stays(tmp_path: Path) -> None:
    homework, zones = (aged(tmp_path / name, 40) for name in ("green_taxi/0123.parquet", "tlc/taxi_zone_lookup.csv"))
    used, result = aged(tmp_path / "green_taxi" / "4567.parquet", 3), aged(tmp_path / "titanic_clean.csv", 90)
    cleaned = remove_staged_files(tmp_path, BEFORE)
    assert (cleaned.there, cleaned.removed, cleaned.bytes_freed) == (3, 2, 10)
    assert [path.exists() for path in (homework, zones, used, result)] == [False, False, True, True]


def test_a_machine_that_has_staged_nothing_yet_is_clean(tmp_path: Path) -> None:
    assert remove_staged_files(tmp_path / "nothing", BEFORE).there == 0
    assert [each.there for each in remove_run_folders(tmp_path / "nothing", set(), BEFORE)] == [0, 0]
