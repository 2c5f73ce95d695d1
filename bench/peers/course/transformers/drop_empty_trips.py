"""Drop the trips without passengers."""

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@transformer
def drop_empty_trips(trips, *args, **kwargs):
    """The trips that carried somebody."""
    print(f"trips without passengers: {(trips['passenger_count'] == 0).sum()}")
    return trips[trips["passenger_count"] > 0]


@test
def test_every_trip_has_passengers(trips, *args) -> None:
    """No trip without passengers is left."""
    assert (trips["passenger_count"] == 0).sum() == 0, "there are trips without passengers"  # noqa: S101
