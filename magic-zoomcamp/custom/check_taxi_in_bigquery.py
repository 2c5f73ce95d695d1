from nyc_taxi.load.bigquery.month import StagedMonth, check_month, drop_staging
from nyc_taxi.load.bucket.month import check_month as check_object
from nyc_taxi.manifest import Manifest
from nyc_taxi.settings import Settings
from pandas import DataFrame

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@custom
def check_taxi_in_bigquery(
    manifest: DataFrame, staged: DataFrame, written: object, *args: object, **kwargs: object
) -> DataFrame:
    """Remove the staging table, which has served; return the manifest."""
    drop_staging(StagedMonth.of_frame(staged), Settings.from_environment().google)
    return manifest


@test
def bigquery_holds_what_the_manifest_counts(manifest: DataFrame, *args: object) -> None:
    google = Settings.from_environment().google
    for file in Manifest.of_frame(manifest).files:
        check_month(file, google)
        check_object(file, google)  # another run may have replaced it while BigQuery read it
