"""A Mage server on 127.0.0.1: its own account, its metadata in Postgres, its processes ended with it."""

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from urllib.parse import quote

import psutil
import psycopg2
import requests
from psycopg2 import sql

from ops.errors import LocalStackError
from ops.http import session_to
from ops.mage.access.owner_password import NAME, to_pipe
from ops.mage.git_filter import kept_clean
from ops.mage.owner import Owner, renew_password, stored_owner
from ops.mage.production import LOCKED, is_production
from ops.paths import HOST, MAGE, PROJECT
from ops.ports import free_port
from ops.wait import wait_until

METADATA_DATABASE = "mage_metadata"
START_SECONDS = 180  # the first start makes some forty tables
STOP_SECONDS = 5
# Mage reads SQL through pandas in a way that pandas warns of at every run, and Google's clients say each time that
# this Python will end one day, and that a package is missing that would not fit the emulators.
QUIET = {
    "PYTHONWARNINGS": "ignore:pandas only supports SQLAlchemy,ignore:You are using a Python version,"
    "ignore:BigQuery Storage module not found"
}


@dataclass
class MageServer:
    """One server and the scheduler beside it; a context manager that starts both and ends every process of theirs."""

    env: Mapping[str, str]
    """The environment of the pipelines, as `ops.stack.environment` makes it."""
    port: int
    project: Path = PROJECT
    log: Path | None = None
    """Where it prints to; None is this terminal."""
    owner: Owner = field(default_factory=stored_owner)
    process: "subprocess.Popen[bytes] | None" = None
    _while_running: ExitStack = field(default_factory=ExitStack, repr=False)

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Of the server's own process, the parent of all others; LocalStackError when it does not run."""
        if self.process is None:
            raise LocalStackError("this Mage was not started")
        return self.process.pid

    def start(self) -> "MageServer":
        """Start the server without waiting for it: see `wait`. LocalStackError when the port is taken."""
        if free_port(self.port) != self.port:
            # Mage itself would silently take the next one.
            raise LocalStackError(
                f"port {self.port} is taken: taxi down ends a web UI of this checkout; or set MAGE_HOST_PORT to another"
            )
        command = [*MAGE, "start", str(self.project), "--host", HOST, "--port", str(self.port)]
        # Mage leaves files of its kernels and queues there, all the more when it is killed. A short name: sockets too.
        temporary = TemporaryDirectory(prefix="mage-", ignore_cleanup_errors=True)
        env = self._environment() | {"TMPDIR": self._while_running.enter_context(temporary)}
        with ExitStack() as handed_on:
            out = handed_on.enter_context(self.log.open("ab")) if self.log else None
            password = to_pipe(env)
            handed_on.callback(os.close, password)
            # A group of its own: Mage leaves its scheduler running when it is stopped.
            self.process = subprocess.Popen(
                command,
                cwd=self.project.parent,
                env=env,
                stdout=out,
                stderr=out,
                pass_fds=[password],
                start_new_session=True,
            )
        self._while_running.enter_context(kept_clean(self.project))
        return self

    def wait(self) -> "MageServer":
        """Return when it answers and its scheduler runs; LocalStackError with the end of its log when it does not."""
        if not wait_until(self.healthy, START_SECONDS, 0.2, unless=self._has_ended):
            self.stop()
            said = self.log.read_text(errors="replace")[-2_000:] if self.log else "see above"
            raise LocalStackError(f"Mage did not start on port {self.port}: {said}")
        return self

    def _has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def healthy(self) -> bool:
        """Whether the server answers and its scheduler runs."""
        return scheduler_runs(self.url)

    def join(self) -> int:
        """Wait until the server ends; its exit code."""
        return self.process.wait() if self.process else 0

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """End the server and everything it started, also what left its group; a stopped one is no error."""
        if self.process is None:
            return
        children = _children(self.process.pid)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, sign)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
            os.killpg(self.process.pid, signal.SIGKILL)
        for child in children:
            with suppress(psutil.Error):
                child.kill()
        self.process.wait()
        self.process = None
        self._while_running.close()

    def __enter__(self) -> "MageServer":
        return self.start().wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _environment(self) -> dict[str, str]:
        usual = {
            "DISABLE_TERMINAL": "1",
            "HIDE_API_TRIGGER_TOKEN": "1",
            "MAGE_PUBLIC_HOST": f"http://localhost:{self.port}",
            "DISABLE_AUTO_BROWSER_OPEN": "1",
        }
        own = {
            "DEFAULT_OWNER_EMAIL": self.owner.email,
            "DEFAULT_OWNER_USERNAME": "owner",
            NAME: self.owner.password,
            "JWT_SECRET": self.owner.jwt_secret,
            "MAGE_DATABASE_CONNECTION_URL": metadata_url(self.env),
        }
        renew_password(own["MAGE_DATABASE_CONNECTION_URL"], self.owner)
        return {**QUIET, **usual, **(LOCKED if is_production(self.env) else {}), **self.env, **own}


def scheduler_runs(url: str) -> bool:
    """Whether a Mage server answers at this address and says that its scheduler runs."""
    try:
        with session_to(url) as session:
            answer = session.get(f"{url}/api/statuses", timeout=5)
            return bool(answer.json()["statuses"][0]["scheduler_status"] == "running")
    except (requests.RequestException, ValueError, LookupError):
        return False


def metadata_url(env: Mapping[str, str]) -> str:
    """
    Where Mage keeps users, triggers and runs: MAGE_DATABASE_CONNECTION_URL, else a database beside the trips'.

    A database of its own, made when it is missing: Mage would make a schema of its own the user's default one.
    LocalStackError when the user may not create it.
    """
    if given := env.get("MAGE_DATABASE_CONNECTION_URL"):
        return given
    host, port, user = env["POSTGRES_HOST"], env["POSTGRES_PORT"], env["POSTGRES_USER"]
    password = env.get("POSTGRES_PASSWORD", "")
    try:
        _create_database(host, port, user, password, env["POSTGRES_DBNAME"])
    except psycopg2.errors.InsufficientPrivilege:
        raise LocalStackError(
            f"{user} may not create a database on {host}: create it once (CREATE DATABASE {METADATA_DATABASE} OWNER "
            f"{user}), or set MAGE_DATABASE_CONNECTION_URL"
        ) from None
    return f"postgresql+psycopg2://{quote(user)}:{quote(password, safe='')}@{host}:{port}/{METADATA_DATABASE}"


def _create_database(host: str, port: str, user: str, password: str, dbname: str) -> None:
    with closing(
        psycopg2.connect(host=host, port=port, user=user, password=password, dbname=dbname, connect_timeout=10)
    ) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (METADATA_DATABASE,))
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(METADATA_DATABASE)))


def _children(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []
