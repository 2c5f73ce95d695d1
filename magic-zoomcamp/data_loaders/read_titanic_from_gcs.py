from os import path

from mage_ai.io.config import ConfigFileLoader
from mage_ai.io.google_cloud_storage import GoogleCloudStorage
from mage_ai.settings.repo import get_repo_path
from nyc_taxi.course.passengers import CLEAN_FILE, read_clean
from nyc_taxi.google import bucket_of
from nyc_taxi.settings import Settings
from pandas import DataFrame
from pandas.testing import assert_frame_equal

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_loader
def read_titanic_from_gcs(uploaded: DataFrame, *args: object, **kwargs: object) -> DataFrame:
    """Read back what the bucket holds."""
    config = ConfigFileLoader(path.join(get_repo_path(), "io_config.yaml"), "dev")
    bucket = bucket_of(Settings.from_environment().google).name
    df: DataFrame = GoogleCloudStorage.with_config(config).load(bucket, CLEAN_FILE)
    return df


@test
def the_bucket_holds_the_local_list(df: DataFrame, *args: object) -> None:
    assert_frame_equal(df, read_clean(Settings.from_environment().staging_dir))
