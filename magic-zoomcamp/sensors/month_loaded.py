from nyc_taxi.operate.marts import prepare_marts, wait_until_loaded

if "sensor" not in globals():
    from mage_ai.data_preparation.decorators import sensor


@sensor
def month_loaded(*args: object, **kwargs: object) -> bool:
    """Wait until trips of the run's month are in its target, for wait_hours at most; make what else dbt reads there."""
    wait_until_loaded(kwargs)
    prepare_marts(kwargs)
    return True
