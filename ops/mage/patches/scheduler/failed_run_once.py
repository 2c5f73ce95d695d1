"""
The trigger of Run@once is done when its run is, also when that failed; so is a backfill.

Fault: Mage switches the trigger off when its run completes, or ends after blocks that were allowed to fail. After any
other failure, a time-out among them, it stays on for ever: a person sees a pipeline that is "active" and does nothing.
A backfill stays "running" for ever where a run of it failed whose blocks are allowed to fail.

Patch: what Mage does after a failed run switches the trigger off too, and says of the backfill that it failed. A retry
does not need either: a run is worked on whatever the state of its trigger.
"""

import inspect
from types import ModuleType
from typing import Any

UPSTREAM = "none filed"
MODULE = "mage_ai.orchestration.pipeline_scheduler_original"


def is_needed(scheduler: ModuleType) -> bool:
    """Whether a failed run leaves its trigger as it is."""
    return "INACTIVE" not in inspect.getsource(scheduler.PipelineScheduler.on_pipeline_run_failure)


def apply(scheduler: ModuleType) -> None:
    """Add to what is done after a failed run."""
    from mage_ai.data_preparation.models.triggers import ScheduleInterval, ScheduleStatus, ScheduleType

    scheduler_of = scheduler.PipelineScheduler
    after_failure, status = scheduler_of.on_pipeline_run_failure, scheduler.PipelineRun.PipelineRunStatus

    def after_failure_and_switch_off(run: Any, *args: Any, **given: Any) -> None:
        after_failure(run, *args, **given)
        trigger = run.pipeline_run.pipeline_schedule
        if trigger and (trigger.schedule_type, trigger.schedule_interval, trigger.status) == (
            ScheduleType.TIME,
            ScheduleInterval.ONCE,
            ScheduleStatus.ACTIVE,
        ):
            trigger.update(status=ScheduleStatus.INACTIVE)
        for backfill in trigger.backfills if trigger else ():
            if run.pipeline_run.status == status.FAILED and backfill.status == backfill.Status.RUNNING:
                backfill.update(status=backfill.Status.FAILED)

    scheduler_of.on_pipeline_run_failure = after_failure_and_switch_off
