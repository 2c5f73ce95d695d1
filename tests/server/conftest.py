"""A real Mage server for the tests, on a copy of the project with Postgres for its metadata; a browser on its UI."""

import shutil
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pytest
from nyc_taxi.settings import PostgresSettings
from playwright.sync_api import Browser, BrowserContext

from ops.browser.chromium import MISSING, chromium, find_chromium
from ops.browser.mage_ui import MageUi, signed_in
from ops.mage.api import MageApi
from ops.mage.owner import EMAIL, Owner
from ops.mage.server import METADATA_DATABASE, MageServer
from ops.paths import PROJECT
from ops.ports import free_port
from ops.stack.google import GoogleServer
from ops.stack.trip_server import TripServer
from ops.wait import wait_until
from tests.conftest import environment_of, process_environment, sql
from tests.nyc_taxi.live.streaming import OwnBroker
from tests.project_copy import copy_project, retry_at_once
from tests.receivers import WebhookReceiver

TICK_SECONDS = "1"
OWNER = Owner(EMAIL, "a-password", "a-secret")
FINISHED = ("completed", "failed", "cancelled")


@dataclass
class Mage:
    """One server, and what its pipelines reach."""

    server: MageServer
    api: MageApi
    checkout: Path
    """A git checkout of its own: Mage writes into the project that it serves."""
    trips: TripServer
    database: PostgresSettings
    messages: WebhookReceiver
    """Where its Slack messages go to."""

    def runs(self, **query: object) -> list[dict[str, object]]:
        """Pipeline runs as Mage keeps them, newest execution date first."""
        return self.api.list("pipeline_runs", **query)

    def wait_for_runs(self, number: int, seconds: float = 120, **query: object) -> list[str]:
        """The statuses of so many runs when all have ended, oldest execution date first."""
        found = wait(lambda: ended if len(ended := self.ended(**query)) >= number else None, seconds, f"{number} runs")
        return [str(run["status"]) for run in found][::-1]

    def ended(self, **query: object) -> list[dict[str, object]]:
        """Runs that have ended."""
        return [run for run in self.runs(**query) if run["status"] in FINISHED]

    @property
    def metadata(self) -> PostgresSettings:
        """Mage's own database, for `sql`."""
        return replace(self.database, dbname=METADATA_DATABASE)

    def running_blocks(self, run: int) -> list[str]:
        """The blocks of a run that are at work now."""
        blocks = self.api.get("pipeline_runs", run)["block_runs"]
        return [block["block_uuid"] for block in blocks if block["status"] == "running"]

    def changed_files(self) -> str:
        """What git says that Mage changed in the checkout; empty when nothing."""
        command = ["git", "status", "--short"]
        return subprocess.run(command, cwd=self.checkout, capture_output=True, text=True, check=True).stdout


T = TypeVar("T")


def wait(look: Callable[[], T | None], seconds: float, what: str) -> T:
    """What `look` finds, asked again and again; an assertion that names it when it does not come in time."""
    found = wait_until(look, seconds, 0.2)
    assert found, f"{what} did not come in {seconds} s"
    return found


@pytest.fixture(scope="package")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git checkout of the project as it is here."""
    return made_checkout(tmp_path_factory.mktemp("checkout"))


def made_checkout(folder: Path) -> Path:
    """The folder, made a git checkout of the project, changes included, whose blocks are retried at once."""
    copy_project(folder)
    retry_at_once(folder / PROJECT.name)
    who = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "as it is"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="package")
def mage(
    checkout: Path,
    server: PostgresSettings,
    google_server: GoogleServer,
    one_broker: OwnBroker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Mage]:
    """The server of these tests, with an empty folder of trip files; a test takes a service or months of its own."""
    folder = tmp_path_factory.mktemp("mage")
    with serving(checkout, server, google_server, folder, NATS_URL=one_broker.url) as running:
        keep_workers(running.api)
        yield running


@contextmanager
def serving(
    checkout: Path, server: PostgresSettings, google_server: GoogleServer, folder: Path, **settings: str
) -> Iterator[Mage]:
    """A server of a checkout, with these settings too; `folder` is for its trip files and all that it writes."""
    with TripServer(folder / "trips") as trips, WebhookReceiver() as messages:
        env = {
            **process_environment(),
            **google_server.environment(),
            **environment_of(server),
            "TLC_DTC_BASE_URL": trips.dtc_base_url,
            "TLC_PARQUET_BASE_URL": trips.tlc_base_url,
            "STAGING_DIR": str(folder / "staging"),
            "REPORTS_DIR": str(folder / "reports"),
            "MAGE_DATA_DIR": str(folder / "data"),
            "SCHEDULER_TRIGGER_INTERVAL": TICK_SECONDS,
            "SLACK_WEBHOOK_URL": messages.url,
            **settings,
        }
        project, log = checkout / "magic-zoomcamp", folder / "mage.log"
        with MageServer(env, free_port(), project, log, OWNER) as running:
            api = MageApi(running.url, OWNER.email, OWNER.password)
            yield Mage(running, api, checkout, trips, server, messages)


@pytest.fixture(autouse=True)
def clean_slate(request: pytest.FixtureRequest) -> None:
    """No trip files and no tables of an earlier test, for a test that uses the server."""
    if "mage" in request.fixturenames:
        mage: Mage = request.getfixturevalue("mage")
        for published in mage.trips.folder.iterdir():
            shutil.rmtree(published)
        sql(mage.database, "DROP SCHEMA IF EXISTS ny_taxi CASCADE")


def keep_workers(api: MageApi) -> None:
    """
    Start a run that waits, for longer than the tests take, for a trip file that never comes.

    Mage's pool of workers ends whenever it has nothing to do, and a run that is queued in that moment is not begun
    before the next one is. With a run that goes on, the pool never ends.
    """
    never = {"service": "fhv", "month": "2019-12", "wait_hours": 24}
    trigger = api.create("pipelines/api_to_gcs/pipeline_schedules", name="waits", schedule_type="api", status="active")
    api.create(f"pipeline_schedules/{trigger['id']}/pipeline_runs", variables=never)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One Chromium for these tests, where the system has one."""
    if find_chromium() is None:
        pytest.skip(MISSING)
    with chromium() as running:
        yield running


@pytest.fixture(scope="package")
def person(browser: Browser, mage: Mage) -> Iterator[BrowserContext]:
    """The browser profile of a person who has signed in, once."""
    with signed_in(browser, mage.server.url, OWNER.email, OWNER.password) as context:
        yield context


@pytest.fixture
def ui(person: BrowserContext, tmp_path: Path) -> Iterator[MageUi]:
    """A new tab of the signed-in person; `tmp_path` is where a failure leaves its picture."""
    with person.new_page() as page:
        yield MageUi(page)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say with a failure what the tab showed, and where its picture is."""
    report = yield
    given = item.funcargs if isinstance(item, pytest.Function) else {}
    tab, folder = given.get("ui"), given.get("tmp_path")
    if report.when == "call" and report.failed and isinstance(tab, MageUi) and isinstance(folder, Path):
        report.sections.append(("the tab", tab.look(folder)))
    return report
