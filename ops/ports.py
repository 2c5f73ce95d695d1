"""TCP ports of the local services."""

import socket
from collections.abc import Mapping

from ops.errors import LocalStackError
from ops.paths import HOST

UI_PORT = 6789
"""Where the web UI listens unless MAGE_HOST_PORT says otherwise."""


def ui_port(values: Mapping[str, str]) -> int:
    """The port of the web UI that the settings name; LocalStackError when MAGE_HOST_PORT is no port."""
    return _port("MAGE_HOST_PORT", values, UI_PORT)


def postgres_host_port(values: Mapping[str, str]) -> int:
    """Where compose would publish Postgres; LocalStackError when POSTGRES_HOST_PORT is no port."""
    return _port("POSTGRES_HOST_PORT", values, 5432)


def _port(name: str, values: Mapping[str, str], default: int) -> int:
    text = values.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 16):
        raise LocalStackError(f"{name}={text} is not a port: set a number from 1 to 65535, such as {default}")
    return int(text)


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
