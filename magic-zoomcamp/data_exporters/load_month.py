from nyc_taxi.operate import many_months
from nyc_taxi.operate.many_months import Chosen
from nyc_taxi.run import run_context
from pandas import DataFrame

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_exporter
def load_month(chosen: Chosen, *args: object, **kwargs: object) -> DataFrame:
    """Take the child's one month from its origin to Postgres; return its numbers. What fails here fails alone."""
    return many_months.load_month(run_context({**kwargs, **chosen})).to_frame()


@test
def every_row_read_is_accepted_or_rejected(loaded: DataFrame, *args: object) -> None:
    [month] = loaded.to_dict("records")
    assert month["rows_accepted"] + month["rows_rejected"] == month["rows_read"] > 0, month
