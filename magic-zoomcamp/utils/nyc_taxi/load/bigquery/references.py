"""The reference tables in BigQuery, each loaded whole from its object in the bucket."""

from collections.abc import Sequence

from google.api_core import exceptions
from google.cloud import bigquery

from nyc_taxi.catalog.references import StagedReference
from nyc_taxi.errors import CountsDisagree, TargetUnavailable
from nyc_taxi.google import REQUEST_SECONDS, bigquery_client, bigquery_retry, bigquery_rows, bucket_of, google_errors
from nyc_taxi.load.bigquery.tables import TYPES
from nyc_taxi.settings import GoogleSettings


def replace_references(staged: Sequence[StagedReference], google: GoogleSettings) -> None:
    """
    Replace every table by its object's rows; readers see the old rows or the new ones.

    Raises TargetUnavailable when BigQuery cannot be reached or refuses, or a table of that name is none of ours.
    """
    client, bucket = bigquery_client(google), bucket_of(google)
    for each in staged:
        name = _name(each, client, google)
        with google_errors(f"BigQuery {name}", google):
            _check_table(each, name, client)
            config = bigquery.LoadJobConfig(
                source_format=bigquery.SourceFormat.PARQUET,
                schema=_schema(each),
                write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
                destination_table_description=each.reference.description,
            )
            source = f"gs://{bucket.name}/{each.object}"
            job = client.load_table_from_uri(
                source, name, job_config=config, retry=bigquery_retry(), timeout=REQUEST_SECONDS
            )
            job.result(retry=bigquery_retry(), timeout=REQUEST_SECONDS)
        print(f"{source} -> {name}: {each.rows:,} rows", flush=True)


def check_references(staged: Sequence[StagedReference], google: GoogleSettings) -> None:
    """Raise CountsDisagree unless every table holds exactly the staged rows."""
    client = bigquery_client(google)
    for each in staged:
        name = _name(each, client, google)
        with google_errors(f"BigQuery {name}", google):
            sql = f"SELECT {', '.join(each.reference.schema.names)} FROM `{name}`"
            rows = bigquery_rows(client, sql)
        if {*rows} != {*each.records()}:
            raise CountsDisagree(f"BigQuery {name} holds other rows than {each.url}: run again")


def _name(staged: StagedReference, client: bigquery.Client, google: GoogleSettings) -> str:
    return f"{client.project}.{google.dataset}.{staged.name}"


def _schema(staged: StagedReference) -> list[bigquery.SchemaField]:
    return [
        bigquery.SchemaField(column.name, TYPES[column.type], description=column.full_description)
        for column in staged.reference.columns
    ]


def _check_table(staged: StagedReference, name: str, client: bigquery.Client) -> None:
    try:
        there = client.get_table(name, retry=bigquery_retry(), timeout=REQUEST_SECONDS)
    except exceptions.NotFound:
        return
    ours = {field.name: field.field_type for field in _schema(staged)}
    if {field.name: field.field_type for field in there.schema} != ours:
        raise TargetUnavailable(
            f"BigQuery table {name} was not made by this project: rename it, or set BIGQUERY_DATASET to another one"
        )
