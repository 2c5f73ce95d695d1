"""
A run by hand has an execution date, and it is a datetime, as in a run by a trigger.

Fault: in `mage run` there is none, and one that is given stays text. A block that writes its day's folder by
`kwargs["execution_date"].strftime`, as the course does, works by a trigger only, and so does every SQL block.

Patch: before a pipeline runs without a pipeline run, the execution date becomes a datetime in UTC: this moment, or what
was given. One that was given takes the place of the pipeline's own default_date as well.
"""

import inspect
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

UPSTREAM = "none filed"
MODULE = "mage_ai.data_preparation.executors.pipeline_executor"


def is_needed(pipeline_executor: ModuleType) -> bool:
    """Whether who runs a pipeline gives it no execution date."""
    from mage_ai.cli import main

    return not any("execution_date" in inspect.getsource(source) for source in (pipeline_executor, main))


def apply(pipeline_executor: ModuleType) -> None:
    """Change what a pipeline is run with."""
    executor = pipeline_executor.PipelineExecutor
    execute = executor.execute

    def execute_on_a_date(self: Any, *args: Any, global_vars: Any = None, **given: Any) -> Any:
        if given.get("pipeline_run_id") is None:
            global_vars = global_vars or {}
            global_vars = global_vars | dated(global_vars.get("execution_date"))
        return execute(self, *args, global_vars=global_vars, **given)

    executor.execute = execute_on_a_date


def dated(execution_date: object) -> dict[str, object]:
    """The variables that say when a run is; ValueError for text that is no date. Text without a zone is in UTC."""
    if not isinstance(execution_date, str | None):
        return {}
    text = (execution_date or "").strip()
    if not text:
        return {"execution_date": datetime.now(UTC)}
    try:
        when = datetime.fromisoformat(text)
        when = when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"execution_date {execution_date!r} is not a date such as 2021-01-31T00:00:00") from None
    return {"execution_date": when, "default_date": when.isoformat()}
