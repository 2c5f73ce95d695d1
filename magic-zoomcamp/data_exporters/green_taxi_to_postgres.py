from nyc_taxi.course.homework import CleanTrips
from nyc_taxi.course.homework_targets import check_table, replace_table
from nyc_taxi.report.preview import show
from nyc_taxi.settings import Settings
from pandas import DataFrame

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_exporter
def green_taxi_to_postgres(cleaned: DataFrame, *args: object, **kwargs: object) -> DataFrame:
    """Replace the table mage.green_taxi as a whole; return what it was made of."""
    trips = CleanTrips.of_frame(cleaned)
    replace_table(trips, Settings.from_environment().postgres)
    show(trips.batches(), trips.total_kept, trips.path)
    return cleaned


@test
def the_table_holds_the_homeworks_trips(cleaned: DataFrame, *args: object) -> None:
    assert check_table(CleanTrips.of_frame(cleaned), Settings.from_environment().postgres) == 139_370
