from nyc_taxi.course.homework import CleanTrips
from nyc_taxi.course.homework_targets import check_days, replace_days
from nyc_taxi.report.preview import show
from nyc_taxi.settings import Settings
from pandas import DataFrame

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_exporter
def green_taxi_to_gcs(cleaned: DataFrame, *args: object, **kwargs: object) -> DataFrame:
    """Replace the folders green_taxi/lpep_pickup_date=YYYY-MM-DD in the bucket; return what they were made of."""
    trips = CleanTrips.of_frame(cleaned)
    replace_days(trips, Settings.from_environment().google)
    show(trips.batches(), trips.total_kept, trips.path)
    return cleaned


@test
def there_is_a_partition_for_each_of_the_homeworks_days(cleaned: DataFrame, *args: object) -> None:
    assert check_days(CleanTrips.of_frame(cleaned), Settings.from_environment().google) == 95
