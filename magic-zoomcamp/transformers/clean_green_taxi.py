from nyc_taxi.course.homework import CleanTrips, clean
from nyc_taxi.manifest import Manifest
from nyc_taxi.report.preview import show
from nyc_taxi.settings import Settings
from pandas import DataFrame

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@transformer
def clean_green_taxi(manifest: DataFrame, *args: object, **kwargs: object) -> DataFrame:
    """Keep trips with passengers and a distance, add the date, names in snake case; return where they are."""
    trips = clean(Manifest.of_frame(manifest), Settings.from_environment().staging_dir)
    show(trips.batches(), trips.total_kept, trips.path)
    return trips.to_frame()


@test
def the_clean_trips_are_the_homeworks(cleaned: DataFrame, *args: object) -> None:
    trips = CleanTrips.of_frame(cleaned)
    kept = list(trips.rows_kept.values())
    assert (kept, trips.total_kept) == ([49_269, 45_870, 44_231], 139_370), kept
    assert trips.total_kept + sum(trips.rejected.values()) == trips.total_read == 266_855, trips
    assert trips.distinct("vendor_id") == {1, 2}
    assert min(trips.distinct("passenger_count")) > 0
    assert min(trips.distinct("trip_distance")) > 0
    assert len(trips.distinct("lpep_pickup_date")) == 95
    assert (len(trips.columns_read), len(trips.columns_renamed)) == (20, 4), trips.columns_renamed
