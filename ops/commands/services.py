"""`taxi up`, `taxi down`, `taxi status`: the services of this machine."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.commands.arguments import examples

if TYPE_CHECKING:
    from ops.stack.stack import Stack


@click.command("up", epilog=examples("taxi up", "taxi up --trips .local/trips"))
@click.option("--trips", type=click.Path(path_type=Path), metavar="FOLDER", help="Serve this folder's trip files too.")
def up(trips: Path | None) -> None:
    """Start this machine's Postgres and emulators of Google's services, where they do not run."""
    from ops.stack import stack

    click.echo(_described(stack.up(trips)))


@click.command("down", epilog=examples("taxi down"))
def down() -> None:
    """Stop all that runs on this machine, a `taxi ui` of this checkout too; the data stay in .local."""
    from ops.stack import stack, web_ui

    for ui in web_ui.running():
        click.echo(f"The web UI at http://localhost:{ui.port}, process {ui.pid}, ends too")
    web_ui.stop()
    stack.down()


@click.command("status", epilog=examples("taxi status"))
def status() -> None:
    """Show what runs on this machine, a line each, and where."""
    from ops.stack import stack

    click.echo(_described(stack.status()))


def _described(stack: "Stack") -> str:
    from ops.stack import web_ui

    database = storage = warehouse = trips = stream = "stopped"
    if server := stack.postgres:
        where = f"{server.host}:{server.port}, database {server.dbname}, user {server.user}"
        database = f"running at {where}, password in {server.data.parent / 'postgres.password'}"
    if cloud := stack.google:
        storage = f"running at {cloud.gcs_url}, bucket {cloud.bucket}"
        warehouse = f"running at {cloud.bigquery_url}, project {cloud.project}, data set {cloud.dataset}"
    if stack.trips:
        trips = f"running at {stack.trips.url}, serves {stack.trips.folder}"
    if stack.broker:
        stream = f"running at {stack.broker.url}"
    uis = [f"running at http://localhost:{ui.port}, process {ui.pid}" for ui in web_ui.running()]
    services = [("postgres", database), ("storage", storage), ("bigquery", warehouse), ("trip server", trips)]
    services += [("broker", stream)]
    services += [("web UI", ui) for ui in uis or ["stopped"]]
    return "\n".join(f"{name:<13}{state}" for name, state in services)
