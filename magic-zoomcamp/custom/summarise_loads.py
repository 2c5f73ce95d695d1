from nyc_taxi.operate.many_months import check_summary, choose_months, summarise
from pandas import DataFrame

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@custom
def summarise_loads(loaded: list[DataFrame], *args: object, **kwargs: object) -> DataFrame:
    """What every child loaded, as one table with its totals."""
    return summarise(loaded)


@test
def every_chosen_month_is_there_once(summary: DataFrame, *args: object, **kwargs: object) -> None:
    check_summary(summary, choose_months(kwargs))
