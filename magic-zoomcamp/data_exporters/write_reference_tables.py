from nyc_taxi.catalog.references import of_frame
from nyc_taxi.load.bigquery import references as in_bigquery
from nyc_taxi.load.bucket import references as in_bucket
from nyc_taxi.load.postgres import references as in_postgres
from nyc_taxi.settings import Settings
from pandas import DataFrame

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_exporter
def write_reference_tables(staged: DataFrame, *args: object, **kwargs: object) -> DataFrame:
    """Replace the reference tables in Postgres, the bucket and BigQuery; hand on where they lie here."""
    settings, tables = Settings.from_environment(), of_frame(staged)
    in_postgres.replace_references(tables, settings.postgres)
    in_bucket.replace_references(tables, settings.google)
    in_bigquery.replace_references(tables, settings.google)
    return staged


@test
def every_target_holds_the_staged_rows(staged: DataFrame, *args: object) -> None:
    settings, tables = Settings.from_environment(), of_frame(staged)
    in_postgres.check_references(tables, settings.postgres)
    in_bucket.check_references(tables, settings.google)
    in_bigquery.check_references(tables, settings.google)
