"""Triggers in code that git brings: what Mage would leave out without a word, and what would stop every other one."""

from dataclasses import MISSING, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from mage_ai.data_preparation.models.triggers import ScheduleInterval, ScheduleStatus, ScheduleType, Trigger
from mage_ai.data_preparation.models.triggers import build_triggers as mages_own
from mage_ai.shared.constants import VALID_ENVS

from ops.container import trigger_check
from ops.container.project_check import faults
from ops.container.trigger_check import trigger_faults
from ops.paths import PROJECT

GOOD: dict[str, Any] = {
    "name": "monthly",
    "schedule_type": "time",
    "schedule_interval": "0 6 15 * *",
    "start_time": None,
    "status": "active",
}
ABSENT = object()
LEFT_OUT = [
    ({"start_time": ABSENT}, "trigger monthly has no start_time, and Mage would leave it out: write start_time: null"),
    ({"schedule_interval": ABSENT}, "has no schedule_interval, and Mage would leave it out: write schedule_interval: "),
    ({"schedule_type": ABSENT}, "has no schedule_type, and Mage would leave it out: write schedule_type: time"),
    ({"name": ABSENT}, "trigger ? has no name, and Mage would leave it out: write name: monthly"),
    ({"cron": "0 6 * * *"}, "has a key cron, for which Mage would leave it out: take that line out"),
    ({"status": "ACTIVE"}, "has status: ACTIVE, for which Mage would leave it out: write one of active, inactive"),
    ({"schedule_type": "cron"}, "has schedule_type: cron, for which Mage would leave it out: write one of api, event"),
    ({"envs": "prod"}, "has envs: prod, for which Mage would leave it out: write envs: [prod]"),
    ({5: "x"}, "has a key 5, for which Mage would leave it out: take that line out"),
    ({"envs": ["production"]}, "has envs: production, for which Mage would leave it out: write one of dev, prod, "),
]
MISBEHAVES = [
    ({"schedule_interval": "0 6 32 * *"}, "has no time that comes: write it as schedule_interval: 0 6 15 * *"),
    ({"schedule_interval": None}, "has no time that comes: write it as schedule_interval: 0 6 15 * *"),
    ({"schedule_interval": "0 6 30 2 *"}, "has no time that comes: write it as schedule_interval: 0 6 15 * *"),
    ({"sla": "1d"}, "has sla: 1d: write a whole number, or null"),
    ({"settings": {"pipeline_run_limit": "two"}}, "has pipeline_run_limit: two: write a whole number, or null"),
    ({"settings": ["timeout"]}, "has settings that are no keys with values: ['timeout']"),
    ({"variables": ["month"]}, "has variables that are no keys with values: ['month']"),
    ({"start_time": "tomorrow"}, "has start_time: tomorrow: write it as 2026-01-15 06:00:00, or null"),
    ({"last_enabled_at": "now"}, "has last_enabled_at: now: write it as 2026-01-15 06:00:00, or null"),
    (
        {"schedule_interval": "@daily", "settings": {"landing_time_enabled": True}},
        "has a landing time and does not say which: write it as start_time: 2026-01-15 06:00:00",
    ),
]


def changed(change: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in (GOOD | change).items() if value is not ABSENT}


@pytest.mark.parametrize(("change", "said"), LEFT_OUT + MISBEHAVES)
def test_a_trigger_that_would_not_do_what_it_says_is_a_line_with_what_to_write(
    change: dict[str, Any], said: str
) -> None:
    [fault] = trigger_faults({"triggers": [changed(change)]})
    assert said in fault


@pytest.mark.parametrize("change", [change for change, _ in LEFT_OUT])
def test_mage_leaves_out_what_is_said_to_be_left_out(
    change: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert mages_own([changed(change)], "api_to_postgres") == []
    assert "Failed to parse trigger config" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"schedule_interval": "@monthly"},
        # As Mage's web UI may save numbers.
        {"settings": {"pipeline_run_limit": "2", "timeout": 60}, "sla": 600, "variables": None},
        {"schedule_type": "api", "schedule_interval": None},
        # Since when it is on: what git says of it does not count.
        {"start_time": datetime(2026, 1, 15, 6), "last_enabled_at": datetime(2026, 1, 1), "envs": ["prod"]},
    ],
    ids=("as it is", "once a month", "numbers", "a webhook", "dates"),
)
def test_a_trigger_that_mage_takes_is_none(change: dict[str, Any]) -> None:
    assert list(trigger_faults({"triggers": [changed(change)]})) == []
    assert len(mages_own([changed(change)], "api_to_postgres")) == 1


def test_two_of_a_name_are_one_too_many() -> None:
    assert list(trigger_faults({"triggers": [GOOD, GOOD]})) == [
        "trigger monthly is there twice: give each its own name"
    ]


def test_something_else_is_no_trigger() -> None:
    assert list(trigger_faults({"triggers": ["monthly"]})) == ["triggers holds something that is no trigger: 'monthly'"]


@pytest.mark.parametrize("triggers", [5, "monthly", {"monthly": GOOD}])
def test_what_is_no_list_has_no_triggers(triggers: object) -> None:
    assert list(trigger_faults({"triggers": triggers})) == [f"triggers is no list: {triggers!r}"]


def test_a_trigger_of_every_key_as_mages_own_web_ui_writes_it_is_right() -> None:
    now = datetime(2026, 1, 15, 6, tzinfo=UTC)
    full = Trigger.load(config=GOOD | {"pipeline_uuid": "p", "start_time": now, "last_enabled_at": now}).to_dict()
    assert list(trigger_faults(yaml.safe_load(yaml.safe_dump({"triggers": [full]})))) == []


def test_what_is_looked_for_is_what_mage_asks_for() -> None:
    needed = {field.name for field in fields(Trigger) if field.default is MISSING and field.default_factory is MISSING}
    assert {*trigger_check.NEEDED} == needed - {"pipeline_uuid"}, "which Mage knows by the folder"
    assert {field.name for field in fields(Trigger)} == trigger_check.KNOWN
    assert {
        "envs": tuple(sorted(VALID_ENVS)),
        "schedule_type": tuple(sorted(ScheduleType)),
        "status": tuple(sorted(ScheduleStatus)),
    } == trigger_check.ONE_OF
    for interval in ScheduleInterval:
        assert list(trigger_faults({"triggers": [changed({"schedule_interval": str(interval)})]})) == []


def test_it_is_part_of_what_is_asked_of_every_commit(tmp_path: Path) -> None:
    pipeline = tmp_path / "pipelines" / "api_to_postgres"
    pipeline.mkdir(parents=True)
    (tmp_path / "metadata.yaml").write_text("{}\n")
    (pipeline / "metadata.yaml").write_text("blocks: []\n")
    (pipeline / "triggers.yaml").write_text(yaml.safe_dump({"triggers": [changed({"start_time": ABSENT})]}))
    assert "pipelines/api_to_postgres/triggers.yaml: trigger monthly has no start_time" in " ".join(faults(tmp_path))


def test_the_projects_own_triggers_are_right() -> None:
    for path in PROJECT.glob("pipelines/*/triggers.yaml"):
        assert list(trigger_faults(yaml.safe_load(path.read_text()))) == [], path
