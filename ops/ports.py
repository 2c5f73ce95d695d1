"""TCP ports of the local services."""

import socket

from ops.paths import HOST


def free_port(preferred: int | None = None) -> int:
    """A port nobody listens on at 127.0.0.1: `preferred` when it can be had, else one the kernel picks."""
    if preferred is not None and _can_listen(preferred):
        return preferred
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def _can_listen(port: int) -> bool:
    try:
        # As servers do, it takes a port of closed connections still in TIME_WAIT; a bare socket would not.
        socket.create_server((HOST, port)).close()
    except (OSError, OverflowError):
        return False
    return True
