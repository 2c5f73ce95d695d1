from typing import Any

from mage_ai.orchestration.db.models.schedules import BlockRun
from nyc_taxi.operate.failures import describe, record
from nyc_taxi.settings import Settings

if "callback" not in globals():
    from mage_ai.data_preparation.decorators import callback


@callback("failure")
def record_failure(*args: object, **kwargs: Any) -> None:
    """Write into Mage, whose messages quote it, and into load_audit why a block of a run failed."""
    if not kwargs.get("pipeline_run_id"):
        return  # tried out in the editor, in front of a person
    run = block_run(kwargs["pipeline_run_id"], kwargs["parent_block_uuid"], kwargs.get("dynamic_block_index"))
    failure = describe(kwargs["__error"], run.block_uuid, kwargs)
    error = {"error": failure.error, "errors": [], "message": str(failure)}
    # Mage ends this process as soon as it finds a failed block, every few seconds: this one has not failed quite yet.
    run.update(metrics={**(run.metrics or {}), "error": error}, status=BlockRun.BlockRunStatus.RUNNING)
    try:
        record(failure, Settings.from_environment().postgres)
    finally:
        run.update(status=BlockRun.BlockRunStatus.FAILED)


def block_run(pipeline_run: int, block: str, index: int | None) -> BlockRun:
    """Mage's row of the block, or of one of its children, which have their parent's name and an index."""
    runs = BlockRun.query.filter(BlockRun.pipeline_run_id == pipeline_run).all()
    of_block = [run for run in runs if run.block_uuid.partition(":")[0] == block]
    return next(run for run in of_block if (run.metrics or {}).get("dynamic_block_index") == index)
