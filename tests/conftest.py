"""What tests share: a real Postgres, Google's emulators, a trip-file server, all their own, and runs against them."""

import os
import signal
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from nyc_taxi.google import storage_client
from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.run import RunContext, run_context
from nyc_taxi.settings import GoogleSettings, PostgresSettings, Settings
from xdist.scheduler import LoadScopeScheduling

from ops.stack import google, postgres
from ops.stack.google import GoogleServer
from ops.stack.trip_server import TripServer

if TYPE_CHECKING:
    from tests.nyc_taxi.live.streaming import OwnBroker

REAL_FILES = Path(__file__).resolve().parents[2] / "shared" / "tlc"
ON_ONE_SERVER = ("tests/server/test_ui_", "tests/server/front_door/", "tests/server/")
"""Files that go to one process together, for each has a Mage of its own: with a browser, for strangers, without."""
LONGEST_FIRST = (
    *ON_ONE_SERVER,
    "tests/test_style.py",
    "tests/test_locks.py",
    "tests/bench/",
    "tests/pipelines/",
    "tests/deploy/",
    "tests/nyc_taxi/load/",
)
"""Side by side, what begins last should be short, or one process works on alone."""


class OneServer(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Side by side, a file's tests go to one process, and those of a Mage server too."""

    def _split_scope(self, nodeid: str) -> str:
        return next((unit for unit in ON_ONE_SERVER if nodeid.startswith(unit)), nodeid.split("::", 1)[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> OneServer | None:
    """Distribute the tests, unless another way is asked for than by files."""
    return OneServer(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_configure() -> None:
    """Let programs that tests start hear Ctrl-C, though a shell that runs the tests in its background ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first."""
    ranks = [(begin, rank) for rank, begin in enumerate((*LONGEST_FIRST, ""))]
    items.sort(key=lambda item: next(rank for begin, rank in ranks if item.nodeid.startswith(begin)))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresSettings]:
    """One Postgres server for the session."""
    data = tmp_path_factory.mktemp("pg") / "data"
    running = postgres.start(data)
    yield PostgresSettings(running.host, running.port, running.dbname, "ny_taxi", running.user, running.password)
    postgres.stop(data)


@pytest.fixture(scope="session")
def google_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoogleServer]:
    """One pair of emulators of Cloud Storage and BigQuery for the session."""
    folder = tmp_path_factory.mktemp("google")
    yield google.start(folder)
    google.stop(folder)


@pytest.fixture(name="google")
def google_settings(google_server: GoogleServer) -> GoogleSettings:
    """Settings of the emulators, with a bucket of the test's own."""
    return new_bucket(Settings.from_environment(google_server.environment()).google)


@pytest.fixture(scope="session")
def one_broker(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[OwnBroker]":
    """One broker for the session."""
    from tests.nyc_taxi.live.streaming import OwnBroker

    with OwnBroker(tmp_path_factory.mktemp("broker")) as own:
        yield own


@pytest.fixture
def broker(one_broker: "OwnBroker") -> "OwnBroker":
    """The broker, without the streams of an earlier test."""
    one_broker.start()
    one_broker.empty()
    return one_broker


@pytest.fixture
def database(server: PostgresSettings) -> PostgresSettings:
    """The server, without the tables of an earlier test."""
    sql(server, "DROP SCHEMA IF EXISTS ny_taxi CASCADE")
    return server


@pytest.fixture
def trips(tmp_path: Path) -> Iterator[TripServer]:
    """A trip-file server over an empty folder, `trips.folder`."""
    with TripServer(tmp_path / "trips") as running:
        yield running


@pytest.fixture
def real_trips() -> Iterator[TripServer]:
    """A trip-file server over the city's real files, where they are at hand."""
    if not REAL_FILES.is_dir():
        pytest.skip("the city's real files are not beside this checkout")
    with TripServer(REAL_FILES) as running:
        yield running


@pytest.fixture
def settings(database: PostgresSettings, trips: TripServer, tmp_path: Path) -> Settings:
    """Settings that point at the test's own servers and staging folder."""
    return settings_for(database, trips, tmp_path)


@pytest.fixture
def real_settings(database: PostgresSettings, real_trips: TripServer, tmp_path: Path) -> Settings:
    """The same with the city's real files."""
    return settings_for(database, real_trips, tmp_path)


def settings_for(database: PostgresSettings, trips: TripServer, folder: Path) -> Settings:
    """Settings from servers and a folder."""
    urls = {"dtc": trips.dtc_base_url, "tlc": trips.tlc_base_url}
    return replace(Settings.from_environment({}), postgres=database, base_urls=urls, staging_dir=folder / "staging")


def new_bucket(settings: GoogleSettings) -> GoogleSettings:
    """The same settings with a bucket that was not there before."""
    name = f"test-{uuid.uuid4().hex}"
    storage_client(settings).create_bucket(name)
    return replace(settings, bucket=name)


def run_of(settings: Settings, service: str, month: str, origin: str, rules: str = "") -> RunContext:
    """A run against the test's own servers."""
    return run_context({"service": service, "month": month, "origin": origin, "rules": rules}, settings)


def process_environment() -> dict[str, str]:
    """What any program of this machine needs, and nothing of the shell's that could name a real target."""
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


def environment_of(database: PostgresSettings) -> dict[str, str]:
    """The variables that name the server to another process."""
    return {
        "POSTGRES_HOST": database.host,
        "POSTGRES_PORT": str(database.port),
        "POSTGRES_DBNAME": database.dbname,
        "POSTGRES_SCHEMA": database.schema,
        "POSTGRES_USER": database.user,
        "POSTGRES_PASSWORD": database.password,
    }


def image_environment() -> dict[str, str]:
    """The same, with the programs of our packages, `mage` among them, on the PATH: so it is in the image."""
    own = process_environment()
    return {**own, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"}


def metadata_url_of(server: PostgresSettings, database: str) -> str:
    """What MAGE_DATABASE_CONNECTION_URL says of a database of the server."""
    return f"postgresql+psycopg2://{server.user}:{server.password}@{server.host}:{server.port}/{database}"


def sql(database: PostgresSettings, statement: str) -> list[tuple[object, ...]]:
    """Run one statement, committed; return its rows."""
    with connect(database) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []
