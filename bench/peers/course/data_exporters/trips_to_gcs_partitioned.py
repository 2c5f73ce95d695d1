"""Write the trips to the bucket as a data set with a folder per day."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import GcsFileSystem

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter


@data_exporter
def trips_to_gcs_partitioned(trips, **kwargs) -> None:
    """One folder per day of pickup."""
    trips["tpep_pickup_date"] = trips["tpep_pickup_datetime"].dt.date
    table = pa.Table.from_pandas(trips)
    pq.write_to_dataset(
        table,
        root_path=f"{os.environ['GCS_BUCKET']}/course/days",
        partition_cols=["tpep_pickup_date"],
        filesystem=GcsFileSystem(),
    )
