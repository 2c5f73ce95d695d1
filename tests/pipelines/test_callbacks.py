"""What Mage's scheduler does with a pipeline's condition, sensor and callback: in real runs, on a real Postgres."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nyc_taxi.settings import PostgresSettings

from ops.paths import PROJECT
from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.conftest import sql
from tests.pipelines.scheduled import scheduled_runs
from tests.project_copy import retry_at_once
from tests.receivers import WebhookReceiver

pytestmark = pytest.mark.mage

GREEN: dict[str, object] = {"service": "green", "month": "2020-10"}
FAILED = "SELECT pipeline, block, service, file_month::text, origin, run_id, error FROM ny_taxi.load_audit"


def test_a_month_that_is_unchanged_costs_one_head_request(
    env: dict[str, str], trips: TripServer, database: PostgresSettings
) -> None:
    generate("green", "2020-10", "dtc", 2_000, trips.folder)
    [first, second, forced], said = scheduled_runs("api_to_postgres", [GREEN, GREEN, GREEN | {"force": True}], env)
    assert (first.status, second.status, forced.status) == ("completed",) * 3
    assert set(first.blocks.values()) == set(forced.blocks.values()) == {"completed"}
    assert set(second.blocks.values()) == {"condition_failed"}
    assert len(second.blocks) == 5
    asked = [method for method, _, _ in trips.requests]
    # The sensor's and the loader's; then the condition's alone; then the sensor's and the loader's.
    assert asked == ["HEAD", "HEAD", "GET", "HEAD", "HEAD", "HEAD"]
    assert said.count("Nothing new: ") == 1
    assert sql(database, "SELECT status FROM ny_taxi.load_audit") == [("loaded",)] * 2


def test_a_failed_run_is_in_the_audit_and_in_a_message_that_names_the_month(
    env: dict[str, str], trips: TripServer, database: PostgresSettings
) -> None:
    why = (
        f"NotPublished: green 2020-10 is not published at dtc ({trips.dtc_base_url}/green/green_tripdata_2020-10.csv.gz"
        f"): it answered 404, though it should have this month; check the base URL"
    )
    with WebhookReceiver() as slack:
        runs = [GREEN, GREEN | {"service": "purple"}]
        [missing, wrong], _ = scheduled_runs("api_to_postgres", runs, env | {"SLACK_WEBHOOK_URL": slack.url})
    assert (missing.status, wrong.status) == ("failed", "failed")
    assert missing.blocks["trip_file_published"] == wrong.blocks["trip_file_published"] == "failed"
    refused = "UnknownName: service 'purple' is not one of yellow, green, fhv, fhvhv"
    assert sql(database, f"{FAILED} WHERE status = 'failed' ORDER BY load_id") == [
        ("api_to_postgres", "trip_file_published", "green", "2020-10-01", "dtc", str(missing.id), why),
        (
            *("api_to_postgres", "trip_file_published", None, None, None, str(wrong.id)),
            f"{refused} [service=purple month=2020-10 origin=dtc]",
        ),
    ]
    assert missing.errors["trip_file_published"]["message"] == f"green 2020-10 (dtc) trip_file_published: {why}"
    first, second = slack.texts()
    assert first.splitlines()[0] == "api_to_postgres failed (2021-03-01 00:00)"
    assert f"\ngreen 2020-10 (dtc) trip_file_published: {why}\n" in first
    assert f"http://localhost:6789/pipelines/api_to_postgres/runs/{missing.id}" in first
    assert f"service=purple month=2020-10 origin=dtc trip_file_published: {refused}" in second


def test_a_block_that_fails_after_its_retries_has_one_row(
    env: dict[str, str], trips: TripServer, database: PostgresSettings, tmp_path: Path
) -> None:
    project = tmp_path / PROJECT.name
    shutil.copytree(PROJECT, project)
    retry_at_once(project)
    page = trips.folder / "dtc" / "green" / "green_tripdata_2020-10.csv.gz"
    page.parent.mkdir(parents=True)
    page.write_text("<html>not here</html>")
    [run], _ = scheduled_runs("api_to_postgres", [GREEN], env, project)
    assert run.blocks["trip_file_published"] == "completed"
    assert run.blocks["load_api_data"] == "failed"
    assert [method for method, _, _ in trips.requests].count("GET") == 3
    [(_, block, service, month, origin, run_id, error)] = sql(database, FAILED)
    assert (block, service, month, origin, run_id) == ("load_api_data", "green", "2020-10-01", "dtc", str(run.id))
    assert str(error).startswith(f"NotATripFile: {trips.dtc_base_url}/green/green_tripdata_2020-10.csv.gz is no csv.gz")


def test_without_postgres_the_message_is_sent_and_one_line_says_what_is_missing(
    env: dict[str, str], trips: TripServer
) -> None:
    with WebhookReceiver() as slack:
        without = env | {"POSTGRES_PORT": "1", "SLACK_WEBHOOK_URL": slack.url}
        [run], said = scheduled_runs("api_to_postgres", [GREEN], without)
    assert (run.status, run.blocks["trip_file_published"]) == ("failed", "failed")
    assert "Failed to execute on_failure callback" not in said
    assert (
        said.count("The failure is not in ny_taxi.load_audit: Postgres at 127.0.0.1:1/mage as mage: nothing listens")
        == 1
    )
    assert "green 2020-10 (dtc) trip_file_published: NotPublished:" in slack.texts()[0]


SAVE = """
import sys
from pathlib import Path
from mage_ai.settings.repo import set_repo_path
set_repo_path(sys.argv[1])
from mage_ai.data_preparation.models.pipeline import Pipeline
for metadata in Path(sys.argv[1]).glob("pipelines/*/metadata.yaml"):
    Pipeline.get(metadata.parent.name, repo_path=sys.argv[1]).save()
"""


def test_saving_in_mage_leaves_every_pipeline_as_it_is(env: dict[str, str], tmp_path: Path) -> None:
    project = tmp_path / PROJECT.name
    shutil.copytree(PROJECT, project)
    subprocess.run([sys.executable, "-c", SAVE, str(project)], env=env, capture_output=True, check=True)
    for saved in project.glob("pipelines/*/metadata.yaml"):
        # The folder of outputs is this machine's.
        machine = f"variables_dir: {env['MAGE_DATA_DIR']}/{PROJECT.name}\n"
        text = saved.read_text().replace(machine, "variables_dir: /home/src/mage_data/magic-zoomcamp\n")
        assert text == (PROJECT / saved.relative_to(project)).read_text(), saved.parent.name
        assert machine in saved.read_text()
