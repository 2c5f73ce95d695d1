"""Write the trips to the bucket as one Parquet object."""

import os
from os import path

from mage_ai.io.config import ConfigFileLoader
from mage_ai.io.google_cloud_storage import GoogleCloudStorage
from mage_ai.settings.repo import get_repo_path

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter


@data_exporter
def trips_to_gcs(trips, **kwargs) -> None:
    """One object with all trips."""
    config = ConfigFileLoader(path.join(get_repo_path(), "io_config.yaml"), "default")
    GoogleCloudStorage.with_config(config).export(trips, os.environ["GCS_BUCKET"], "course/one/nyc_taxi_data.parquet")
