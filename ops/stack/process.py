"""Programs of ours that serve HTTP on 127.0.0.1 and outlive the program that started them."""

import http.client
import json
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from ops.errors import LocalStackError
from ops.paths import HOST, ROOT, write_private
from ops.ports import free_port
from ops.wait import wait_until

HEALTHY_SECONDS = 60
STOP_SECONDS = 5  # then it is killed: both emulators survive that
DYING_SECONDS = 1
CLOCK_SECONDS = 5

# Kept so that Python does not warn of processes that are meant to outlive it.
_started: list["subprocess.Popen[bytes]"] = []


@dataclass(frozen=True)
class Running:
    """A process, the port it serves and the command line by which it is known again; pid 0 is not known yet."""

    pid: int
    port: int
    command: list[str]
    created: float | None = None
    """When the process began, in seconds since 1970: of two with one command line and, in turn, one pid, which."""

    @classmethod
    def of(cls, pid: int, port: int) -> "Running":
        """A process that runs now and serves `port`."""
        process = psutil.Process(pid)
        return cls(pid, port, process.cmdline(), process.create_time())


@dataclass(frozen=True)
class Service:
    """One service of a folder: `<name>.json` there says what runs, `<name>.log` what it printed."""

    name: str
    folder: Path
    patience: float = 2
    """Seconds that a living process may leave a question unanswered before it counts as hung."""

    @property
    def log(self) -> Path:
        """Where the service prints to, every start after the last."""
        return self.folder / f"{self.name}.log"

    @property
    def record(self) -> Path:
        """What was started last, as JSON."""
        return self.folder / f"{self.name}.json"

    def running(self) -> Running | None:
        """The process, if it lives and answers."""
        recorded, process = self.recorded(), self.process()
        if recorded is None or process is None:
            return None
        return replace(recorded, pid=process.pid) if healthy(recorded.port, self.patience) else None

    def process(self) -> psutil.Process | None:
        """The process that was started last, if it lives."""
        recorded = self.recorded()
        return _process(recorded) if recorded else None

    def recorded(self) -> Running | None:
        """What was started last, whether or not it still runs."""
        try:
            return Running(**json.loads(self.record.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def launch(self, command: Callable[[int], list[str]], env: Mapping[str, str] | None = None) -> Running:
        """
        Start the program in the place of what runs, without waiting for it: see `wait`.

        `command` is given the port: the last one, so that addresses stay good, or a new one when that is taken.
        """
        last = self.recorded()
        self.stop()
        port = self._port(last.port if last else None)
        line = command(port)
        # Before there is a process: if we are killed from here on, the next start or stop still finds it.
        self.keep(Running(0, port, line))
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                line, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        _started.append(process)
        running = Running(process.pid, port, line)
        self.keep(running)
        return running

    def wait(self, running: Running) -> Running:
        """Return when the launched program answers; LocalStackError with the end of its log when it does not."""
        if not wait_until(lambda: healthy(running.port), HEALTHY_SECONDS, unless=lambda: _process(running) is None):
            self.stop()
            raise LocalStackError(f"The {self.name} did not start on port {running.port}.\n{self._log_tail()}")
        return running

    def stop(self) -> None:
        """End the process and wait until it is gone; none is no error."""
        process = self.process()
        if process is None:
            return
        with suppress(psutil.NoSuchProcess):
            process.terminate()
            if not wait_until_gone([process], seconds=STOP_SECONDS):
                process.kill()
        if not wait_until_gone([process], seconds=5):
            raise LocalStackError(f"The {self.name}, process {process.pid}, does not end.")
        for child in _started:
            child.poll()  # takes our own child off the process table

    def _port(self, preferred: int | None) -> int:
        """The port of last time; a process that is being killed holds it for a moment after it has lost its name."""
        if preferred:
            wait_until(lambda: free_port(preferred) == preferred, DYING_SECONDS)
        return free_port(preferred)

    def keep(self, running: Running) -> None:
        """Write down what runs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_private(self.record, json.dumps(asdict(running)))

    def _log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join([f"End of {self.log}:", *lines[-15:]])


def _process(running: Running) -> psutil.Process | None:
    """The process, if its command line is the one we started: the pid may be another program's now."""
    if not running.pid:
        return next((process for process in psutil.process_iter() if _runs(process, running.command)), None)
    try:
        process = psutil.Process(running.pid)
    except psutil.Error:
        return None
    return process if _runs(process, running.command) and _began(process, running.created) else None


def _began(process: psutil.Process, created: float | None) -> bool:
    # The clock may have been set since: what a system says of the past moves with it.
    return created is None or abs(process.create_time() - created) < CLOCK_SECONDS


def _runs(process: psutil.Process, command: list[str]) -> bool:
    try:
        return bool(process.cmdline()[1:] == command[1:] and process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.Error, OSError):  # gone, or ending just now
        return False


def healthy(port: int, patience: float = 2, host: str = HOST) -> bool:
    """Whether a service on this port, of this machine or another, answers that it is well."""
    # http.client, not urllib: a proxy of the environment must not be asked for 127.0.0.1.
    connection = http.client.HTTPConnection(host, port, timeout=patience)
    try:
        connection.request("GET", "/healthz", headers={"Connection": "close"})
        response = connection.getresponse()
        response.read()  # closing on unread bytes would reset the connection, an error in the server's log
        return response.status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def wait_until_gone(processes: list[psutil.Process], seconds: float) -> bool:
    """Whether all `processes` end within `seconds`. A zombie has ended: in a container nobody may reap it."""
    return wait_until(lambda: not any(_alive(process) for process in processes), seconds)


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
