"""SQL on BigQuery, which may only read; on the real one a dry run says first what it would cost."""

import click
from google.cloud import bigquery
from nyc_taxi.google import REQUEST_SECONDS, bigquery_client, bigquery_retry, google_errors
from nyc_taxi.settings import GoogleSettings

from ops.commands.plan import describe
from ops.commands.sql.answer import Rows, as_text
from ops.errors import CommandFailed

READS = "SELECT"


def ask(statement: str, google: GoogleSettings) -> tuple[list[str], Rows]:
    """
    Columns and rows of the answer, as text; the cost goes to stderr, for the answer may go to a program.

    Raises CommandFailed for a statement that does more than read, TargetUnavailable with what BigQuery says.
    """
    client = bigquery_client(google)
    dataset = f"{client.project}.{google.dataset}"
    with google_errors(f"BigQuery {dataset}", google):
        config = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False, default_dataset=dataset)
        if google.bigquery_emulator and ";" in statement.rstrip("; \n"):  # it would run a script, dry or not
            _refuse_writing("SCRIPT")
        job = client.query(statement, config, retry=bigquery_retry(), timeout=REQUEST_SECONDS, job_retry=None)
        _refuse_writing(job.statement_type or "")
        if not google.bigquery_emulator:  # which does not plan
            click.echo(describe(int(job.total_bytes_processed or 0), emulator=False), err=True)
        config = bigquery.QueryJobConfig(default_dataset=dataset)
        job = client.query(statement, config, retry=bigquery_retry(), timeout=REQUEST_SECONDS, job_retry=None)
        answer = job.result(retry=bigquery_retry(), timeout=REQUEST_SECONDS, job_retry=None)
        columns = [field.name for field in answer.schema]
        return columns, [[as_text(value) for value in row.values()] for row in answer]


def _refuse_writing(kind: str) -> None:
    if kind != READS:
        raise CommandFailed(f"taxi sql --on bigquery only reads, and this is no SELECT but {kind or 'something else'}")
