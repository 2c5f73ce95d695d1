"""What tests of BigQuery share: a month loaded as the pipeline does it, and questions to the emulator."""

import re

from nyc_taxi.catalog.services import YELLOW, Service
from nyc_taxi.google import bigquery_client
from nyc_taxi.load.bigquery.month import StagedMonth, check_month, drop_staging, stage_month
from nyc_taxi.manifest import StagedFile
from nyc_taxi.settings import GoogleSettings

from ops.paths import PROJECT

SQL = PROJECT / "data_exporters" / "write_taxi_to_bigquery.sql"
BLOCK_OUTPUT = re.compile(r"\{\{ block_output\('transform_staged_data', parse=lambda df, _: df\['(\w+)'\]\[0\]\) \}\}")


def merge_statement(staged: StagedMonth) -> str:
    """The pipeline's own SQL with its values, as Mage fills them in."""
    return BLOCK_OUTPUT.sub(lambda found: str(getattr(staged, found[1])), SQL.read_text())


def load(file: StagedFile, google: GoogleSettings) -> StagedMonth:
    """What the pipeline does with a month of the lake, without Mage."""
    staged = stage_month(file, google)
    query(google, merge_statement(staged))
    drop_staging(staged, google)
    check_month(file, google)
    return staged


def query(google: GoogleSettings, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in bigquery_client(google).query(sql).result()]


def name_of(google: GoogleSettings, service: Service = YELLOW) -> str:
    return f"{google.project}.{google.dataset}.{service.table}"
