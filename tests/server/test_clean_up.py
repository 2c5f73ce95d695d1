"""clean_up on a real Mage server: old runs go with what is theirs; what is active, latest or of another kind stays."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from ops.synthetic.generate import generate
from tests.conftest import sql
from tests.server.conftest import Mage
from tests.server.test_load_many import when_ended

pytestmark = pytest.mark.mage

DAYS = 40


def trigger(mage: Mage, pipeline: str) -> int:
    path = f"pipelines/{pipeline}/pipeline_schedules"
    return int(mage.api.create(path, name="by hand", schedule_type="api", status="active")["id"])


def started(mage: Mage, trigger: int, **variables: object) -> dict[str, Any]:
    return mage.api.create(f"pipeline_schedules/{trigger}/pipeline_runs", variables=variables)


def folders(mage: Mage, trigger: int) -> list[Path]:
    """Outputs and logs of a trigger's runs, oldest first."""
    data = Path(mage.server.env["MAGE_DATA_DIR"]) / "magic-zoomcamp" / "pipelines"
    return sorted(data.glob(f"*/.variables/{trigger}/*")) + sorted(data.glob(f"*/.logs/{trigger}/*"))


def make_old(path: Path) -> None:
    moment = time.time() - DAYS * 86_400
    for each in (*path.rglob("*"), path):
        os.utime(each, (moment, moment))


def test_old_runs_go_with_their_outputs_and_logs_and_everything_else_stays(mage: Mage) -> None:
    generate("fhv", "2019-11", "dtc", 300, mage.trips.folder)
    loads, fires, waits = (trigger(mage, name) for name in ("api_to_postgres", "test_config", "example_pipeline"))
    mage.api.update("pipeline_schedules", waits, status="inactive")
    month = {"service": "fhv", "month": "2019-11", "rules": "none"}
    runs = [started(mage, fires) for _ in range(3)]
    assert [when_ended(mage, run["id"])[0] for run in (*runs, started(mage, loads, **month))] == ["completed"] * 4
    waiting = started(mage, waits)
    old = [run["id"] for run in (*runs, waiting)]
    sql(
        mage.metadata,
        f"UPDATE pipeline_run SET updated_at = now() - interval '{DAYS} days' WHERE id IN ({', '.join(map(str, old))})",
    )
    there = folders(mage, fires)
    assert len(there) == 6
    staged = Path(mage.server.env["STAGING_DIR"]) / "dtc" / "fhv"
    report = Path(mage.server.env["REPORTS_DIR"]) / "fhv" / "2019-11" / "report.html"
    report.parent.mkdir(parents=True)
    report.write_text("a report")
    for path in (*there, *staged.glob("2019-11*"), report):
        make_old(path)
    held = "SELECT (SELECT count(*) FROM ny_taxi.fhv_trip_data), (SELECT count(*) FROM ny_taxi.load_audit)"
    before = sql(mage.database, held)

    cleaning = started(mage, trigger(mage, "clean_up"), keep_days=30)
    status, blocks = when_ended(mage, cleaning["id"])
    assert (status, len(blocks)) == ("completed", 4)

    known = sql(mage.metadata, f"SELECT id FROM pipeline_run WHERE id IN ({', '.join(map(str, old))}) ORDER BY 1")
    latest = runs[2]["id"]
    assert known == [(latest,), (waiting["id"],)], "the trigger's latest run, and one that has not run yet"
    orphans = "SELECT count(*) FROM block_run WHERE pipeline_run_id NOT IN (SELECT id FROM pipeline_run)"
    assert sql(mage.metadata, orphans) == [(0,)]
    assert folders(mage, fires) == [there[2], there[5]]
    assert not list(staged.glob("2019-11*"))
    assert report.read_text() == "a report"
    assert sql(mage.database, held) == before

    [table] = mage.api.list(f"block_runs/{blocks['report_clean_up']['id']}/outputs")
    rows = {row[0]: row[1:] for row in table["sample_data"]["rows"]}
    assert {kind: row[1] for kind, row in rows.items()} == {
        "finished and other runs": 2,
        "block outputs": 2,
        "logs": 2,
        "staged files": 1,
    }
    assert all(there == removed + remain for there, removed, _, _, remain, _ in rows.values())
    assert rows["staged files"][3] > 1_000, "bytes freed"

    again = started(mage, loads, **month)
    assert when_ended(mage, again["id"])[0] == "completed", "the month is fetched anew"
