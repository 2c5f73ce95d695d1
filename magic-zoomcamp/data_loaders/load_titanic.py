import pandas as pd
import requests
from nyc_taxi.course.passengers import passenger_list, read_published

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_loader
def load_titanic(*args: object, **kwargs: object) -> pd.DataFrame:
    """The Titanic's passenger list from the web; without the web, a synthetic list of the same shape."""
    try:
        return read_published()
    except requests.RequestException as error:
        print(f"The published list cannot be reached ({type(error).__name__}): using a synthetic one")
        return passenger_list()


@test
def there_are_passengers_of_unknown_age(df: pd.DataFrame, *args: object) -> None:
    assert len(df) > 0
    assert df["Age"].isna().any()
