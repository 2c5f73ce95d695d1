"""The web UIs that `taxi ui` serves from this checkout: each says so in a file, by which `taxi down` ends it."""

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
def recorded(port: int) -> Iterator[None]:
    """Let this process be known, while the `with` block lasts, as the one that serves the UI on `port`."""
    service = Service(f"ui-{port}", local_dir())
    service.keep(Running.this_process(port))
    try:
        yield
    finally:
        if (last := service.recorded()) and last.pid == os.getpid():
            service.record.unlink(missing_ok=True)


def running() -> list[Running]:
    """Those that run, by port. A record whose process is gone, or whose pid is another program's now, is none."""
    services = (Service(path.stem, local_dir()) for path in local_dir().glob("ui-*.json"))
    found = [record for service in services if service.process() and (record := service.recorded())]
    return sorted(found, key=lambda record: record.port)


def stop() -> None:
    """End them as Ctrl-C does, and wait until they are gone; LocalStackError names one that does not end."""
    for ui in running():
        process = Service(f"ui-{ui.port}", local_dir()).process()
        if process is None:
            continue
        with suppress(psutil.NoSuchProcess):
            process.terminate()
            process.resume()  # one that Ctrl-Z has put to sleep would not hear of it
        if not wait_until_gone([process], STOP_SECONDS):
            raise LocalStackError(
                f"The web UI at http://localhost:{ui.port}, process {ui.pid}, does not end: press Ctrl-C in its "
                f"terminal, or kill {ui.pid}"
            )
