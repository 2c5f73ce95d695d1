"""
The course's lessons through Mage, each in a new pipeline: by `taxi run`, in a container, by a trigger, in the editor.

docs/course.md says which lesson is which pipeline of this project. Here nothing of them is used but what is dragged in.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime

import pandas as pd
import pytest
from google.cloud.storage import Blob
from mage_ai.settings.server import OAUTH2_APPLICATION_CLIENT_ID as API_KEY
from nyc_taxi.google import bigquery_client, storage_client
from nyc_taxi.settings import GoogleSettings, Settings
from websocket import WebSocket, create_connection

from ops.commands import run
from ops.mage.api import Json
from ops.synthetic.generate import generate
from tests.conftest import image_environment, sql
from tests.server.conftest import Mage
from tests.server.lessons import JANUARY, JULY, LESSONS, Block

pytestmark = pytest.mark.mage
ROWS = {JANUARY: 1_000, JULY: 500}


def pipeline_of(lesson: str) -> str:
    return "course_" + re.sub(r"\W+", "_", lesson.lower())


@pytest.fixture(scope="module")
def made(mage: Mage) -> Iterator[Mage]:
    """The server with the pipelines of the lessons, made as its UI makes them; git finds none of them afterwards."""
    google = google_of(mage)
    own = {"{trips}": mage.trips.dtc_base_url, "{bucket}": google.bucket, "{project}": google.project}
    for lesson, blocks in LESSONS.items():
        pipeline, above = pipeline_of(lesson), ""
        mage.api.create("pipelines", name=pipeline, type="python")
        for block in blocks:
            add_block(mage, pipeline, block, block.below or above, own)
            above = block.name
    yield mage
    for lesson in LESSONS:
        mage.api.delete("pipelines", pipeline_of(lesson))
    subprocess.run(["git", "clean", "-fdq"], cwd=mage.checkout, check=True)


def add_block(mage: Mage, pipeline: str, block: Block, above: str, own: dict[str, str]) -> None:
    """Add a block below another one; one without code is there already."""
    code = block.code
    for sign, value in own.items():
        code = code.replace(sign, value)
    mage.api.create(
        f"pipelines/{pipeline}/blocks",
        name=block.name,
        type=block.type,
        language="sql" if block.sql else "python",
        configuration=block.sql,
        upstream_blocks=[above] if above else [],
        **({"content": code} if code else {}),
    )


def google_of(mage: Mage) -> GoogleSettings:
    return Settings.from_environment(mage.server.env).google


def by_taxi_run(mage: Mage) -> dict[str, str]:
    failures = dict.fromkeys(LESSONS, "")
    for lesson in LESSONS:
        try:
            run.run_pipeline(pipeline_of(lesson), {}, mage.server.env)
        except run.PipelineFailed as failed:
            failures[lesson] = str(failed)
    return failures


def in_a_container(mage: Mage) -> dict[str, str]:
    """As the image starts a command."""
    command = [sys.executable, "-m", "ops.container.start", "mage", "run", "magic-zoomcamp"]
    env = {**mage.server.env, **image_environment(), "NYC_TAXI_LOCAL_DIR": str(mage.checkout / ".local")}
    failures = {}
    for lesson in LESSONS:
        done = subprocess.run(
            [*command, pipeline_of(lesson), "--test"],
            cwd=mage.checkout,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        failures[lesson] = done.stderr if done.returncode else ""
    return failures


def by_a_trigger(mage: Mage) -> dict[str, str]:
    """All at once; without a month, load_api_data would take that of the run."""
    for lesson in LESSONS:
        triggers = f"pipelines/{pipeline_of(lesson)}/pipeline_schedules"
        trigger = mage.api.create(triggers, name="once", schedule_type="api", status="active")
        variables = {"month": JULY} if "load_api_data" in lesson else {}
        mage.api.create(f"pipeline_schedules/{trigger['id']}/pipeline_runs", variables=variables)
    ended = {lesson: mage.wait_for_runs(1, pipeline_uuid=pipeline_of(lesson)) for lesson in LESSONS}
    return {lesson: "" if statuses == ["completed"] else str(statuses) for lesson, statuses in ended.items()}


def in_the_editor(mage: Mage) -> dict[str, str]:
    """A click on each block's play button, from top to bottom."""
    token = str(mage.api._session.headers["OAUTH-TOKEN"])
    url = mage.server.url.replace("http", "ws") + "/websocket/"
    socket = create_connection(url, header=[f"OAUTH-TOKEN: {token}"], origin=mage.server.url, timeout=120)
    with closing(socket):
        failures = {}
        for lesson in LESSONS:
            pipeline = pipeline_of(lesson)
            blocks = mage.api.get("pipelines", pipeline)["blocks"]
            who = {"api_key": API_KEY, "token": token, "pipeline_uuid": pipeline, "run_tests": True}
            failures[lesson] = "".join(click(socket, block, who) for block in blocks)
    return failures


def click(socket: WebSocket, block: Json, who: Json) -> str:
    """Execute a block and wait; what it says of an error."""
    what = {"uuid": block["uuid"], "code": block["content"], "type": block["type"]}
    socket.send(json.dumps({**what, "upstream_blocks": block["upstream_blocks"], **who}))
    failure, said = "", Json()
    while said.get("execution_state") != "idle" or said.get("uuid") != block["uuid"]:
        said = json.loads(socket.recv())
        failure += f"{block['uuid']}: {said['data']}" if said.get("error") else ""
    return failure


WAYS = {"taxi run": by_taxi_run, "a container": in_a_container, "a trigger": by_a_trigger, "the editor": in_the_editor}


@dataclass
class Ran:
    """Every lesson, in one way."""

    mage: Mage
    failures: dict[str, str]
    """What went wrong, by lesson; empty where nothing did."""
    rides: dict[str, pd.DataFrame]
    """By month: what the course's transformer keeps, of the trip file itself."""

    @property
    def objects(self) -> list[str]:
        return [blob.name for blob in objects(self.mage)]


@pytest.fixture(scope="module", params=WAYS)
def ran(request: pytest.FixtureRequest, made: Mage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """All lessons, run in one way where nothing is left of another."""
    rides = {}
    for month, rows in ROWS.items():
        generate("yellow", month, "dtc", rows, made.trips.folder)
        file = made.trips.folder / "dtc" / "yellow" / f"yellow_tripdata_{month}.csv.gz"
        frame = pd.read_csv(file, parse_dates=["tpep_pickup_datetime"], low_memory=False)
        rides[month] = frame[frame["passenger_count"] > 0]
    forget(made, rides[JANUARY])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run, "PROJECT", made.checkout / "magic-zoomcamp")
        patched.setenv("NYC_TAXI_LOCAL_DIR", str(tmp_path_factory.mktemp("local")))
        yield Ran(made, WAYS[request.param](made), rides)


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_runs_as_the_course_writes_it(ran: Ran, lesson: str) -> None:
    assert ran.failures[lesson] == ""
    OUTCOMES[lesson](ran)


def forget(mage: Mage, rides: pd.DataFrame) -> None:
    """Nothing of an earlier way is left; the object that a lesson begins with is there."""
    google = google_of(mage)
    sql(mage.database, "DROP SCHEMA IF EXISTS course CASCADE")
    bigquery_client(google).delete_dataset("course", delete_contents=True, not_found_ok=True)
    for blob in objects(mage):
        blob.delete()
    bucket = storage_client(google).bucket(google.bucket)
    bucket.blob("course/nyc_taxi_data.parquet").upload_from_string(rides.to_parquet())


def objects(mage: Mage) -> list[Blob]:
    google = google_of(mage)
    return list(storage_client(google).list_blobs(google.bucket, prefix="course/"))


def nothing(_: Ran) -> None:
    """That it ran is all that there is."""


def in_postgres(ran: Ran) -> None:
    rides = ran.rides[JANUARY]
    [(rows, total)] = sql(ran.mage.database, "SELECT count(*), sum(total_amount) FROM course.yellow_cab_data")
    assert (rows, total) == (len(rides), pytest.approx(rides["total_amount"].sum()))


def in_the_bucket(ran: Ran) -> None:
    assert "course/nyc_taxi_data.parquet" in ran.objects
    days = ran.rides[JANUARY]["tpep_pickup_datetime"].dt.date
    partitions = {name.split("/")[2] for name in ran.objects if name.startswith("course/by_day/")}
    assert partitions - {""} == {f"tpep_pickup_date={day}" for day in days}  # an object stands for the folder too


def in_bigquery(ran: Ran) -> None:
    for table in ("yellow_cab_data", "by_python"):
        asked = bigquery_client(google_of(ran.mage)).query(f"SELECT count(vendorid) AS rides FROM course.{table}")
        assert [row.rides for row in asked.result()] == [len(ran.rides[JANUARY])], table


def in_a_folder_of_the_day(ran: Ran) -> None:
    [name] = [name for name in ran.objects if name.endswith("daily-trips.parquet")]
    when = datetime.strptime(name, "course/%Y/%m/%d/daily-trips.parquet").date()
    assert abs((date.today() - when).days) <= 1


def of_the_manifest(ran: Ran) -> None:
    assert sql(ran.mage.database, "SELECT count(*) FROM course.from_manifest") == [(len(ran.rides[JULY]),)]


OUTCOMES: dict[str, Callable[[Ran], None]] = dict(
    zip(
        LESSONS,
        (nothing, in_postgres, in_the_bucket, in_bigquery, in_a_folder_of_the_day, of_the_manifest),
        strict=True,
    )
)
