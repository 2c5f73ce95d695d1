from nyc_taxi.operate.retention import report
from pandas import DataFrame

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@custom
def report_clean_up(runs: DataFrame, outputs: DataFrame, staged: DataFrame, *args: object) -> DataFrame:
    """What was there, what was removed and what remains, of every kind."""
    return report([runs, outputs, staged])


@test
def every_kind_is_reported(table: DataFrame, *args: object) -> None:
    assert len(table) == len(set(table["what"])) == 4, table.to_string()
