from nyc_taxi.operate.sensors import wait_until_published

if "sensor" not in globals():
    from mage_ai.data_preparation.decorators import sensor


@sensor
def trip_file_published(*args: object, **kwargs: object) -> bool:
    """Wait until the origin has the trip file of the run's service and month, for wait_hours at most."""
    wait_until_published(kwargs)
    return True
