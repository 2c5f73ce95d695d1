"""The doctor's checks of this machine: Python, disk, memory, ports, Docker, clock."""

import json
import platform
import shutil
import subprocess
import sys
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import psutil
import requests

from ops.commands.doctor.finding import Check, NotNeeded, Settled, Wrong
from ops.cpu import refuse_old_cpu
from ops.mage.server import scheduler_runs
from ops.paths import HOST, ROOT, emulator_python, local_dir
from ops.ports import free_port, postgres_host_port, ui_port

GB = 1_000_000_000
DISK_BYTES = 5 * GB
"""A year of yellow trips staged and loaded."""
MEMORY_BYTES = 2 * GB
"""What Mage and its pipelines get in a container."""
DRIFT_SECONDS = 60
"""Google refuses a token that is minutes away from its own time."""
COMPOSE = (2, 20)
"""The first with every key that docker-compose.yml uses."""


def python(_: Settled) -> str:
    """A Python that mage-ai has packages for, and both environments."""
    if sys.version_info[:2] not in {(3, 11), (3, 12)}:
        raise Wrong(
            f"{platform.python_version()}: mage-ai needs 3.11 or 3.12; rm -r .venv, then make setup PYTHON=python3.11"
        )
    if not emulator_python().exists():
        raise Wrong(".venv-emulators is missing: make setup")
    return platform.python_version()


def processor(_: Settled) -> str:
    """A processor that Mage's packages run on."""
    refuse_old_cpu()
    return platform.machine()


def disk(env: Settled) -> str:
    """Room where trip files are staged."""
    folder = Path(env.get("STAGING_DIR") or local_dir())
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < DISK_BYTES:
        raise Wrong(f"{free / GB:.1f} GB free at {folder}: make room, or set STAGING_DIR to a larger disk")
    return f"{free / GB:,.0f} GB free at {folder}"


def memory(_: Settled) -> str:
    """Memory for Mage and one pipeline."""
    free = psutil.virtual_memory().available
    if free < MEMORY_BYTES:
        raise Wrong(f"{free / GB:.1f} GB free, {MEMORY_BYTES / GB:.0f} GB needed: end other programs")
    return f"{free / GB:,.1f} GB free"


def ports(env: Settled) -> str:
    """The port of the web UI: free, or Mage's own."""
    port = ui_port(env)
    if free_port(port) == port:
        return f"{port} is free for the web UI"
    if scheduler_runs(f"http://{HOST}:{port}"):
        return f"{port}: Mage answers"
    raise Wrong(f"{port} is taken by another program: end it, or set MAGE_HOST_PORT in .env")


def compose(env: Settled) -> str:
    """Docker Compose, for who wants containers, and the port that it would publish Postgres at."""
    asked = ["docker", "compose", "version", "--format", "json"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError:
        raise NotNeeded("no docker here: only docker compose needs it") from None
    if answer.returncode != 0:
        raise NotNeeded("docker has no compose plugin: only docker compose needs it")
    version = str(json.loads(answer.stdout)["version"]).lstrip("v")
    if tuple(int(part) for part in version.split(".")[:2]) < COMPOSE:
        raise Wrong(f"{version}: docker-compose.yml needs {'.'.join(map(str, COMPOSE))} or later; upgrade the plugin")
    port = postgres_host_port(env)
    if free_port(port) == port or _publishes_postgres():
        return version
    # No fault: who starts everything by make has a port of their own.
    return f"{version}; but {port} is taken: set POSTGRES_HOST_PORT in .env before `docker compose up`"


def _publishes_postgres() -> bool:
    """Whether the containers of this checkout are up."""
    asked = ["docker", "compose", "ps", "--quiet", "--status", "running", "postgres"]
    return bool(subprocess.run(asked, cwd=ROOT, capture_output=True, timeout=20, check=False).stdout.strip())


def clock(env: Settled) -> str:
    """The clock here against the origin's: a wrong one makes Google refuse every token."""
    url = env.get("TLC_PARQUET_BASE_URL") or "https://www.googleapis.com"
    try:
        answer = requests.head(url, timeout=5, allow_redirects=False)
        drift = abs(time.time() - parsedate_to_datetime(answer.headers["Date"]).timestamp())
    except (requests.RequestException, KeyError, ValueError):
        raise NotNeeded(f"{url} does not answer: nothing to compare with") from None
    if drift > DRIFT_SECONDS:
        raise Wrong(f"{drift:,.0f} s away from that of {url}: turn on time synchronisation (timedatectl set-ntp true)")
    return f"{drift:.0f} s away from that of {url}"


CHECKS: dict[str, Check] = {
    "python": python,
    "processor": processor,
    "disk": disk,
    "memory": memory,
    "ports": ports,
    "compose": compose,
    "clock": clock,
}
