from nyc_taxi.course.homework import stage_months
from nyc_taxi.manifest import Manifest
from nyc_taxi.report.preview import show_manifest
from pandas import DataFrame

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_loader
def load_green_taxi(*args: object, **kwargs: object) -> DataFrame:
    """Fetch and stage the homework's three trip files, green 2020-10 to 2020-12; return their manifest."""
    return show_manifest(stage_months()).to_frame()


@test
def the_three_files_are_the_homeworks(manifest: DataFrame, *args: object) -> None:
    files = Manifest.of_frame(manifest).files
    rows = [file.rows_read for file in files]
    assert (rows, sum(rows)) == ([95_120, 88_605, 83_130], 266_855), (
        f"{rows} rows read: these are not the homework's files"
    )
    columns = [len(file.columns) for file in files]
    assert columns == [20, 20, 20], columns
