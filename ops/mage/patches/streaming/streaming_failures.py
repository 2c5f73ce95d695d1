"""
A streaming pipeline that fails says so at once, and then every half hour until it works again.

Fault: without retries in its settings, nobody is told: the run goes on to be "running" while its process ends and
begins anew every ten seconds. With retries, the first message comes when they are used up; one that gives up quickly
fails with a message every ten seconds, for the trigger always makes the next run. And the seconds that a run has waited
are counted over its whole life: after some weeks of little faults, each healed, a run fails though all is well.

Patch: a run fails, with its message, unless another one of the pipeline did in the last `max_delay` seconds of its
retry_config; until then it tries again every `delay` seconds. By hand, in front of a person, it fails at once.
"""

import inspect
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

UPSTREAM = "none filed"
MODULE = "mage_ai.data_preparation.executors.streaming_pipeline_executor"


def is_needed(executor: ModuleType) -> bool:
    """Whether the waits of a run are counted over its life."""
    return "total_delay" in inspect.getsource(executor.retry)


def apply(executor: ModuleType) -> None:
    """Change when a failure is told, and when it is tried again."""

    def retry(*, delay: float, max_delay: float, logger: Any, logging_tags: dict[str, Any], **_: Any) -> Any:
        def decorate(run: Callable[[], None]) -> Callable[[], None]:
            def until_it_must_be_told() -> None:
                while True:
                    try:
                        return run()
                    except Exception as error:
                        if not told_since(logging_tags, timedelta(seconds=max_delay)):
                            raise
                        logger.exception(f"Failed; trying again in {delay} s", error=error, **logging_tags)
                        time.sleep(delay)

            return until_it_must_be_told

        return decorate

    executor.retry = retry  # type: ignore[attr-defined]


def told_since(tags: dict[str, Any], span: timedelta) -> bool:
    """Whether another run of the pipeline has failed within that time: Mage sent a message then."""
    from mage_ai.orchestration.db.models.schedules import PipelineRun

    if not tags.get("pipeline_run_id"):
        return False
    failed = PipelineRun.query.filter(
        PipelineRun.pipeline_uuid == tags["pipeline_uuid"],
        PipelineRun.status == PipelineRun.PipelineRunStatus.FAILED,
        PipelineRun.completed_at > datetime.now(UTC) - span,
    )
    return bool(failed.count())
