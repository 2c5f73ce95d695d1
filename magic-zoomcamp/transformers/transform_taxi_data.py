from nyc_taxi.manifest import Manifest
from nyc_taxi.report.preview import show_manifest
from nyc_taxi.run import run_context
from nyc_taxi.transform.rules import apply_rules
from pandas import DataFrame

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@transformer
def transform_taxi_data(manifest: DataFrame, *args: object, **kwargs: object) -> DataFrame:
    """Judge every staged row by the run's rules; return the manifest with the outcome."""
    return show_manifest(apply_rules(Manifest.of_frame(manifest), run_context(kwargs).rules)).to_frame()


@test
def every_row_read_is_accepted_or_rejected(manifest: DataFrame, *args: object) -> None:
    for file in Manifest.of_frame(manifest).files:
        assert file.rows_accepted + file.rows_rejected == file.rows_read > 0, file
