from nyc_taxi.operate import many_months
from nyc_taxi.operate.many_months import Chosen
from nyc_taxi.run import run_context

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_loader
def choose_months(*args: object, **kwargs: object) -> list[list[Chosen]]:
    """Every month of every service that the run names: for each child its variables, and what to call it."""
    chosen = [{"service": run.service.name, "month": str(run.month)} for run in many_months.choose_months(kwargs)]
    return [chosen, [{"block_uuid": f"{each['service']}_{each['month']}"} for each in chosen]]


@test
def every_child_has_a_month_of_its_own(chosen: list[Chosen], names: object, *args: object, **kwargs: object) -> None:
    runs = [run_context({**kwargs, **each}) for each in chosen]
    assert len({str(run) for run in runs}) == len(runs) > 0, chosen
