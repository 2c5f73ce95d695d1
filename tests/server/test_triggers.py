"""Triggers in a server: code against its database, orphans, the webhook's token, and when a schedule fires."""

import json
import shlex
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.commands.triggers import Compared, State, compare, new_token, remove_orphans
from ops.mage.api import MageApiError
from ops.synthetic.generate import generate
from tests.conftest import process_environment, sql
from tests.server.conftest import FINISHED, Mage, wait

EVERY_MINUTE = {
    "name": "every_minute",
    "schedule_type": "time",
    "schedule_interval": "* * * * *",
    "start_time": None,
    "status": "inactive",
    "description": "For a test. Kept in triggers.yaml.",
}
OLD = EVERY_MINUTE | {"name": "old"}


@pytest.fixture
def ticking(mage: Mage) -> Iterator[Path]:
    """Where the triggers.yaml goes of a pipeline that only this test has; all of it is gone afterwards."""
    folder = project(mage) / "pipelines" / "ticking"
    shutil.copytree(folder.with_name("test_config"), folder)
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text()) | {"name": "ticking", "uuid": "ticking"}
    (folder / "metadata.yaml").write_text(yaml.dump(metadata))
    yield folder / "triggers.yaml"
    (folder / "triggers.yaml").unlink(missing_ok=True)
    for trigger in mage.api.list("pipelines/ticking/pipeline_schedules"):
        mage.api.delete("pipeline_schedules", trigger["id"])
    shutil.rmtree(folder)


def project(mage: Mage) -> Path:
    return mage.checkout / "magic-zoomcamp"


def write(path: Path, *triggers: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"triggers": list(triggers)}))


def of_ticking(mage: Mage) -> dict[str, Compared]:
    return {row.trigger: row for row in compare(project(mage), mage.api, "dev") if row.pipeline == "ticking"}


def wait_until(mage: Mage, trigger: str, state: State) -> Compared:
    def seen() -> Compared | None:
        row = of_ticking(mage).get(trigger)
        return row if row and row.state is state else None

    return wait(seen, 30, f"{trigger}: {state}")


def command(mage: Mage, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command, run in the checkout that the server serves."""
    server = {
        "MAGE_URL": mage.server.url,
        "MAGE_PASSWORD": mage.server.owner.password,
        "NYC_TAXI_LOCAL_DIR": str(folder),
    }
    line = [sys.executable, "-m", "ops.cli", "triggers", *arguments]
    env = process_environment() | server
    return subprocess.run(line, cwd=mage.checkout, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_mage_has_every_trigger_in_code_that_is_for_its_environment(mage: Mage, tmp_path: Path) -> None:
    shown = command(mage, tmp_path)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    states = {(row.pipeline, row.trigger): row.state for row in compare(project(mage), mage.api, "dev") if row.code}
    assert states["green_taxi_etl", "green_taxi_daily"] is states["api_to_postgres", "webhook"] is State.SAME
    elsewhere = {key for key, state in states.items() if state is State.ELSEWHERE}
    assert elsewhere >= {(name, "yellow_monthly") for name in ("api_to_postgres", "api_to_gcs", "gcs_to_bigquery")}
    assert shown.stdout.count("only where ENV is prod") == len(elsewhere)
    # The same server would have to have them if it were the production's.
    in_production = {(row.pipeline, row.trigger): row.state for row in compare(project(mage), mage.api, "production")}
    assert {in_production[key] for key in elsewhere} == {State.MISSING}


def test_what_is_no_longer_in_code_is_shown_and_removed_and_what_people_made_stays(
    mage: Mage, ticking: Path, tmp_path: Path
) -> None:
    write(ticking, EVERY_MINUTE, OLD)
    number = (wait_until(mage, "old", State.SAME).mage or {})["id"]
    write(ticking, EVERY_MINUTE)
    backfill = mage.api.create("pipelines/ticking/backfills", name="by clicks")["id"]
    day = "2021-01-01 00:00:00"
    mage.api.update("backfills", backfill, start_datetime=day, end_datetime=day, interval_type="day", interval_units=1)
    mage.api.update("backfills", backfill, status="initial")
    mine = {"schedule_type": "time", "status": "inactive"}
    mage.api.create("pipelines/ticking/pipeline_schedules", name="mine", schedule_interval="@daily", **mine)
    mage.api.create("pipelines/ticking/pipeline_schedules", name="one time", schedule_interval="@once", **mine)

    assert {name: (row.state, row.why) for name, row in of_ticking(mage).items()} == {
        "every_minute": (State.SAME, ""),
        "old": (State.ORPHANED, "no longer in code; --remove orphans removes it"),
        "Backfill by clicks": (State.BY_HAND, f"of backfill {backfill}"),
        "mine": (State.BY_HAND, "made in the UI, or by a block"),
        "one time": (State.BY_HAND, "runs once"),
    }
    shown = command(mage, tmp_path)
    assert (shown.returncode, "orphaned" in shown.stdout) == (1, True)

    # An inactive trigger's run waits: what has one is left alone.
    run = mage.api.create(f"pipeline_schedules/{number}/pipeline_runs", variables={})["id"]
    kept = {row.trigger: row for row in remove_orphans(list(of_ticking(mage).values()), mage.api)}
    assert kept["old"].why == "no longer in code, and left until its run has ended"
    mage.api.update("pipeline_runs", run, status="cancelled")

    removed = command(mage, tmp_path, "--remove", "orphans")
    assert (removed.returncode, "removed" in removed.stdout) == (0, True)
    left = {trigger["name"] for trigger in mage.api.list("pipelines/ticking/pipeline_schedules")}
    assert left == {"every_minute", "Backfill by clicks", "mine", "one time"}


def test_the_fields_that_differ_are_named(mage: Mage, ticking: Path, tmp_path: Path) -> None:
    write(ticking, EVERY_MINUTE | {"sla": 60})
    wait_until(mage, "every_minute", State.SAME)
    elsewhere = EVERY_MINUTE | {"sla": 90, "schedule_interval": "5 * * * *", "variables": {"month": "2021-01"}}
    write(tmp_path / "pipelines" / "ticking" / "triggers.yaml", elsewhere | {"start_time": "2021-01-01 00:00:00"})
    [row] = [row for row in compare(tmp_path, mage.api, "dev") if row.trigger == "every_minute"]
    assert (row.state, row.why) == (State.CHANGED, "schedule_interval, sla, start_time, variables")


def test_a_schedule_that_is_on_in_code_fires_from_its_next_time_on_and_for_none_of_those_it_missed(
    mage: Mage, ticking: Path
) -> None:
    began = datetime.now(UTC)
    on = {"status": "active", "last_enabled_at": began - timedelta(hours=1)}
    write(ticking, EVERY_MINUTE | on)

    def fired() -> list[dict[str, Any]] | None:
        runs: list[dict[str, Any]] = mage.api.list("pipeline_runs", pipeline_uuid="ticking")
        return runs if runs and all(run["status"] in FINISHED for run in runs) else None

    runs = wait(fired, 90, "a run of the trigger")
    assert {run["status"] for run in runs} == {"completed"}
    assert {run["pipeline_schedule_name"] for run in runs} == {"every_minute"}
    dates = sorted(datetime.fromisoformat(run["execution_date"]) for run in runs)
    assert timedelta(0) <= dates[0] - began <= timedelta(minutes=1, seconds=5)  # it takes a moment to be seen
    assert len(dates) == len(set(dates)) <= 2  # the second one where the minute has just ended
    # It has runs, and goes all the same when it is an orphan.
    write(ticking, EVERY_MINUTE)
    wait_until(mage, "every_minute", State.SAME)
    write(ticking)
    [row] = remove_orphans(list(of_ticking(mage).values()), mage.api)
    assert row.state is State.REMOVED


def test_a_schedule_that_a_person_turns_on_waits_for_its_next_time(mage: Mage, ticking: Path) -> None:
    yearly = EVERY_MINUTE | {"name": "yearly", "schedule_interval": "0 5 1 1 *"}
    write(ticking, yearly)
    number = (wait_until(mage, "yearly", State.SAME).mage or {})["id"]
    mage.api.update("pipeline_schedules", number, status="active")
    time.sleep(3)  # three ticks of the scheduler
    assert mage.api.list("pipeline_runs", pipeline_uuid="ticking") == []
    # Mage writes the change into the file: code and Mage agree.
    [written] = yaml.safe_load(ticking.read_text())["triggers"]
    assert written["status"] == "active"
    assert written["last_enabled_at"] is not None
    assert of_ticking(mage)["yearly"].state is State.SAME


def test_the_webhook_runs_a_month_for_who_has_its_token_and_tells_the_token_to_nobody(
    mage: Mage, tmp_path: Path
) -> None:
    generate("green", "2025-01", "tlc", 500, mage.trips.folder)
    file = project(mage) / "pipelines" / "api_to_postgres" / "triggers.yaml"
    committed = file.read_bytes()
    handed_out = command(mage, tmp_path, "--new-token", "api_to_postgres/webhook")
    assert handed_out.returncode == 0, handed_out.stderr
    header = tmp_path / "api_to_postgres.webhook.header"
    assert stat.S_IMODE(header.stat().st_mode) == 0o600
    token = header.read_text().split()[-1]
    assert token not in handed_out.stdout + handed_out.stderr
    assert file.read_bytes() == committed, "Mage has written the token, or the file in another form"

    curl = shlex.split(handed_out.stdout.split("A run:\n")[1].replace("\\\n", ""))
    curl[-1] = curl[-1].replace("localhost", "127.0.0.1")
    number = int(curl[-1].split("/")[-2])
    # It is off, which closes nothing; but whenever Mage reads the file it is off again, and what was asked for waits.
    asked = ask(curl)["pipeline_run"]
    assert asked["variables"]["month"] == "2025-01"
    mage.api.update("pipeline_schedules", number, status="active")

    def ended() -> list[object] | None:
        runs = mage.ended(pipeline_uuid="api_to_postgres")
        return [run["status"] for run in runs if run["id"] == asked["id"]] or None

    assert wait(ended, 60, "the run") == ["completed"]
    loads = "SELECT rows_read, origin FROM ny_taxi.load_audit WHERE service = 'green' AND file_month = '2025-01-01'"
    assert sql(mage.database, loads) == [(500, "tlc")]

    before = len(mage.runs(pipeline_uuid="api_to_postgres"))
    header.write_text(f"Authorization: Bearer {token[::-1]}\n")
    refused = ask(curl)  # with HTTP 200, as Mage answers everything
    assert "Invalid token for pipeline schedule ID" in refused["error"]["exception"]
    assert len(mage.runs(pipeline_uuid="api_to_postgres")) == before
    assert mage.server.log is not None
    assert token not in mage.server.log.read_text(errors="replace")
    file.write_bytes(committed)


def ask(curl: list[str]) -> dict[str, Any]:
    """The answer to the line that the command printed."""
    run = subprocess.run([*curl, "--silent", "--noproxy", "*"], capture_output=True, text=True, timeout=60, check=True)
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


def test_only_a_webhook_has_a_token(mage: Mage) -> None:
    with pytest.raises(MageApiError, match="Mage has no API trigger green_taxi_etl/green_taxi_daily"):
        new_token(mage.api, "green_taxi_etl", "green_taxi_daily")
