"""
A block may run after its upstream blocks have ended, although some of their children failed.

Fault: one child of a dynamic block that fails takes with it what comes after all of them: of eleven months that were
loaded and one that was missing, nobody gets a summary. Run@once even cancels the children that are still at work.

Patch: a block whose configuration says `trigger_rule: all_done_min_one_success` (Airflow's word for it) waits until all
children have ended and runs if one of them completed; in its pipeline a failed block leaves the others alone, whatever
the trigger's settings. The run is a failed one all the same, and its message tells of the block that failed first.
"""

import inspect
from types import ModuleType
from typing import Any

UPSTREAM = "none filed"
MODULE = "mage_ai.orchestration.db.models.schedules"
RULE = "all_done_min_one_success"


def is_needed(schedules: ModuleType) -> bool:
    """Whether Mage knows no such rule."""
    return "trigger_rule" not in inspect.getsource(schedules)


def apply(schedules: Any) -> None:
    """Change which blocks of a run are failed by others, which can start, and what a failed one ends."""
    run_of, trigger_of = schedules.PipelineRun, schedules.PipelineSchedule
    mark, choose, settings_of = run_of.update_block_run_statuses, run_of.executable_block_runs, trigger_of.get_settings

    def mark_all_but_those_that_wait(run: Any, block_runs: list[Any]) -> None:
        mark(run, [each for each in block_runs if not _may_run(run, each)])

    def choose_those_that_waited_too(run: Any, *args: Any, **given: Any) -> list[Any]:
        chosen: list[Any] = choose(run, *args, **given)
        waited = [each for each in run.initial_block_runs if each not in chosen and _may_run(run, each)]
        return chosen + [each for each in waited if all(child.status in ENDED for child in _children(run, each))]

    def settings_with_rule(trigger: Any) -> Any:
        settings = settings_of(trigger)
        pipeline = trigger.pipeline
        if pipeline and any(_has_rule(block) for block in pipeline.blocks_by_uuid.values()):
            settings.allow_blocks_to_fail = True
        return settings

    def failed_in_order(run: Any) -> list[Any]:
        failed = [each for each in run.block_runs if each.status == status.FAILED]
        return sorted(failed, key=lambda each: (each.started_at is None, each.started_at or 0))

    status = schedules.BlockRun.BlockRunStatus
    ENDED = {status.COMPLETED, status.FAILED, status.UPSTREAM_FAILED, status.CONDITION_FAILED}

    def _may_run(run: Any, block_run: Any) -> bool:
        """Whether the rule can still hold: a child has completed, or may."""
        children = _children(run, block_run)
        return any(child.status == status.COMPLETED or child.status not in ENDED for child in children)

    run_of.update_block_run_statuses = mark_all_but_those_that_wait
    run_of.executable_block_runs = choose_those_that_waited_too
    run_of.failed_block_runs = property(failed_in_order)
    trigger_of.get_settings = settings_with_rule


def _has_rule(block: Any) -> bool:
    return (block.configuration or {}).get("trigger_rule") == RULE


def _children(run: Any, block_run: Any) -> list[Any]:
    """The runs of the children of its upstream blocks, if the rule is the block's; none before they are made."""
    block = run.pipeline.get_block(block_run.block_uuid)
    if block is None or not _has_rule(block):
        return []
    return [
        each
        for each in run.block_runs
        if each.block_uuid.partition(":")[0] in block.upstream_block_uuids and ":" in each.block_uuid
    ]
