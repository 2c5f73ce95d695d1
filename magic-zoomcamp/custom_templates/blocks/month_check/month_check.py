from nyc_taxi.manifest import Manifest
from pandas import DataFrame

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test

MOST_REJECTED = 0.5


@custom
def month_check(manifest: DataFrame, *args: object, **kwargs: object) -> DataFrame:  # name it like the block
    """What share of each month was rejected; a run whose test fails is failed, whatever was loaded before."""
    files = Manifest.of_frame(manifest).files
    rows = [(file.service_name, file.month_text, file.rows_rejected / file.rows_read) for file in files]
    return DataFrame(rows, columns=["service", "month", "share_rejected"])


@test
def most_rows_are_accepted(shares: DataFrame, *args: object) -> None:
    assert shares["share_rejected"].max() <= MOST_REJECTED, shares.to_string()
