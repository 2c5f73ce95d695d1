from nyc_taxi.load.bucket.days import check_month, replace_month
from nyc_taxi.manifest import Manifest
from nyc_taxi.report.preview import show_manifest
from nyc_taxi.settings import Settings
from pandas import DataFrame

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_exporter
def taxi_to_gcs_partitioned_parquet(manifest: DataFrame, *args: object, **kwargs: object) -> DataFrame:
    """Replace each file's month in the bucket, one object per day of pickup; return the manifest."""
    google = Settings.from_environment().google
    for file in Manifest.of_frame(manifest).files:
        replace_month(file, google)
    show_manifest(Manifest.of_frame(manifest))
    return manifest


@test
def the_days_add_up_to_the_manifest(manifest: DataFrame, *args: object) -> None:
    google = Settings.from_environment().google
    for file in Manifest.of_frame(manifest).files:
        check_month(file, google)
