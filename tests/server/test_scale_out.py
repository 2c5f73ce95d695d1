"""One child of load_many as a job on another machine: what Mage would ask for, and that the asked command does it."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ops.mage.server import metadata_url
from ops.paths import ROOT
from ops.synthetic.generate import generate
from tests.conftest import image_environment, sql
from tests.server.conftest import Mage
from tests.server.test_load_many import started, when_ended

pytest.importorskip("google.cloud.run_v2", reason="google-cloud-run, which Mage's executor asks with, is not installed")
pytestmark = pytest.mark.mage

CHILD, MONTH = "load_month:fhv_2019-05", "2019-05"
CLOUD = {
    "LOAD_MONTH_EXECUTOR": "gcp_cloud_run",
    "GOOGLE_CLOUD_PROJECT": "a-project",
    "GCP_REGION": "europe-west1",
    "GCP_SERVICE_NAME": "mage",
}


@pytest.fixture(scope="module")
def child(mage: Mage) -> Mapping[str, Any]:
    """The block run of a child that has loaded a first version of its month on the server."""
    generate("fhv", MONTH, "dtc", 400, mage.trips.folder)
    status, blocks = when_ended(mage, started(mage, services="fhv", **{"from": MONTH, "to": MONTH}))
    assert status == "completed"
    return blocks[CHILD]


def metadata(mage: Mage) -> dict[str, str]:
    """What a process beside the server needs to reach the same runs and the same block outputs."""
    return {**mage.server.env, "MAGE_DATABASE_CONNECTION_URL": metadata_url(mage.server.env)}


def asked_for(mage: Mage, child: Mapping[str, Any], env: Mapping[str, str], *more: str) -> dict[str, Any]:
    project = str(mage.checkout / "magic-zoomcamp")
    command = [sys.executable, "-m", "tests.server.cloud_job", project, "load_many", str(child["id"]), *more]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_one_variable_sends_the_months_to_jobs_of_their_own(
    mage: Mage, child: Mapping[str, Any], tmp_path: Path
) -> None:
    found = asked_for(mage, child, metadata(mage) | CLOUD)
    assert found["executors"] == {
        "choose_months": "BlockExecutor",
        "load_month": "GcpCloudRunBlockExecutor",
        "summarise_loads": "BlockExecutor",
    }
    asked = found["asked"]
    assert asked["parent"] == "projects/a-project/locations/europe-west1"
    assert asked["service"] == f"{asked['parent']}/services/mage"
    assert (asked["image"], asked["seconds"]) == ("the-servers-image", 3_600)

    # The job's machine: the same databases and block outputs, nothing staged yet, and the month's second version.
    generate("fhv", MONTH, "dtc", 700, mage.trips.folder)
    script, program, *arguments = asked["command"]
    assert (script, program) == ("/app/run_app.sh", "mage")
    job = metadata(mage) | CLOUD | {name: str(tmp_path / name) for name in ("STAGING_DIR", "NYC_TAXI_LOCAL_DIR")}
    job |= image_environment()
    # What the script does in the image.
    command = [sys.executable, "-m", "ops.container.start", "--job", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=job, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]

    rows = "SELECT rows_read FROM ny_taxi.load_audit WHERE service = 'fhv' AND file_month = '2019-05-01'"
    assert sql(mage.database, rows) == [(700,)]  # the tables of the first version went before this test
    _, blocks = when_ended(mage, child["pipeline_run_id"])
    assert blocks[CHILD]["status"] == "completed"
    assert blocks[CHILD]["completed_at"] > child["completed_at"], "the job itself says that it is done"
    staged = [path.name for path in (tmp_path / "STAGING_DIR" / "dtc" / "fhv").glob("*.parquet")]
    assert len(staged) == 1, "the job staged its month on its own disk"


def test_every_job_has_a_name_of_its_own_and_the_size_that_is_set(mage: Mage, child: Mapping[str, Any]) -> None:
    sized = {"LOAD_MONTH_JOB_CPU": "2", "LOAD_MONTH_JOB_MEMORY": "8Gi"}
    first, retry = (asked_for(mage, child, metadata(mage) | CLOUD | more)["asked"] for more in ({}, sized))
    assert first["job"] != retry["job"], "a retry is another job, of the present image"
    for asked in (first, retry):
        assert re.fullmatch(rf"mage-block-{child['id']}-[0-9a-f]{{10}}", asked["job"])
        assert asked["started"] == f"{asked['parent']}/jobs/{asked['job']}"
        assert asked["retries"] == 0, "what retries is inside the job"
    assert first["limits"] == {"cpu": "1", "memory": "4Gi"}, "the server's"
    assert retry["limits"] == {"cpu": "2", "memory": "8Gi"}


def test_a_job_that_dies_without_a_word_is_a_failed_block_with_its_reason(mage: Mage, child: Mapping[str, Any]) -> None:
    sql(mage.metadata, f"UPDATE block_run SET status = 'RUNNING' WHERE id = {child['id']}")
    asked_for(mage, child, metadata(mage) | CLOUD, "dies")
    [(status, error)] = sql(
        mage.metadata, f"SELECT status, metrics::json #>> '{{error,message}}' FROM block_run WHERE id = {child['id']}"
    )
    assert status == "FAILED"
    assert str(error).startswith(
        f"fhv {MONTH} (dtc) {CHILD}: JobDied: the job of {CHILD} has ended without a word: its log is in Cloud Logging"
    )
    assert "LOAD_MONTH_JOB_MEMORY" in str(error)
    audited = "SELECT block, pipeline FROM ny_taxi.load_audit WHERE status = 'failed' AND error LIKE 'JobDied%'"
    assert sql(mage.database, audited) == [(CHILD, "load_many")]
