from nyc_taxi.load.postgres.month import check_month, replace_month
from nyc_taxi.manifest import Manifest
from nyc_taxi.report.preview import show_manifest
from nyc_taxi.settings import Settings
from pandas import DataFrame

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_exporter
def taxi_data_to_postgres(manifest: DataFrame, *args: object, **kwargs: object) -> DataFrame:
    """Replace each file's month in Postgres, rejected rows and audit row with it; return the manifest."""
    postgres = Settings.from_environment().postgres
    for file in Manifest.of_frame(manifest).files:
        replace_month(file, postgres)
    show_manifest(Manifest.of_frame(manifest))
    return manifest


@test
def postgres_holds_what_the_manifest_counts(manifest: DataFrame, *args: object) -> None:
    postgres = Settings.from_environment().postgres
    for file in Manifest.of_frame(manifest).files:
        check_month(file, postgres)
