from nyc_taxi.course.passengers import read_clean
from nyc_taxi.settings import Settings
from pandas import DataFrame

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_loader
def load_titanic_clean(*args: object, **kwargs: object) -> DataFrame:
    """The local titanic_clean.csv that example_pipeline wrote."""
    return read_clean(Settings.from_environment().staging_dir)


@test
def there_are_passengers(df: DataFrame, *args: object) -> None:
    assert len(df) > 0
