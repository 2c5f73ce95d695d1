from nyc_taxi.course.frames import LIMIT, trips_frame
from nyc_taxi.manifest import Manifest
from nyc_taxi.run import text_of
from pandas import DataFrame

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@transformer
def trips_as_dataframe(manifest: DataFrame, *args: object, **kwargs: object) -> DataFrame:
    """The trips themselves, for pandas blocks below: `rows` is accepted or all, `row_limit` how many at most."""
    rows, limit = text_of(kwargs.get("rows"), "accepted"), text_of(kwargs.get("row_limit"), str(LIMIT))
    return trips_frame(Manifest.of_frame(manifest), rows, limit)


@test
def there_are_trips(trips: DataFrame, *args: object) -> None:
    assert len(trips) > 0
