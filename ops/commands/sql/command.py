"""`taxi sql`: SQL on Postgres, on the bucket's Parquet or on BigQuery; its answer whole, for a person or a program."""

import click

from ops.commands.arguments import Statement, examples, statement


@click.command(
    "sql",
    cls=Statement,
    epilog=examples(
        'taxi sql "select count(*) from ny_taxi.yellow_cab_data"',
        'taxi sql "select * from ny_taxi.load_audit" > audit.csv',
        "taxi sql --file query.sql",
        "taxi sql --on bucket \"select count(*) from yellow_trips where month = '2021-01'\"",
        "taxi sql --on bigquery \"select count(*) from yellow_cab_data where file_month = '2021-01-01'\"",
    ),
)
@click.option(
    "--on",
    type=click.Choice(("postgres", "bucket", "bigquery")),
    default="postgres",
    help="Where; Postgres if not given.",
)
@statement
def command(statement: str, on: str) -> None:
    """
    Run STATEMENT on Postgres, committed, and show its answer; on the bucket or on BigQuery it may only read.

    A table on a terminal, one record below the other where it is too narrow; CSV into a file or another program.
    On Postgres, several statements with semicolons between them are one transaction; the answer is that of the last.
    On the bucket, the tables are yellow_trips, green_trips, fhv_trips and fhvhv_trips, with a column month (YYYY-MM)
    and the same as a date, file_month; of the months that it names in WHERE, only the objects are read.
    On BigQuery, a dry run says first what it would cost; names without a data set are those of BIGQUERY_DATASET.
    """
    from nyc_taxi.settings import Settings

    from ops.commands.sql.answer import print_answer
    from ops.stack.environment import environment

    settings = Settings.from_environment(environment())
    status = ""
    if on == "bucket":
        from ops.commands.sql import bucket

        columns, rows = bucket.ask(statement, settings.google)
    elif on == "bigquery":
        from ops.commands.sql import bigquery

        columns, rows = bigquery.ask(statement, settings.google)
    else:
        from ops.commands.sql import postgres

        columns, rows, status = postgres.ask(statement, settings.postgres)
    if columns:
        print_answer(columns, rows)
    else:
        click.echo(status)
