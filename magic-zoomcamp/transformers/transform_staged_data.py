from nyc_taxi.load.bigquery.month import StagedMonth, stage_month
from nyc_taxi.manifest import Manifest
from nyc_taxi.report.preview import show_manifest
from nyc_taxi.settings import Settings
from pandas import DataFrame

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@transformer
def transform_staged_data(manifest: DataFrame, *args: object, **kwargs: object) -> DataFrame:
    """Have BigQuery load the month beside its table; return both names and the table's lower-case columns."""
    [file] = show_manifest(Manifest.of_frame(manifest)).files
    return stage_month(file, Settings.from_environment().google).to_frame()


@test
def column_names_are_standardised(staged: DataFrame, *args: object) -> None:
    columns = StagedMonth.of_frame(staged).columns.split(", ")
    assert columns[-1] == "file_month"
    assert columns == [column.lower() for column in columns]
