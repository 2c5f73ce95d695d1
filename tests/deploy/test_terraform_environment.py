"""
The container, in the environment that Terraform makes for it: the program itself, the database by its socket.

Cloud Run, the container's file system and Google are this machine's; every name and value is Terraform's.
"""

import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from nyc_taxi.errors import TargetUnavailable
from nyc_taxi.google import storage_client
from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.settings import PostgresSettings, Settings

from ops.mage.api import Json, MageApi, MageApiError
from ops.mage.patches.front_door.google_identity_token import is_googles
from ops.mage.server import scheduler_runs
from ops.paths import ROOT
from ops.ports import free_port
from ops.stack import postgres
from ops.stack.google import GoogleServer
from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from ops.wait import wait_until
from tests.conftest import image_environment, sql
from tests.deploy.terraform import FakeProviders, Workspace
from tests.deploy.test_terraform_faults import environment, secrets
from tests.server.conftest import wait

# What `gcloud run services proxy` adds to every request, as it is when Cloud Run has checked it.
GOOGLES_TOKEN = (
    "Bearer eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2FjY291bnRzLmdvb2dsZS5jb20ifQ.SIGNATURE_REMOVED_BY_GOOGLE"
)
SECRETS = {
    "DEFAULT_OWNER_PASSWORD": "owner-password",
    "JWT_SECRET": "jwt-secret",
    "MAGE_DATABASE_CONNECTION_URL": "database-url",
    "POSTGRES_PASSWORD": "database-password",
}


class Connector:
    """Google's connector to Cloud SQL: a socket in a folder, for a server that listens on a port. A context manager."""

    def __init__(self, folder: Path, host: str, port: int) -> None:
        self.target = (host, port)
        folder.mkdir(parents=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen(100)

    def __enter__(self) -> "Connector":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                caller, _ = self._listener.accept()
                server = socket.create_connection(self.target)
                for one, other in ((caller, server), (server, caller)):
                    threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    @staticmethod
    def _pump(one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while received := one.recv(65_536):
                other.sendall(received)
            other.shutdown(socket.SHUT_WR)


@dataclass
class Instance:
    """The running container."""

    url: str
    env: dict[str, str]
    api: MageApi
    trips: TripServer
    folder: Path

    @property
    def database(self) -> PostgresSettings:
        """The trips' database, as the container reaches it."""
        return Settings.from_environment(self.env).postgres


@pytest.fixture(scope="module")
def instance(
    fake_providers: FakeProviders, google_server: GoogleServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Instance]:
    """The container's program with the environment of the defaults, until it answers; ended with all it started."""
    folder = tmp_path_factory.mktemp("instance")
    fake_cloud = fake_providers.start(folder)
    Workspace.of(folder / "terraform", fake_cloud).apply()
    found, values = secrets(fake_cloud), environment(fake_cloud)
    with (
        tempfile.TemporaryDirectory() as root,  # a socket's path may have 107 characters
        TripServer(folder / "trips") as trips,
    ):
        server = postgres.start(folder / "pg")
        admin = PostgresSettings(server.host, server.port, server.dbname, "ny_taxi", server.user, server.password)
        sql(admin, "CREATE DATABASE mage_metadata")
        sql(admin, f"ALTER USER mage PASSWORD '{found['database-password']}'")
        env = {name: found[SECRETS[name]] if isinstance(value, tuple) else value for name, value in values.items()}
        env = {name: text.replace("/cloudsql", root).replace("/mnt", str(folder)) for name, text in env.items()}
        storage_client(Settings.from_environment(google_server.environment()).google).create_bucket(env["GCS_BUCKET"])
        port = free_port()
        env |= image_environment() | {
            name: value for name, value in google_server.environment().items() if name not in env
        }
        env |= {
            "K_SERVICE": "mage",  # what Cloud Run says of itself
            "PORT": str(port),
            "MAGE_DATA_DIR": str(folder / "data"),  # the image's
            "SCHEDULER_TRIGGER_INTERVAL": "1",
            "TLC_DTC_BASE_URL": trips.dtc_base_url,
        }
        with Connector(Path(env["POSTGRES_HOST"]), server.host, server.port):
            yield from _running(Instance(f"http://127.0.0.1:{port}", env, _api(port, env), trips, folder))
        postgres.stop(folder / "pg")


def _api(port: int, env: dict[str, str]) -> MageApi:
    return MageApi(f"http://127.0.0.1:{port}", env["DEFAULT_OWNER_EMAIL"], env["DEFAULT_OWNER_PASSWORD"])


def _running(instance: Instance) -> Iterator[Instance]:
    with (instance.folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.container.start"], cwd=ROOT, env=instance.env, stdout=log, stderr=log
        )
    try:
        said = instance.folder / "log"
        there = wait_until(
            lambda: scheduler_runs(instance.url),
            240,  # as long as the start-up probe waits
            0.3,
            unless=lambda: process.poll() is not None,
        )
        assert there, said.read_text()[-3_000:]
        yield instance
    finally:
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        for one in (process, *children):
            with suppress(psutil.Error):
                one.kill()
        process.wait()


@pytest.mark.mage
def test_the_start_up_probe_gets_its_answer(instance: Instance) -> None:
    assert requests.get(f"{instance.url}/api/status", timeout=30).status_code == 200


@pytest.mark.mage
def test_the_owner_signs_in_through_googles_proxy(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    send = requests.Session.send

    def by_the_proxy(session: requests.Session, request: requests.PreparedRequest, **given: Any) -> requests.Response:
        request.headers["Authorization"] = GOOGLES_TOKEN
        return send(session, request, **given)

    monkeypatch.setattr(requests.Session, "send", by_the_proxy)
    assert len(_api(int(instance.env["PORT"]), instance.env).list("pipelines")) >= 10


@pytest.mark.mage
def test_a_month_is_loaded_and_what_a_run_keeps_is_in_the_bucket(instance: Instance) -> None:
    generate("green", "2020-10", "dtc", 300, instance.trips.folder)
    status, run = _run(instance, "api_to_postgres", {"service": "green", "month": "2020-10"})
    assert status == "completed"
    counted = "SELECT count(*) FROM ny_taxi.green_cab_data WHERE file_month = '2020-10-01'"
    [audited] = sql(instance.database, "SELECT rows_accepted FROM ny_taxi.load_audit")
    assert sql(instance.database, counted) == [audited]
    assert (instance.folder / "staging" / "dtc" / "green" / "2020-10.json").exists()

    google = Settings.from_environment(instance.env).google
    kept = [blob.name for blob in storage_client(google).list_blobs(google.bucket)]
    assert [name for name in kept if name.startswith("mage/variables/pipelines/api_to_postgres/.variables/")]
    assert [name for name in kept if name.startswith("mage/logs/") and name.endswith("load_api_data.log")]
    assert {name.split("/")[0] for name in kept} == {"mage"}
    here = [path for path in (instance.folder / "data").rglob("*") if {".variables", ".logs"} & set(path.parts)]
    assert here == [], "the container's own file system is memory"
    # The web UI reads them from there.
    [loaded] = [block["id"] for block in run["block_runs"] if block["block_uuid"] == "load_api_data"]
    assert "2020-10" in str(instance.api.list(f"block_runs/{loaded}/outputs"))
    assert "rows staged" in str(instance.api.list("pipelines/api_to_postgres/logs"))


def _run(instance: Instance, pipeline: str, variables: dict[str, str]) -> tuple[str, Json]:
    """Run a pipeline by an API trigger; its status at the end, and the run."""
    trigger = instance.api.create(f"pipelines/{pipeline}/pipeline_schedules", name="by hand", schedule_type="api")
    instance.api.update("pipeline_schedules", trigger["id"], status="active")
    started = instance.api.create(f"pipeline_schedules/{trigger['id']}/pipeline_runs", variables=variables)

    def ended() -> Json | None:
        run = instance.api.get("pipeline_runs", started["id"])
        return run if run["status"] in ("completed", "failed") else None

    run = wait(ended, 180, pipeline)
    return str(run["status"]), run


@pytest.mark.mage
def test_secrets_of_the_web_ui_which_would_be_gone_with_the_container_are_refused(instance: Instance) -> None:
    with pytest.raises(MageApiError, match="Editing is off here"):
        instance.api.create("secrets", name="of_mine", value="which nobody knows")
    assert not (instance.folder / "data" / "secrets").exists()


@pytest.mark.mage
def test_the_log_of_the_container_holds_no_secret(instance: Instance) -> None:
    said = (instance.folder / "log").read_text()
    assert len(said) > 1_000
    for name in SECRETS:
        assert instance.env[name] not in said


def test_a_socket_is_a_host_like_any_other(database: PostgresSettings) -> None:
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "my-project:us-central1:mage-0a1b2c"
        by_socket = replace(database, host=str(folder), port=5432)
        with Connector(folder, database.host, database.port), connect(by_socket) as connection:
            assert connection.info.host == str(folder)
        (folder / ".s.PGSQL.5432").unlink()
        with pytest.raises(TargetUnavailable, match=f"Postgres at {folder}:5432/mage as mage: .*No such file"):
            connect(by_socket).__enter__()


@pytest.mark.parametrize(
    ("header", "googles"),
    [
        (GOOGLES_TOKEN, True),
        (GOOGLES_TOKEN.replace("Bearer", "bearer"), True),
        ("", False),
        ("Bearer 9f8e7d6c5b4a39281706f5e4d3c2b1a0", False),
        ("Basic bWU6cHc=", False),
        ("Bearer a.b.c", False),
        ("Bearer eyJ9.eyJpc3MiOiJodHRwczovL2V4YW1wbGUub3JnIn0.x", False),
        ("Bearer eyJ9.WzFd.x", False),
    ],
    ids=("googles", "small", "none", "a-triggers", "basic", "no-json", "another-issuer", "a-list"),
)
def test_only_googles_tokens_are_taken_away(header: str, googles: bool) -> None:
    assert is_googles({"Authorization": header}) is googles
