"""
Emulators of Google Cloud Storage and BigQuery on this machine, from pip packages in an environment of their own.

Google's own client libraries reach them unchanged: `GoogleServer.environment()` says all that differs. A pair of
emulators is named by its folder, which holds the data, the logs and a key that opens nothing but them.
"""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import filelock
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ops.errors import LocalStackError
from ops.paths import HOST, emulator_python, write_private
from ops.stack.process import Running, Service

PROJECT = BUCKET = "nyc-taxi-local"
DATASET = "ny_taxi"
LOCATION = "US"
LOCK_SECONDS = 300


@dataclass(frozen=True)
class GoogleServer:
    """How to reach the running emulators, and what they were set up with."""

    gcs_port: int
    bigquery_port: int
    gcs_pid: int
    bigquery_pid: int
    project: str
    bucket: str
    dataset: str
    location: str
    credentials: Path
    """A service account's key that only the emulators accept."""
    gcs_host: str = HOST
    bigquery_host: str = HOST

    @property
    def gcs_url(self) -> str:
        """Address of the Cloud Storage emulator, without a slash at the end."""
        return f"http://{self.gcs_host}:{self.gcs_port}"

    @property
    def bigquery_url(self) -> str:
        """Address of the BigQuery emulator, without a slash at the end."""
        return f"http://{self.bigquery_host}:{self.bigquery_port}"

    def environment(self) -> dict[str, str]:
        """Every variable that Google's clients, pyarrow and this project read: all of them, so that none is left."""
        return {
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.credentials),
            "GOOGLE_CLOUD_PROJECT": self.project,
            "GOOGLE_LOCATION": self.location,
            "GCS_BUCKET": self.bucket,
            "BIGQUERY_DATASET": self.dataset,
            "STORAGE_EMULATOR_HOST": self.gcs_url,
            "CLOUD_STORAGE_EMULATOR_ENDPOINT": self.gcs_url,  # pyarrow's name for the same
            "BIGQUERY_EMULATOR_HOST": self.bigquery_url,
        }


def start(folder: Path) -> GoogleServer:
    """
    Start both emulators over the data of `folder`, or return those that run; bucket and data set are made if missing.

    They outlive this process. Each listens where it did last time, or on a new port when that one is taken.
    Raises LocalStackError with the end of the log of one that does not come up.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        gcs, bigquery = _services(folder)
        # Both are launched before either is waited for.
        stores = gcs.running() or gcs.launch(lambda port: _command("gcs", folder / "gcs", port))
        tables = bigquery.running() or bigquery.launch(
            lambda port: _command("bigquery", folder / "bigquery", port, folder / "gcs")
        )
        server = _server(folder, gcs.wait(stores), bigquery.wait(tables))
        set_up(server)
        return server


def set_up(server: GoogleServer) -> None:
    """Make key, bucket and data set of running emulators where they are missing; LocalStackError when refused."""
    _write_key(server)
    _make_bucket(server)
    _make_dataset(server)


def running(folder: Path) -> GoogleServer | None:
    """The emulators of `folder` when both answer, else None."""
    folder = folder.resolve()
    gcs, bigquery = (service.running() for service in _services(folder))
    return _server(folder, gcs, bigquery) if gcs and bigquery else None


def stop(folder: Path) -> None:
    """Stop both and wait until their processes are gone; none is no error."""
    folder = folder.resolve()
    if not folder.exists():
        return
    with _locked(folder):
        for service in _services(folder):
            service.stop()


def _services(folder: Path) -> tuple[Service, Service]:
    # The one for BigQuery answers nobody while a statement runs.
    return Service("gcs_emulator", folder), Service("bigquery_emulator", folder, patience=60)


def _locked(folder: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(folder / "google.lock", timeout=LOCK_SECONDS)


def _command(program: str, data: Path, port: int, *more: object) -> list[str]:
    if not emulator_python().exists():
        raise LocalStackError(f"{emulator_python()} is missing, the emulators' own Python: run `make setup`.")
    return [str(part) for part in (emulator_python(), "-m", f"ops.emulators.{program}", data, port, *more)]


def _server(folder: Path, gcs: Running, bigquery: Running) -> GoogleServer:
    return GoogleServer(
        gcs_port=gcs.port,
        bigquery_port=bigquery.port,
        gcs_pid=gcs.pid,
        bigquery_pid=bigquery.pid,
        project=PROJECT,
        bucket=BUCKET,
        dataset=DATASET,
        location=LOCATION,
        credentials=folder / "credentials.json",
    )


def _write_key(server: GoogleServer) -> None:
    """Write a throw-away service account's key whose tokens come from the emulator; kept while its address is right."""
    token_uri = f"{server.gcs_url}/token"
    try:
        if json.loads(server.credentials.read_text())["token_uri"] == token_uri:
            return
    except (FileNotFoundError, ValueError, KeyError):
        pass
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "project_id": server.project,
        "private_key_id": "local",
        "private_key": key.decode(),
        "client_email": f"local@{server.project}.iam.gserviceaccount.com",
        "client_id": "0",
        "auth_uri": server.gcs_url,
        "token_uri": token_uri,
    }
    write_private(server.credentials, json.dumps(account))


def _make_bucket(server: GoogleServer) -> None:
    # Deleted objects go at once: nobody restores them here, and they would fill the disk for a week.
    bucket = {"name": server.bucket, "location": server.location, "softDeletePolicy": {"retentionDurationSeconds": "0"}}
    _create(server.gcs_url, f"/storage/v1/b?project={server.project}", bucket)


def _make_dataset(server: GoogleServer) -> None:
    reference = {"projectId": server.project, "datasetId": server.dataset}
    dataset = {"datasetReference": reference, "location": server.location}
    _create(server.bigquery_url, f"/bigquery/v2/projects/{server.project}/datasets", dataset)


def _create(url: str, path: str, resource: Mapping[str, object]) -> None:
    """Ask an emulator to make something; that it is there already is as good."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    try:
        connection.request("POST", path, json.dumps(resource), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise LocalStackError(f"The emulator at {url} does not answer POST {path}: {error}") from error
    finally:
        connection.close()
    if response.status not in (http.client.OK, http.client.CONFLICT):
        raise LocalStackError(f"The emulator at {url} refused POST {path}: {response.status} {answer}")
