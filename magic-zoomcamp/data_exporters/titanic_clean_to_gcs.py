from os import path

from mage_ai.io.config import ConfigFileLoader
from mage_ai.io.google_cloud_storage import GoogleCloudStorage
from mage_ai.settings.repo import get_repo_path
from nyc_taxi.course.passengers import CLEAN_FILE
from nyc_taxi.google import bucket_of
from nyc_taxi.settings import Settings
from pandas import DataFrame

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_exporter
def titanic_clean_to_gcs(df: DataFrame, *args: object, **kwargs: object) -> DataFrame:
    """Upload the list through Mage's own client and the profile dev, as every beginner's block does."""
    config = ConfigFileLoader(path.join(get_repo_path(), "io_config.yaml"), "dev")
    bucket = bucket_of(Settings.from_environment().google).name
    GoogleCloudStorage.with_config(config).export(df, bucket, CLEAN_FILE, index=False)
    return df


@test
def every_passenger_was_handed_on(df: DataFrame, *args: object) -> None:
    assert len(df) > 0
