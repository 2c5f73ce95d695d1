"""TCP ports of the local services."""

import os
import socket


def free_port(preferred: int | None = None) -> int:
    """A port nobody listens on at 127.0.0.1: `preferred` when it can be had, else one the kernel picks."""
    if preferred is not None and _can_listen(preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _can_listen(port: int) -> bool:
    with socket.socket() as probe:
        if os.name == "posix":
            # As servers do: closed connections still in TIME_WAIT must not cost a service its port at every
            # restart. Not on Windows, where the same option takes a port away from its listener.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except (OSError, OverflowError):
            return False
    return True
