from nyc_taxi.operate.sensors import wait_until_in_lake

if "sensor" not in globals():
    from mage_ai.data_preparation.decorators import sensor


@sensor
def month_in_lake(*args: object, **kwargs: object) -> bool:
    """Wait until the bucket has the run's service and month, as published now, for wait_hours at most."""
    wait_until_in_lake(kwargs)
    return True
