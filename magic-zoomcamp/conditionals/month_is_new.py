from nyc_taxi.operate import freshness

if "condition" not in globals():
    from mage_ai.data_preparation.decorators import condition


@condition
def month_is_new(*args: object, **kwargs: object) -> bool:
    """Whether the run's month must be loaded: False skips the whole run. The variable force overrides it."""
    return freshness.month_is_new(kwargs)
