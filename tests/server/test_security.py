"""Who is not signed in gets nothing, and no secret is in what the server and its runs write."""

import json
import os
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
import requests
from mage_ai.settings.server import OAUTH2_APPLICATION_CLIENT_ID as API_KEY
from websocket import create_connection

from ops.mage.access.owner_password import NAME
from ops.mage.api import MageApi, MageApiError
from ops.mage.owner import EMAIL
from ops.synthetic.generate import generate
from tests.conftest import sql
from tests.server.conftest import OWNER, Mage, wait

pytestmark = pytest.mark.mage


def answer(mage: Mage, path: str, **headers: str) -> dict[str, object]:
    body: dict[str, object] = requests.get(f"{mage.server.url}/api/{path}", headers=headers, timeout=60).json()
    return body


@pytest.mark.parametrize(
    "path", ["pipelines", "pipelines/api_to_postgres", "pipeline_runs", "users", "secrets", "files"]
)
def test_without_a_token_nothing_is_told(path: str, mage: Mage) -> None:
    for headers in ({}, {"X-API-KEY": API_KEY}, {"X-API-KEY": API_KEY, "OAUTH-TOKEN": "guessed"}):
        assert set(answer(mage, path, **headers)) <= {"error", "status"}, (path, headers)


@pytest.mark.parametrize(("email", "password"), [(EMAIL, "admin"), (EMAIL, ""), ("admin@admin.com", "admin")])
def test_nobody_signs_in_with_a_wrong_or_a_usual_password(email: str, password: str, mage: Mage) -> None:
    with pytest.raises(MageApiError, match="/api/sessions"):
        MageApi(mage.server.url, email, password).list("pipelines")


def test_a_token_that_has_expired_is_void(mage: Mage) -> None:
    api = MageApi(mage.server.url, OWNER.email, OWNER.password)
    assert api.list("pipelines")
    token = str(api._session.headers["OAUTH-TOKEN"])
    expire = f"UPDATE oauth2_access_token SET expires = now() - interval '1 minute' WHERE token = '{token}'"
    assert len(sql(mage.metadata, f"{expire} RETURNING id")) == 1

    trigger = mage.api.list("pipeline_schedules")[0]["id"]

    def refused() -> bool | None:
        mage.api.get("pipeline_schedules", trigger)  # with this, Mage's web process forgets what it has read before
        return "error" in answer(mage, "pipelines", **{"X-API-KEY": API_KEY, "OAUTH-TOKEN": token}) or None

    wait(refused, 30, "a refusal")


def test_no_secret_is_in_what_the_server_and_a_run_write(mage: Mage) -> None:
    generate("fhv", "2019-02", "dtc", 300, mage.trips.folder)
    trigger = mage.api.create(
        "pipelines/all_targets/pipeline_schedules", name="x", schedule_type="api", status="active"
    )
    variables = {"service": "fhv", "month": "2019-02"}
    run = mage.api.create(f"pipeline_schedules/{trigger['id']}/pipeline_runs", variables=variables)["id"]
    wait(lambda: mage.api.get("pipeline_runs", run)["status"] == "completed" or None, 120, "the run")
    folders = [Path(mage.server.env[name]) for name in ("MAGE_DATA_DIR", "STAGING_DIR")]
    files = [Path(where) / name for folder in folders for where, _, names in os.walk(folder) for name in names]
    written = {path: path.read_bytes() for path in [*files, mage.server.log] if path and path.is_file()}
    assert any(path.suffix == ".log" and b"all_targets" in content for path, content in written.items())
    for secret in (mage.database.password, OWNER.jwt_secret, OWNER.password):
        assert [path for path, content in written.items() if secret.encode() in content] == []


def test_no_process_of_the_server_has_the_owners_password_in_its_environment(mage: Mage) -> None:
    server = psutil.Process(mage.server.pid)
    processes = [server, *server.children(recursive=True)]
    # One that has ended, and that nobody has asked for its exit code, has no environment any more.
    environments = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                environments.append(process.environ())
    assert len(environments) >= 2  # the scheduler's too
    for environment in environments:
        assert environment["JWT_SECRET"] == OWNER.jwt_secret
        assert NAME not in environment
        assert OWNER.password not in environment.values()


def test_what_a_block_prints_shows_all_but_secrets(mage: Mage) -> None:
    shown = ("GCS_BUCKET", "TLC_DTC_BASE_URL", "TLC_PARQUET_BASE_URL", "GOOGLE_CLOUD_PROJECT", "STAGING_DIR")
    stars = ("POSTGRES_PASSWORD", "SLACK_WEBHOOK_URL", "MAGE_DATABASE_CONNECTION_URL", "JWT_SECRET")
    code = f"import os\nprint('FOUND', '|'.join(os.environ[name] for name in {(*shown, *stars)!r}))"
    token = str(mage.api._session.headers["OAUTH-TOKEN"])
    url = mage.server.url.replace("http", "ws") + "/websocket/"
    socket = create_connection(url, header=[f"OAUTH-TOKEN: {token}"], origin=mage.server.url, timeout=60)
    with closing(socket):
        socket.send(json.dumps({"api_key": API_KEY, "token": token, "uuid": "load_titanic", "code": code}))
        printed = ""
        while "FOUND" not in printed:
            data = json.loads(socket.recv()).get("data") or []
            printed += "".join(data if isinstance(data, list) else [data])
    values = printed.partition("FOUND ")[2].strip().split("|")
    env = mage.server._environment()
    assert values[: len(shown)] == [env[name] for name in shown]
    assert values[len(shown) :] == ["*" * len(env[name]) for name in stars]
