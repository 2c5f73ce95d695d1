"""
The local services together: Postgres and the trip-file server.

Usage: python -m local.stack up [--trips FOLDER] | down | status
"""

import argparse
import http.client
import json
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock
import psutil

from local import postgres
from local.paths import ROOT, local_dir, write_private
from local.ports import free_port
from local.postgres import HOST, LocalStackError, PostgresServer, wait_until_gone

MODULE = "local.trip_server"
HEALTHY_SECONDS = 30
LOCK_SECONDS = 600  # another `up` may be waiting for a server that recovers

# Kept so that Python does not warn of processes that are meant to outlive it.
_started: list["subprocess.Popen[bytes]"] = []


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
    trips: TripService | None


def up(trips: Path | None = None, *, with_postgres: bool = True) -> Stack:
    """
    Start Postgres, unless another server is used, and for a folder of trip files their server; what runs is kept.

    One trip-file server runs at a time: another folder replaces it. Without `trips` it is left as it is.
    Raises LocalStackError with the end of the log of a service that does not come up.
    """
    with _locked():
        server = postgres.start(_data()) if with_postgres else postgres.running(_data())
        return Stack(server, _serve(trips.resolve()) if trips else _running_trips())


def down() -> None:
    """Stop all services and wait until their processes are gone; none running is no error."""
    if not local_dir().exists():
        return
    with _locked():
        _stop_trips()
        postgres.stop(_data())


def status() -> Stack:
    """What runs now."""
    return Stack(postgres.running(_data()), _running_trips())


def _data() -> Path:
    return local_dir() / "postgres"


def _record() -> Path:
    return local_dir() / "trip_server.json"


def _log() -> Path:
    return local_dir() / "trip_server.log"


def _locked() -> filelock.BaseFileLock:
    local_dir().mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(local_dir() / "stack.lock", timeout=LOCK_SECONDS)


def _serve(folder: Path) -> TripService:
    if not folder.is_dir():
        raise LocalStackError(f"{folder} is no folder of trip files: make it first, or leave --trips out.")
    current = _running_trips()
    if current is not None and current.folder == str(folder):
        return current
    last = _recorded()
    _stop_trips()
    port = free_port(last.port if last else None)
    command = [sys.executable, "-m", MODULE, str(folder), str(port)]
    with _log().open("ab") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    _started.append(process)
    server = TripService(process.pid, port, str(folder))
    # Before the wait: if we are killed in it, the next `up` or `down` still knows the process.
    write_private(_record(), json.dumps(asdict(server)))
    deadline = time.monotonic() + HEALTHY_SECONDS
    while not _healthy(port):
        if process.poll() is not None or time.monotonic() > deadline:
            _stop_trips()
            tail = "\n".join(_log().read_text(errors="replace").splitlines()[-15:])
            raise LocalStackError(f"The trip-file server did not start on port {port}. End of {_log()}:\n{tail}")
        time.sleep(0.05)
    return server


def _stop_trips() -> None:
    process = _process(_recorded())
    if process is None:
        return
    with suppress(psutil.NoSuchProcess):
        process.terminate()
        if not wait_until_gone([process], seconds=5):
            process.kill()
    if not wait_until_gone([process], seconds=5):
        raise LocalStackError(f"The trip-file server, process {process.pid}, does not end.")
    for child in _started:
        child.poll()  # takes our own child off the process table


def _recorded() -> TripService | None:
    try:
        return TripService(**json.loads(_record().read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _process(server: TripService | None) -> psutil.Process | None:
    """The recorded process, if its command line is that server's: the pid may be another program's now."""
    if server is None:
        return None
    try:
        process = psutil.Process(server.pid)
        same = process.cmdline()[-4:] == ["-m", MODULE, server.folder, str(server.port)]
    except (psutil.Error, OSError):  # gone, or ending just now
        return None
    return process if same else None


def _running_trips() -> TripService | None:
    server = _recorded()
    return server if server and _process(server) and _healthy(server.port) else None


def _healthy(port: int) -> bool:
    # http.client, not urllib: a proxy of the environment must not be asked for 127.0.0.1.
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/healthz", headers={"Connection": "close"})
        response = connection.getresponse()
        response.read()  # closing on unread bytes would reset the connection, an error in the server's log
        return response.status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _describe(stack: Stack) -> str:
    database = "stopped"
    if server := stack.postgres:
        where = f"{server.host}:{server.port}, database {server.dbname}, user {server.user}"
        database = f"running at {where}, password in {server.data.parent / 'postgres.password'}"
    trips = f"running at {stack.trips.url}, serves {stack.trips.folder}" if stack.trips else "stopped"
    return f"postgres     {database}\ntrip server  {trips}"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python -m local.stack", description="The local services.")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="start what does not run")
    start.add_argument("--trips", type=Path, metavar="FOLDER", help="serve the trip files of this folder too")
    commands.add_parser("down", help="stop all")
    commands.add_parser("status", help="print a line per service")
    options = parser.parse_args(arguments)
    try:
        if options.command == "up":
            print(_describe(up(options.trips)))
        elif options.command == "down":
            down()
        else:
            print(_describe(status()))
    except (LocalStackError, filelock.Timeout) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
