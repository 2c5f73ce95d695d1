"""`taxi plan`: what a query would scan in BigQuery, before it is run: a dry run, which is free."""

import click

from ops.commands.arguments import Statement, examples, statement

TIB = 1 << 40
USD_PER_TIB = 6.25
"""On-demand rate of the US multi-region, the first TiB of a month being free: https://cloud.google.com/bigquery/pricing"""
SMALLEST_BYTES = 10 << 20
"""What a query is charged at least, per table."""


def describe(planned: int, *, emulator: bool) -> str:
    """The bytes, and what they cost at the on-demand rate, as one line."""
    if emulator:
        return f"{planned:,} bytes: the emulator on this machine does not plan, and always answers 0"
    dollars = max(planned, SMALLEST_BYTES) / TIB * USD_PER_TIB
    return (
        f"{planned:,} bytes to scan; at USD {USD_PER_TIB} per TiB, BigQuery's on-demand rate in the US, "
        f"{dollars:.6f} USD. Rates differ by region and change: https://cloud.google.com/bigquery/pricing"
    )


@click.command(
    "plan",
    cls=Statement,
    epilog=examples(
        "taxi plan \"select count(*) from yellow_cab_data where file_month = '2021-01-01'\"", "taxi plan - < query.sql"
    ),
)
@statement
def command(statement: str) -> None:
    """Say how many bytes STATEMENT would scan in BigQuery, and their price; nothing is run."""
    from nyc_taxi.load.bigquery.month import planned_bytes
    from nyc_taxi.settings import Settings

    from ops.stack.environment import environment

    google = Settings.from_environment(environment()).google
    click.echo(describe(planned_bytes(statement, google), emulator=bool(google.bigquery_emulator)))
