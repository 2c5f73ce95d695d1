from mage_ai.orchestration.db import db_connection
from mage_ai.orchestration.db.models.schedules import BlockRun, PipelineRun, PipelineSchedule
from nyc_taxi.operate.retention import Cleaned, Run, cutoff, old_runs
from pandas import DataFrame

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@custom
def remove_old_runs(*args: object, **kwargs: object) -> DataFrame:
    """Remove finished runs from Mage's database that are older than keep_days; the latest of each trigger stays."""
    triggers = [trigger.id for trigger in PipelineSchedule.repo_query]
    rows = PipelineRun.query.filter(PipelineRun.pipeline_schedule_id.in_(triggers)).all()
    runs = [Run(r.id, r.pipeline_schedule_id, r.execution_date, str(r.status), r.updated_at) for r in rows]
    old = old_runs(runs, cutoff(kwargs))
    for model, column in ((BlockRun, BlockRun.pipeline_run_id), (PipelineRun, PipelineRun.id)):
        model.query.filter(column.in_(old)).delete(synchronize_session=False)
    db_connection.session.commit()
    return Cleaned("finished and other runs", len(runs), len(old)).to_frame()


@test
def this_run_is_still_there(cleaned: DataFrame, *args: object, **kwargs: object) -> None:
    run = kwargs.get("pipeline_run_id")
    assert run is None or PipelineRun.query.get(run) is not None, "an active run was removed"
