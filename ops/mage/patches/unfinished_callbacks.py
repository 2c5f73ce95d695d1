"""
A block counts as failed when its callbacks are done, and no earlier.

Fault: Mage writes the failure down first, and then calls the callbacks. Its scheduler finds the failure at its next
tick: it ends the run and, where that has one process, the process too, callback or not, and sends the message that the
callback was to fill. A person sees a message without the cause, and no row in the audit.

Patch: the failure is written down after the callbacks.
"""

import inspect
from types import ModuleType
from typing import Any

UPSTREAM = "none filed"
MODULE = "mage_ai.data_preparation.executors.block_executor"


def is_needed(block_executor: ModuleType) -> bool:
    """Whether a failure is written down before its callbacks are called."""
    source = inspect.getsource(block_executor.BlockExecutor.execute)
    _, found, failure = source.partition("if on_failure is not None:")
    return bool(found) and failure.find("BlockRunStatus.FAILED") < failure.find("'on_failure'")


def apply(block_executor: ModuleType) -> None:
    """Change the order of the two."""
    from mage_ai.orchestration.db.models.schedules import BlockRun

    executor_of = block_executor.BlockExecutor
    execute = executor_of.execute
    write_down = executor_of._BlockExecutor__update_block_run_status

    def execute_and_write_down(executor: Any, *args: Any, on_failure: Any = None, **given: Any) -> Any:
        failed: list[tuple[Any, Any]] = []
        try:
            return execute(executor, *args, on_failure=lambda *said, **more: failed.append((said, more)), **given)
        finally:
            run = {name: given.get(name) for name in ("block_run_id", "callback_url")}
            for said, more in failed:
                if on_failure:
                    on_failure(*said, **more)
                else:
                    write_down(executor, BlockRun.BlockRunStatus.FAILED, **run)

    executor_of.execute = execute_and_write_down
