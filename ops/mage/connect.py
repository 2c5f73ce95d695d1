"""The Mage that a command talks to: the one that MAGE_URL names, this machine's, or one started for the command."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from ops.mage.api import MageApi, MageApiError
from ops.mage.owner import EMAIL, stored_owner
from ops.mage.rendering import refuse_unreadable
from ops.mage.server import MageServer, scheduler_runs
from ops.paths import HOST, PROJECT, local_dir
from ops.ports import ui_port
from ops.stack.environment import configured, environment


@dataclass(frozen=True)
class Connection:
    """A Mage that answers and has let us in."""

    api: MageApi
    public_url: str
    """Where a person opens it."""
    temporary: bool
    """Whether it ends with the command."""


def must_be_started(values: Mapping[str, str]) -> bool:
    """Whether no Mage is named, and none answers on this machine, so that a command has to start one."""
    return "MAGE_URL" not in values and not scheduler_runs(address(values))


@contextmanager
def connect_to_mage(values: Mapping[str, str] | None = None) -> Iterator[Connection]:
    """
    Sign in to the Mage that MAGE_URL names, else to the one at MAGE_HOST_PORT, which is started where none runs.

    `values` are the settings; by default those of dev.env, .env and the shell. Raises MageApiError when a named server
    does not answer or refuses the user, CommandFailed when an own one does not start, could not read the project's
    settings, or MAGE_HOST_PORT is no port.
    """
    values = configured() if values is None else values
    port, url = ui_port(values), address(values)
    public_url = (values.get("MAGE_URL") or values.get("MAGE_PUBLIC_HOST", f"http://localhost:{port}")).rstrip("/")
    if not must_be_started(values):
        yield Connection(_signed_in(url, values), public_url, temporary=False)
        return
    refuse_unreadable(PROJECT, values)
    log = local_dir() / "logs" / "mage.log"
    print(f"No Mage runs at {url}: one is started for as long as this takes (its log: {log})", file=sys.stderr)
    log.parent.mkdir(parents=True, exist_ok=True)
    server = MageServer(environment(), port, log=log)
    try:
        # Not by `with`: who presses Ctrl-C while it starts would leave it running.
        server.start().wait()
        yield Connection(_signed_in(server.url, values), public_url, temporary=True)
    finally:
        server.stop()


def address(values: Mapping[str, str]) -> str:
    """Where the Mage of the settings is: MAGE_URL, else this machine's."""
    return (values.get("MAGE_URL") or f"http://{HOST}:{ui_port(values)}").rstrip("/")


def _signed_in(url: str, values: Mapping[str, str]) -> MageApi:
    if "MAGE_PASSWORD" in values:
        email, password = values.get("MAGE_EMAIL", EMAIL), values["MAGE_PASSWORD"]
    else:
        owner = stored_owner()
        email, password = owner.email, owner.password
    api = MageApi(url, email, password)
    try:
        api.list("statuses")
    except MageApiError as error:
        raise MageApiError(
            f"{error}; {email} signs in there: if that is wrong, set MAGE_EMAIL and MAGE_PASSWORD"
        ) from None
    return api
