from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.manifest import Manifest
from nyc_taxi.report.preview import show_manifest
from nyc_taxi.run import run_context
from pandas import DataFrame

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_loader
def load_api_data(*args: object, **kwargs: object) -> DataFrame:
    """Fetch the trip file of the run's service and month, conform and stage it; return its manifest."""
    return show_manifest(stage_trip_file(run_context(kwargs))).to_frame()


@test
def every_row_read_is_staged_or_malformed(manifest: DataFrame, *args: object) -> None:
    for file in Manifest.of_frame(manifest).files:
        assert file.rows_staged + sum(file.malformed.values()) == file.rows_read > 0, file
