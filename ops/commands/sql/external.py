"""`taxi external`: tables of BigQuery that read the bucket's objects where they are."""

import click

from ops.commands.arguments import SERVICE, examples


@click.command("external", epilog=examples("taxi external", "taxi external --service yellow --print"))
@click.option("--service", "services", type=SERVICE, multiple=True, help="Only this service; may be given again.")
@click.option("--print", "only_print", is_flag=True, help="Print the statements, and make nothing.")
def command(services: tuple[str, ...], only_print: bool) -> None:
    """
    Make BigQuery tables that read the bucket's objects: <service>_trips_external and <service>_trips_by_day_external.

    A month that is loaded into the bucket is in them at once. The second is partitioned by the day of pickup.
    """
    from nyc_taxi.catalog.services import SERVICES
    from nyc_taxi.load.external import external_tables, make_external
    from nyc_taxi.settings import Settings

    from ops.stack.environment import environment

    chosen = [service for service in SERVICES.values() if service.name in (services or SERVICES)]
    google = Settings.from_environment(environment()).google
    if only_print:
        for service in chosen:
            for table in external_tables(service, google):
                click.echo(f"{table.sql};\n")
    else:
        for said in make_external(chosen, google):
            click.echo(said)
