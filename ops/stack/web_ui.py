"""
The web UIs that `taxi ui` serves from this checkout, known by files, by which `taxi down` ends them.

Each has two: `ui-<port>.json` names the command, `mage-<port>.json` the Mage that it has started, which lives on when
the command is killed.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from ops.errors import LocalStackError
from ops.paths import local_dir
from ops.stack.process import Running, Service, wait_until_gone

STOP_SECONDS = 30
"""It ends Mage, its scheduler and its kernels in order; killed, it would leave them."""


@contextmanager
def recorded(port: int, mage: int) -> Iterator[None]:
    """Let this process, and Mage's with the pid `mage`, be known while the `with` block lasts as who serves `port`."""
    command, server = _services(port)
    command.keep(Running.of(os.getpid(), port))
    server.keep(Running.of(mage, port))
    try:
        yield
    finally:
        if (last := command.recorded()) and last.pid == os.getpid():
            for service in (command, server):
                service.record.unlink(missing_ok=True)


def running() -> list[Running]:
    """
    Those that run, by port: the command, or the Mage that a killed command has left.

    A record whose process is gone, or whose pid is another program's now, is none.
    """
    ports = {int(path.stem.rpartition("-")[2]) for path in local_dir().glob("mage-*.json")}
    first = (next(filter(Service.process, _services(port)), None) for port in sorted(ports))
    return [record for service in first if service and (record := service.recorded())]


def stop() -> None:
    """End them as Ctrl-C does, and wait until they are gone; LocalStackError names one that does not end."""
    for ui in running():
        for process in filter(None, (service.process() for service in _services(ui.port))):
            _end(process, ui.port)


def _services(port: int) -> tuple[Service, Service]:
    return Service(f"ui-{port}", local_dir()), Service(f"mage-{port}", local_dir())


def _end(process: psutil.Process, port: int) -> None:
    """End a process and all that it has started: the command sees to its own, Mage leaves a scheduler and kernels."""
    family = [process]
    with suppress(psutil.NoSuchProcess):
        family += process.children(recursive=True)
        process.terminate()
        process.resume()  # one that Ctrl-Z has put to sleep would not hear of it
    if not wait_until_gone([process], STOP_SECONDS):
        raise LocalStackError(
            f"The web UI at http://localhost:{port}, process {process.pid}, does not end: press Ctrl-C in its "
            f"terminal, or kill {process.pid}"
        )
    for child in family[1:]:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    wait_until_gone(family, STOP_SECONDS)
