"""`taxi ui`: Mage's web UI, for as long as the command runs."""

import signal
import sys
from collections.abc import Mapping

import click

from ops.commands.arguments import examples


def refuse_weak(values: Mapping[str, str]) -> None:
    """LocalStackError for what production must not have, a line each."""
    from ops.errors import LocalStackError
    from ops.mage.owner import stored_owner
    from ops.mage.production import is_production, refusals
    from ops.paths import HOST

    if not is_production(values):
        return
    owner = stored_owner()
    signs_in = {"DEFAULT_OWNER_EMAIL": owner.email, "DEFAULT_OWNER_PASSWORD": owner.password}
    if found := refusals({"POSTGRES_HOST": HOST, **values, **signs_in, "JWT_SECRET": owner.jwt_secret}):
        raise LocalStackError("\n        ".join(found))


@click.command("ui", epilog=examples("taxi ui", "MAGE_HOST_PORT=6790 taxi ui"))
def command() -> int:
    """
    Serve Mage's web UI on 127.0.0.1 until Ctrl-C, or until `taxi down`.

    The first start makes a password and says it once; .env keeps it. Every process that was started ends with it.
    """
    from ops.mage.rendering import refuse_unreadable
    from ops.mage.server import MageServer
    from ops.paths import PROJECT
    from ops.ports import ui_port
    from ops.stack import web_ui
    from ops.stack.environment import configured, environment

    values = configured()
    port = ui_port(values)  # before anything starts
    refuse_unreadable(PROJECT, values)
    refuse_weak(values)
    server = MageServer(environment(), port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        # Not by `with`: who presses Ctrl-C while it starts would leave it running.
        server.start()
        with web_ui.recorded(server.port, server.pid):
            print(f"Mage comes up at http://localhost:{server.port}  {server.owner.email} signs in", flush=True)
            return server.join()
    except KeyboardInterrupt:
        return 0
    finally:
        server.stop()
