"""The local services together: Postgres, the emulators of Google's services, the trip-file server and the broker."""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import filelock

from ops.errors import LocalStackError
from ops.paths import HOST, local_dir
from ops.stack import broker, google, postgres
from ops.stack.broker import Broker
from ops.stack.google import GoogleServer
from ops.stack.postgres import PostgresServer
from ops.stack.process import Running, Service

MODULE = "ops.stack.trip_server"
LOCK_SECONDS = 600  # another `up` may be waiting for a server that recovers


@dataclass(frozen=True)
class TripService:
    """The trip-file server: its process, its port on 127.0.0.1 and the folder it serves."""

    pid: int
    port: int
    folder: str

    @property
    def url(self) -> str:
        """Base address of the files, without a slash at the end."""
        return f"http://{HOST}:{self.port}"


@dataclass(frozen=True)
class Stack:
    """The services that run; None for one that does not."""

    postgres: PostgresServer | None
    google: GoogleServer | None
    trips: TripService | None
    broker: Broker | None
    """Started by who streams, and nobody else."""


def up(trips: Path | None = None, *, with_postgres: bool = True, with_google: bool = True) -> Stack:
    """
    Start what is asked for and does not run: Postgres, the emulators of Google's, a folder's trip-file server.

    One trip-file server runs at a time: another folder replaces it. Without `trips` it is left as it is.
    Raises LocalStackError for a folder that is none, before anything is started, and with the end of the log of a
    service that does not come up.
    """
    if trips and not trips.is_dir():
        raise LocalStackError(f"{trips} is no folder of trip files: make it first, or leave --trips out.")
    with _locked(), ThreadPoolExecutor() as pool:
        # At once: each spends its time waiting for programs of its own.
        clouds = pool.submit(google.start if with_google else google.running, _google())
        server = postgres.start(_data()) if with_postgres else postgres.running(_data())
        served = _serve(trips.resolve()) if trips else _running_trips()
        return Stack(server, clouds.result(), served, broker.running())


def down() -> None:
    """Stop all services and wait until their processes are gone; none running is no error."""
    if not local_dir().exists():
        return
    with _locked():
        _trips().stop()
        broker.stop()
        google.stop(_google())
        postgres.stop(_data())


def status() -> Stack:
    """What runs now."""
    return Stack(postgres.running(_data()), google.running(_google()), _running_trips(), broker.running())


def _data() -> Path:
    return local_dir() / "postgres"


def _google() -> Path:
    return local_dir() / "google"


def _trips() -> Service:
    return Service("trip_server", local_dir())


def _locked() -> filelock.BaseFileLock:
    local_dir().mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(local_dir() / "stack.lock", timeout=LOCK_SECONDS)


def _serve(folder: Path) -> TripService:
    current = _running_trips()
    if current is not None and current.folder == str(folder):
        return current
    service = _trips()
    launched = service.launch(lambda port: [sys.executable, "-m", MODULE, str(folder), str(port)])
    return _as_trips(service.wait(launched))


def _running_trips() -> TripService | None:
    running = _trips().running()
    return _as_trips(running) if running else None


def _as_trips(running: Running) -> TripService:
    return TripService(running.pid, running.port, folder=running.command[-2])
