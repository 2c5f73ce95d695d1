"""The surface of the server, and people with less rights than its owner."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from mage_ai.settings.server import OAUTH2_APPLICATION_CLIENT_ID as API_KEY
from nyc_taxi.settings import PostgresSettings

from ops.mage.api import MageApi
from ops.stack import postgres
from ops.stack.google import GoogleServer
from tests.server.conftest import Mage, keep_workers, made_checkout, serving
from tests.server.front_door.routes import Surface, surface_of

PASSWORD = "a-password-of-theirs"


@pytest.fixture(scope="package")
def mage(google_server: GoogleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mage]:
    """A server and a database of these tests' own, in which they leave accounts and files with odd names."""
    with apart(google_server, tmp_path_factory.mktemp("front-door")) as running:
        keep_workers(running.api)
        yield running


@contextmanager
def apart(google_server: GoogleServer, folder: Path, **settings: str) -> Iterator[Mage]:
    """A server with these settings, with a checkout and a Postgres of its own in the folder."""
    (folder / "checkout").mkdir()
    data = folder / "pg" / "data"
    own = postgres.start(data)
    try:
        where = PostgresSettings(own.host, own.port, own.dbname, "ny_taxi", own.user, own.password)
        with serving(made_checkout(folder / "checkout"), where, google_server, folder, **settings) as running:
            yield running
    finally:
        postgres.stop(data)


@pytest.fixture(scope="package")
def surface(mage: Mage) -> Surface:
    """What the server can be asked for."""
    return surface_of(mage)


@pytest.fixture(scope="package")
def viewer(mage: Mage) -> MageApi:
    """Somebody who may look."""
    return account(mage, "Viewer")


@pytest.fixture(scope="package")
def editor(mage: Mage) -> MageApi:
    """Somebody who may edit and run."""
    return account(mage, "Editor")


@pytest.fixture
def owner_line(mage: Mage) -> Iterator[requests.Session]:
    """The owner's requests, as they are."""
    yield from line_of(mage.api)


@pytest.fixture
def viewer_line(viewer: MageApi) -> Iterator[requests.Session]:
    """The Viewer's."""
    yield from line_of(viewer)


@pytest.fixture
def editor_line(editor: MageApi) -> Iterator[requests.Session]:
    """The Editor's."""
    yield from line_of(editor)


def line_of(api: MageApi) -> Iterator[requests.Session]:
    """A session of HTTP with the headers of a signed-in user."""
    with requests.Session() as line:
        line.headers.update(api._session.headers)
        yield line


def account(mage: Mage, role: str) -> MageApi:
    """A signed-in user with a role of Mage's."""
    email, roles = f"{role.lower()}@example.com", {each["name"]: each["id"] for each in mage.api.list("roles")}
    mage.api.create(
        "users",
        email=email,
        username=role.lower(),
        password=PASSWORD,
        password_confirmation=PASSWORD,
        roles_new=[roles[role]],
    )
    return MageApi(mage.server.url, email, PASSWORD)


def signing_in(url: str, headers: dict[str, str] | None = None, **session: str) -> requests.Response:
    """The answer to a request for a session."""
    body = {"session": session, "api_key": API_KEY}
    return requests.post(f"{url}/api/sessions", json=body, headers=headers, timeout=60)
