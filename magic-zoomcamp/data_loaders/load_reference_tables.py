from nyc_taxi.catalog.references import to_frame
from nyc_taxi.operate.references import stage_references
from nyc_taxi.settings import Settings
from pandas import DataFrame

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_loader
def load_reference_tables(*args: object, **kwargs: object) -> DataFrame:
    """Fetch TLC's list of taxi zones, and make the tables of codes; return where each table lies."""
    return to_frame(stage_references(Settings.from_environment()))


@test
def every_table_has_rows(staged: DataFrame, *args: object) -> None:
    assert staged["rows"].min() > 0
