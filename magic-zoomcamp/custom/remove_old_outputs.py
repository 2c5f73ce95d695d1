from pathlib import Path

from mage_ai.orchestration.db.models.schedules import PipelineRun
from mage_ai.settings.repo import get_variables_dir
from nyc_taxi.operate.retention import cutoff, remove_run_folders, report
from pandas import DataFrame

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@custom
def remove_old_outputs(runs: DataFrame, *args: object, **kwargs: object) -> DataFrame:
    """Remove block outputs and logs of runs that Mage no longer knows, if untouched for keep_days."""
    known = {(run.pipeline_uuid, run.execution_partition) for run in PipelineRun.query.all()}
    cleaned = remove_run_folders(Path(get_variables_dir()), known, cutoff(kwargs))
    return report([each.to_frame() for each in cleaned])


@test
def no_more_went_than_was_there(cleaned: DataFrame, *args: object) -> None:
    assert cleaned[["remain", "bytes_remain"]].ge(0).all(axis=None), cleaned.to_string()
