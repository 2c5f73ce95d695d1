"""
The broker of this machine: a NATS server with JetStream, from the extra `streaming`, for who streams only.

It listens on the loopback, on a port that is chosen once for a checkout: who started before it knows its address too.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from ops.errors import LocalStackError
from ops.paths import HOST, local_dir, write_private
from ops.ports import free_port
from ops.stack.process import Running, Service

PORT = 4222
"""Where NATS servers listen by custom."""
# A stream sets its 2 GiB aside when it is made: there is room for each service, and for some of one's own.
CONFIGURATION = """\
jetstream {{ store_dir: "{store}", max_memory_store: 64MB, max_file_store: 16GB }}
max_payload: 1MB
"""


@dataclass(frozen=True)
class Broker:
    """A running broker."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        """As NATS_URL has it."""
        return f"nats://{HOST}:{self.port}"


def program() -> str | None:
    """The server, which comes with the extra; None where that is not installed."""
    return shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")


def url(folder: Path | None = None) -> str:
    """Where the broker of the folder listens, or will."""
    return f"nats://{HOST}:{_port(folder or _folder())}"


def start(folder: Path | None = None) -> Broker:
    """Start it over the folder's streams, or return the one that runs; LocalStackError says why it does not start."""
    folder = (folder or _folder()).resolve()
    if found := running(folder):
        return found
    server = program()
    if server is None:
        raise LocalStackError("no nats-server is installed here: run `make streaming`, or set NATS_URL to a broker")
    folder.mkdir(parents=True, exist_ok=True)
    port = _port(folder, free=True)
    # The store's path as JSON has it: the server reads such strings.
    configuration = folder / "nats.conf"
    write_private(configuration, CONFIGURATION.format(store=folder / "jetstream"))
    service = _service(folder)
    listen = ["--addr", HOST, "--port", str(port)]
    launched = service.launch(lambda monitor: [server, "-c", str(configuration), *listen, "-m", str(monitor)])
    return _as_broker(service.wait(launched))


def running(folder: Path | None = None) -> Broker | None:
    """The broker of the folder, if it answers."""
    found = _service(folder or _folder()).running()
    return _as_broker(found) if found else None


def stop(folder: Path | None = None) -> None:
    """End it; its streams stay. None is no error."""
    _service(folder or _folder()).stop()


def _folder() -> Path:
    return local_dir() / "broker"


def _service(folder: Path) -> Service:
    return Service("broker", folder.resolve())


def _as_broker(running: Running) -> Broker:
    return Broker(running.pid, int(running.command[running.command.index("--port") + 1]))


def _port(folder: Path, *, free: bool = False) -> int:
    """The port of the folder's broker, the same every time; another one if it must be free and is not."""
    note = folder / "port"
    try:
        kept = int(note.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        kept = 0
    port = free_port(kept or PORT) if free or not kept else kept
    if port != kept and folder.parent.exists():  # who has a Postgres and a bucket elsewhere needs no folder here
        folder.mkdir(exist_ok=True)
        write_private(note, str(port))
    return port
