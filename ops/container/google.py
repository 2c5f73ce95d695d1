"""Which Google a container works with: the real one, the emulators beside it, or none."""

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from ops.errors import LocalStackError, StartRefused
from ops.stack import google
from ops.stack.google import GoogleServer
from ops.stack.process import healthy
from ops.wait import wait_until

KEY = "GOOGLE_APPLICATION_CREDENTIALS"
WAIT_SECONDS = 60


def choose(env: dict[str, str], data: Path) -> None:
    """
    Complete the environment for Google Cloud Storage and BigQuery.

    With GCS_BUCKET, the real cloud. Without, the emulators at GCS_EMULATOR and BIGQUERY_EMULATOR, if they run: bucket,
    data set and key are made. The key file that compose mounts counts only if something is in it: without one, it
    mounts the empty no_key.json of this folder. StartRefused for a key that cannot be read.
    """
    _check_key(env)
    addresses = [urlsplit(env.get(name, "")) for name in ("GCS_EMULATOR", "BIGQUERY_EMULATOR")]
    if env.get("GCS_BUCKET") or not all(_known(address.hostname) for address in addresses):
        return
    (gcs_host, gcs_port), (bigquery_host, bigquery_port) = (_awaited(*_place(part.netloc)) for part in addresses)
    server = GoogleServer(
        gcs_port=gcs_port,
        bigquery_port=bigquery_port,
        gcs_pid=0,
        bigquery_pid=0,
        project=google.PROJECT,
        bucket=google.BUCKET,
        dataset=google.DATASET,
        location=google.LOCATION,
        credentials=data / "home" / "emulators.json",
        gcs_host=gcs_host,
        bigquery_host=bigquery_host,
    )
    google.set_up(server)
    env |= server.environment()
    print(f"Cloud Storage and BigQuery are the emulators at {server.gcs_url} and {server.bigquery_url}", flush=True)


def _check_key(env: dict[str, str]) -> None:
    path = Path(env.get(KEY, os.devnull))
    if path.is_dir():
        raise StartRefused(f"{KEY} is a folder, {path}: name the key's file, or leave it empty")
    if path.is_file() and not os.access(path, os.R_OK):
        raise StartRefused(
            f"{KEY} cannot be read by user {os.getuid()}: put MAGE_UID=<owner of the key, see `id -u`> into .env"
        )
    if not path.is_file() or not path.stat().st_size:
        if not path.exists():
            raise StartRefused(f"{KEY} names {path}, which is not there: name the key's file, or leave it empty")
        env.pop(KEY, None)


def _place(netloc: str) -> tuple[str, int]:
    host, _, port = netloc.partition(":")
    return host, int(port)


def _known(host: str | None) -> bool:
    """Whether the network has a machine of this name: compose only names containers that run."""
    try:
        return bool(host and socket.getaddrinfo(host, None))
    except socket.gaierror:
        return False


def _awaited(host: str, port: int) -> tuple[str, int]:
    if not wait_until(lambda: healthy(port, host=host), WAIT_SECONDS, 0.5):
        raise LocalStackError(f"the emulator at {host}:{port} does not answer: see its log")
    return host, port
