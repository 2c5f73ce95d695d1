from nyc_taxi.load.bucket.month import find_month
from nyc_taxi.manifest import Manifest
from nyc_taxi.report.preview import show_manifest
from nyc_taxi.run import service_and_month
from nyc_taxi.settings import Settings
from pandas import DataFrame

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_loader
def load_taxi_gcs(*args: object, **kwargs: object) -> DataFrame:
    """Find the run's service and month in the lake; return its manifest, whose path is the object's."""
    service, month = service_and_month(kwargs)
    found = find_month(service, month, Settings.from_environment().google)
    return show_manifest(Manifest((found,))).to_frame()


@test
def the_month_is_in_the_lake_and_not_empty(manifest: DataFrame, *args: object) -> None:
    for file in Manifest.of_frame(manifest).files:
        assert file.path.startswith("gs://"), file
        assert file.rows_accepted > 0, file
