"""`taxi generate`: one synthetic trip file."""

from pathlib import Path

import click

from ops.commands.arguments import MONTH, ORIGIN, SERVICE, examples
from ops.paths import local_dir


@click.command("generate", epilog=examples("taxi generate yellow 2021-01 dtc 100000 --malformed 25"))
@click.argument("service", type=SERVICE)
@click.argument("month", type=MONTH)
@click.argument("origin", type=ORIGIN)
@click.argument("rows", type=click.IntRange(min=1))
@click.option("--folder", type=click.Path(path_type=Path), default=lambda: local_dir() / "trips", help="Where it goes.")
@click.option("--seed", default=0, help="The same seed makes the same trips.")
@click.option("--malformed", default=0, help="Broken lines among the rows (dtc).")
def command(service: str, month: str, origin: str, rows: int, folder: Path, seed: int, malformed: int) -> None:
    """Write a synthetic trip file of ROWS trips, as ORIGIN publishes MONTH of SERVICE."""
    from ops.synthetic.generate import generate

    try:
        path = generate(service, month, origin, rows, folder, seed=seed, malformed=malformed)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    click.echo(path)
