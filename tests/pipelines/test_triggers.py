"""The triggers as code: what Mage makes of every file, when they fire, and for which month."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from mage_ai.data_preparation.models.triggers import Trigger, load_trigger_configs
from mage_ai.shared.croniter import croniter
from mage_ai.shared.environments import get_env
from nyc_taxi.months import Month
from nyc_taxi.run import longest_wait, run_context

from ops.commands.triggers import KEPT_IN_CODE, MAGE_ENVS

PIPELINES = Path(__file__).resolve().parents[2] / "magic-zoomcamp" / "pipelines"
FILES = sorted(PIPELINES.glob("*/triggers.yaml"))
MONTHLY = [PIPELINES / name / "triggers.yaml" for name in ("api_to_postgres", "api_to_gcs", "gcs_to_bigquery")]
SHORTEST_MONTH = timedelta(days=28)


def triggers(path: Path) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = yaml.safe_load(path.read_text())["triggers"]
    return loaded


def monthly(path: Path) -> dict[str, Any]:
    return next(trigger for trigger in triggers(path) if trigger["name"] == "yellow_monthly")


def month_of(path: Path, **given: object) -> Month:
    """The month that a run of the monthly trigger loads, from the variables that Mage gives it."""
    declared = yaml.safe_load(path.with_name("metadata.yaml").read_text())["variables"]
    return run_context(declared | monthly(path)["variables"] | {"pipeline_run_id": 1} | given).month


def test_the_pipelines_that_run_by_themselves_have_triggers() -> None:
    scheduled = {"api_to_postgres", "api_to_gcs", "gcs_to_bigquery", "green_taxi_etl"}
    assert scheduled <= {path.parent.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_mage_reads_every_trigger_of_a_file(path: Path) -> None:
    read = load_trigger_configs(path.read_text(), path.parent.name, str(path), raise_exception=True)
    assert [trigger.name for trigger in read] == [trigger["name"] for trigger in triggers(path)]
    assert len({trigger.name for trigger in read}) == len(read)
    assert all(trigger.has_valid_schedule_interval for trigger in read)


@pytest.mark.parametrize("key", ["name", "schedule_type", "schedule_interval", "start_time"])
def test_mage_drops_a_trigger_that_lacks_a_key(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    webhook = {name: value for name, value in triggers(MONTHLY[0])[1].items() if name != key}
    read = load_trigger_configs(yaml.safe_dump({"triggers": [webhook]}), "api_to_postgres", "project")
    assert read == []
    assert "Failed to parse trigger config for pipeline api_to_postgres" in capsys.readouterr().out


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_a_file_is_in_the_form_that_mage_writes_and_keeps_no_token(path: Path) -> None:
    every_key = set(Trigger("", "", None, None, "").to_dict())
    assert yaml.safe_dump(yaml.safe_load(path.read_text())) == path.read_text()
    for trigger in triggers(path):
        assert set(trigger) == every_key, trigger["name"]
        assert (trigger["token"], trigger["start_time"]) == (None, None)
        assert trigger["last_enabled_at"] is None or trigger["status"] == "active"
        assert trigger["description"].endswith(KEPT_IN_CODE)
        endless = trigger["schedule_interval"] == "@always_on"  # its run is never late, for it never ends
        assert trigger["schedule_type"] == "api" or endless or trigger["sla"] >= 3600


def test_the_homework_runs_every_day_at_five_utc() -> None:
    [daily] = triggers(PIPELINES / "green_taxi_etl" / "triggers.yaml")
    assert daily["schedule_interval"] == "0 5 * * *"
    fires = croniter(daily["schedule_interval"], datetime(2026, 2, 27, 12, tzinfo=UTC))
    assert [fires.get_next(datetime) for _ in range(3)] == [
        datetime(2026, 2, 28, 5, tzinfo=UTC),
        datetime(2026, 3, 1, 5, tzinfo=UTC),
        datetime(2026, 3, 2, 5, tzinfo=UTC),
    ]


@pytest.mark.parametrize("path", MONTHLY, ids=lambda path: path.parent.name)
@pytest.mark.parametrize(
    ("now", "fired", "month"),
    [
        ("2026-03-15T06:00:09", "2026-03-15T06:00:00", "2026-01"),
        ("2026-04-15T05:59:59", "2026-03-15T06:00:00", "2026-01"),
        ("2026-03-31T23:59:59", "2026-03-15T06:00:00", "2026-01"),
        ("2026-03-01T00:00:00", "2026-02-15T06:00:00", "2025-12"),
        ("2026-01-31T10:00:00", "2026-01-15T06:00:00", "2025-11"),
        ("2024-02-29T10:00:00", "2024-02-15T06:00:00", "2023-12"),
    ],
)
def test_a_monthly_trigger_loads_the_month_before_the_last_one(path: Path, now: str, fired: str, month: str) -> None:
    # As Mage does: the latest moment of the cron expression is the execution date.
    interval = monthly(path)["schedule_interval"]
    date = croniter(interval, datetime.fromisoformat(now).replace(tzinfo=UTC)).get_prev(datetime)
    assert date == datetime.fromisoformat(fired).replace(tzinfo=UTC)
    assert str(month_of(path, execution_date=date)) == month
    assert str(month_of(path, execution_date=date.replace(tzinfo=None))) == month


@pytest.mark.parametrize("day", [29, 30, 31])
@pytest.mark.parametrize("zone", [None, UTC])
@pytest.mark.parametrize(("number", "month"), [(1, "2020-11"), (3, "2021-01"), (12, "2021-10")])
def test_the_days_at_a_months_end_belong_to_their_month(day: int, zone: Any, number: int, month: str) -> None:
    date = datetime(2021, number, day, 23, 59, 59, tzinfo=zone)
    assert str(month_of(MONTHLY[0], execution_date=date)) == month
    assert str(month_of(MONTHLY[0], execution_date=date.isoformat())) == month


def test_the_month_comes_from_nothing_else_that_mage_says_of_a_run() -> None:
    wrong = datetime(1999, 5, 31)
    others: dict[str, object] = dict.fromkeys(("interval_start_datetime", "interval_end_datetime"), wrong)
    others |= {"interval_start_datetime_previous": wrong, "interval_seconds": 1.0, "ds": "1999-05-31", "hr": "23"}
    date = datetime(2021, 3, 29, tzinfo=UTC)
    assert str(month_of(MONTHLY[0], execution_date=date, default_date="1999-05-31", **others)) == "2021-01"


def test_the_monthly_triggers_are_about_the_same_month_and_end_before_the_next_one() -> None:
    to_postgres, to_lake, to_warehouse = (monthly(path) for path in MONTHLY)
    of_all = ("service", "origin", "month", "month_offset")
    for trigger in (to_postgres, to_lake, to_warehouse):
        assert trigger["envs"] == ["prod"]
        assert trigger["schedule_interval"] == to_lake["schedule_interval"]
        assert [trigger["variables"][name] for name in of_all] == ["yellow", "tlc", "", -2]
        # A message while there is time left, then the error, then the next month: no run waits for another.
        assert timedelta(seconds=trigger["sla"]) < longest_wait(trigger["variables"]) < SHORTEST_MONTH
        # A month that is skipped would be lost.
        assert trigger["settings"] == {"pipeline_run_limit": 1, "skip_if_previous_running": False}
    assert longest_wait(to_warehouse["variables"]) > longest_wait(to_lake["variables"])


@pytest.mark.parametrize("said", ["", "dev", "development", "production", "prod", "staging", "test", "test_mage", "x"])
def test_production_is_what_mage_takes_for_it(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENV", said)
    assert get_env() == MAGE_ENVS.get(said, "dev")
    assert (get_env() == "prod") == (said in ("production", "prod"))
