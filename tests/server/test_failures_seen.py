"""What a person sees of a run that failed: the reason in the log, and no trigger that seems to be at work."""

import json
from pathlib import Path

import pytest

from tests.server.conftest import Mage, wait

pytestmark = pytest.mark.mage


def test_a_run_once_that_failed_leaves_no_active_trigger_and_its_reason_is_in_the_log_at_level_error(
    mage: Mage,
) -> None:
    trigger = mage.api.create(
        "pipelines/api_to_postgres/pipeline_schedules",
        name="run once",
        schedule_type="time",
        schedule_interval="@once",
        status="active",
        variables={"service": "green", "month": "2019-02", "origin": "dtc"},
    )

    def ended() -> dict[str, object] | None:
        found = mage.ended(pipeline_uuid="api_to_postgres")
        return next((run for run in found if run["pipeline_schedule_id"] == trigger["id"]), None)

    run = wait(ended, 120, "the end of the run")
    assert run["status"] == "failed"
    wait(
        lambda: mage.api.get("pipeline_schedules", trigger["id"])["status"] == "inactive" or None,
        10,
        "the end of its trigger",
    )
    logs = Path(mage.server.env["MAGE_DATA_DIR"]).glob(f"*/pipelines/api_to_postgres/.logs/{trigger['id']}/*/*.log")
    lines = [line for path in logs for line in path.read_text().splitlines() if "Failed to execute" in line]
    entries = [json.loads(line[line.index("{") :]) for line in lines]
    assert entries
    for entry in entries:
        assert entry["level"] == "ERROR"
        assert entry["message"].startswith(
            "Failed to execute block trip_file_published: NotPublished: green 2019-02 is not published at dtc"
        )
        assert "Traceback" in entry["error"]
