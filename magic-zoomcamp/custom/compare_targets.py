from nyc_taxi.load.reconciliation import measure_targets, of_manifest, to_frame
from nyc_taxi.manifest import Manifest
from nyc_taxi.settings import Settings
from pandas import DataFrame

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@custom
def compare_targets(
    manifest: DataFrame, in_postgres: DataFrame, in_days: DataFrame, in_bigquery: DataFrame, *args: object
) -> DataFrame:
    """Ask every target what it has of the month; return the numbers side by side."""
    [file] = Manifest.of_frame(manifest).files
    held = measure_targets(file.service, file.month, Settings.from_environment())
    compared = to_frame([of_manifest(file), *held])
    print(f"{file.service_name} {file.month} in every target:\n{compared.to_string(index=False)}", flush=True)
    return compared


@test
def all_targets_agree(compared: DataFrame, *args: object) -> None:
    assert len(compared) == 5
    assert compared["agrees"].all(), compared.to_string(index=False)
