"""
The course's pipelines, a lesson each, as somebody writes them who starts from Mage's own block templates.

`{...}` in the code stands for what is everybody's own: the addresses of the trip files, the bucket, the project.
"""

from dataclasses import dataclass, field
from typing import Any

READY = """
if '{kind}' not in globals():
    from mage_ai.data_preparation.decorators import {kind}
if 'test' not in globals():
    from mage_ai.data_preparation.decorators import test

"""
CONFIG = """
from mage_ai.settings.repo import get_repo_path
from mage_ai.io.config import ConfigFileLoader
from os import path
"""


@dataclass(frozen=True)
class Block:
    """A block: its code, which is none where the block is there already and is dragged into the pipeline."""

    name: str
    type: str
    code: str = ""
    sql: dict[str, Any] = field(default_factory=dict)
    """What the settings above a SQL block say; empty for Python."""
    below: str = ""
    """The block that it gets its rows from; the one before it where nothing is said."""


def python(name: str, kind: str, imports: str, code: str, below: str = "") -> Block:
    """A block of Python, with what every template of Mage begins with."""
    return Block(name, kind, imports.strip() + READY.replace("{kind}", kind) + code.strip() + "\n", below=below)


def query(name: str, kind: str, statement: str, provider: str, profile: str, **settings: object) -> Block:
    """A block of SQL with its connection and profile."""
    chosen = {"data_provider": provider, "data_provider_profile": profile, **settings}
    return Block(name, kind, statement, sql=chosen)


def loader(service_month: str) -> Block:
    """From an address, with types and dates."""
    return python(
        "course_load_api",
        "data_loader",
        "import io\nimport pandas as pd\nimport requests",
        f"""
@data_loader
def load_data_from_api(*args, **kwargs):
    url = '{{trips}}/yellow/yellow_tripdata_{service_month}.csv.gz'

    taxi_dtypes = {{
        'VendorID': pd.Int64Dtype(),
        'passenger_count': pd.Int64Dtype(),
        'trip_distance': float,
        'RatecodeID': pd.Int64Dtype(),
        'store_and_fwd_flag': str,
        'PULocationID': pd.Int64Dtype(),
        'DOLocationID': pd.Int64Dtype(),
        'payment_type': pd.Int64Dtype(),
        'fare_amount': float,
        'extra': float,
        'mta_tax': float,
        'tip_amount': float,
        'tolls_amount': float,
        'improvement_surcharge': float,
        'total_amount': float,
        'congestion_surcharge': float,
    }}
    dates = ['tpep_pickup_datetime', 'tpep_dropoff_datetime']

    return pd.read_csv(url, sep=',', compression='gzip', dtype=taxi_dtypes, parse_dates=dates)


@test
def test_output(output, *args) -> None:
    assert output is not None, 'The output is undefined'
""",
    )


TRANSFORMER = python(
    "course_transform",
    "transformer",
    "",
    """
@transformer
def transform(data, *args, **kwargs):
    print('without passengers:', data['passenger_count'].isin([0]).sum())

    return data[data['passenger_count'] > 0]


@test
def test_output(output, *args):
    assert output['passenger_count'].isin([0]).sum() == 0, 'There are rides without passengers'
""",
)


def to_postgres(table: str, name: str = "course_to_postgres") -> Block:
    """Into a table of Postgres, profile dev."""
    return python(
        name,
        "data_exporter",
        CONFIG + "from mage_ai.io.postgres import Postgres\nfrom pandas import DataFrame",
        f"""
@data_exporter
def export_data_to_postgres(df: DataFrame, **kwargs) -> None:
    schema_name = 'course'
    table_name = '{table}'
    config_path = path.join(get_repo_path(), 'io_config.yaml')
    config_profile = 'dev'

    with Postgres.with_config(ConfigFileLoader(config_path, config_profile)) as loader:
        loader.export(
            df,
            schema_name,
            table_name,
            index=False,
            if_exists='replace',
        )
""",
    )


TO_GCS = python(
    "course_to_gcs",
    "data_exporter",
    CONFIG + "from mage_ai.io.google_cloud_storage import GoogleCloudStorage\nfrom pandas import DataFrame",
    """
@data_exporter
def export_data_to_google_cloud_storage(df: DataFrame, **kwargs) -> None:
    config_path = path.join(get_repo_path(), 'io_config.yaml')
    config_profile = 'default'

    bucket_name = '{bucket}'
    object_key = 'course/nyc_taxi_data.parquet'

    GoogleCloudStorage.with_config(ConfigFileLoader(config_path, config_profile)).export(
        df,
        bucket_name,
        object_key,
    )
""",
)
TO_PARTITIONS = python(
    "course_to_gcs_partitioned",
    "data_exporter",
    "import pyarrow as pa\nimport pyarrow.parquet as pq",
    """
bucket_name = '{bucket}'
project_id = '{project}'
table_name = 'course/by_day'
root_path = f'{bucket_name}/{table_name}'


@data_exporter
def export_data(data, *args, **kwargs):
    data['tpep_pickup_date'] = data['tpep_pickup_datetime'].dt.date
    table = pa.Table.from_pandas(data)
    gcs = pa.fs.GcsFileSystem()

    pq.write_to_dataset(
        table,
        root_path=root_path,
        partition_cols=['tpep_pickup_date'],
        filesystem=gcs,
    )
""",
    below="course_transform",
)
FROM_GCS = python(
    "course_load_gcs",
    "data_loader",
    CONFIG + "from mage_ai.io.google_cloud_storage import GoogleCloudStorage",
    """
@data_loader
def load_from_google_cloud_storage(*args, **kwargs):
    config_path = path.join(get_repo_path(), 'io_config.yaml')
    config_profile = 'default'

    bucket_name = '{bucket}'
    object_key = 'course/nyc_taxi_data.parquet'

    return GoogleCloudStorage.with_config(ConfigFileLoader(config_path, config_profile)).load(
        bucket_name,
        object_key,
    )


@test
def test_output(output, *args) -> None:
    assert len(output) > 0, 'The object is not there'
""",
)
RENAMED = python(
    "course_rename",
    "transformer",
    "",
    """
@transformer
def transform(data, *args, **kwargs):
    data.columns = (
        data.columns
        .str.replace(' ', '_')
        .str.lower()
    )

    return data
""",
)
BY_DATE = python(
    "course_to_gcs_by_date",
    "data_exporter",
    CONFIG + "from mage_ai.io.google_cloud_storage import GoogleCloudStorage\nfrom pandas import DataFrame",
    """
@data_exporter
def export_data_to_google_cloud_storage(df: DataFrame, **kwargs) -> None:
    now = kwargs.get('execution_date')
    now_fpath = now.strftime("%Y/%m/%d")

    config_path = path.join(get_repo_path(), 'io_config.yaml')
    config_profile = 'default'

    bucket_name = '{bucket}'
    object_key = f'course/{now_fpath}/daily-trips.parquet'

    GoogleCloudStorage.with_config(ConfigFileLoader(config_path, config_profile)).export(
        df,
        bucket_name,
        object_key,
    )
""",
)
TO_BIGQUERY = python(
    "course_to_bigquery_by_python",
    "data_exporter",
    CONFIG + "from mage_ai.io.bigquery import BigQuery\nfrom pandas import DataFrame",
    """
@data_exporter
def export_data_to_big_query(df: DataFrame, **kwargs) -> None:
    table_id = '{project}.course.by_python'
    config_path = path.join(get_repo_path(), 'io_config.yaml')
    config_profile = 'default'

    BigQuery.with_config(ConfigFileLoader(config_path, config_profile)).export(
        df,
        table_id,
        if_exists='replace',
    )
""",
    below="course_rename",
)
INTO_BIGQUERY = {"data_provider_schema": "course", "data_provider_table": "yellow_cab_data"}
JANUARY, JULY = "2021-01", "2021-07"
LESSONS = {
    "2.2.3a connection": (query("course_select_1", "data_loader", "SELECT 1", "postgres", "dev", use_raw_sql=True),),
    "2.2.3b API to Postgres": (
        loader(JANUARY),
        TRANSFORMER,
        to_postgres("yellow_cab_data"),
        query(
            "course_look",
            "data_loader",
            "SELECT * FROM course.yellow_cab_data LIMIT 10",
            "postgres",
            "dev",
            use_raw_sql=True,
        ),
    ),
    "2.2.4b API to GCS": (loader(JANUARY), TRANSFORMER, TO_GCS, TO_PARTITIONS),
    "2.2.5a GCS to BigQuery": (
        FROM_GCS,
        RENAMED,
        query(
            "course_to_bigquery",
            "data_exporter",
            "SELECT * FROM {{ df_1 }}",
            "bigquery",
            "default",
            export_write_policy="replace",
            **INTO_BIGQUERY,
        ),
        query(
            "course_count",
            "data_loader",
            "SELECT COUNT(*) AS trips FROM course.yellow_cab_data",
            "bigquery",
            "default",
            use_raw_sql=True,
        ),
        TO_BIGQUERY,
    ),
    "2.2.6a by execution_date": (loader(JANUARY), BY_DATE),
    "own blocks after load_api_data": (
        Block("load_api_data", "data_loader"),
        Block("transform_taxi_data", "transformer"),
        Block("trips_as_dataframe", "transformer"),
        TRANSFORMER,
        to_postgres("from_manifest", "course_manifest_to_postgres"),
    ),
}
"""By video and step: the blocks of the lesson's own pipeline, from top to bottom."""
