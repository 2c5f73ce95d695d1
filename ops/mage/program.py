"""
Mage's program with three mends, and on Cloud Run a fourth: python -P ops/mage/program.py start ...

Run by its path, with -P: beside this file are modules called google and mage.
"""

import os
import sys
from pathlib import Path
from typing import Any


def keep_jobs_moving() -> None:
    """
    From now on, whoever cleans up the queue starts a pool for the jobs that wait without one.

    Mage's scheduler puts runs into a queue, from which a pool of processes takes them that ends when it is idle. Who
    puts a run in while the pool is just ending finds it alive, and starts no other: the run waits until somebody puts
    in the next one, for hours or a month, while its log says that it is alive. The scheduler cleans up at every tick.
    https://github.com/mage-ai/mage-ai/issues/6120 looks the same.
    """
    from mage_ai.orchestration.queue.process_queue import ProcessQueue

    clean_up = ProcessQueue.clean_up_jobs

    def clean_up_and_go_on(jobs: Any) -> None:
        clean_up(jobs)
        if not jobs.queue.empty() and not jobs.is_worker_pool_alive():
            jobs.start_worker_pool()

    ProcessQueue.clean_up_jobs = clean_up_and_go_on


def let_callbacks_end() -> None:
    """
    From now on, a block of a run in one process counts as failed when its callbacks are done.

    Mage writes the failure down first. Its scheduler, which finds it at the next tick, then ends the process of the
    run, callback or not, and sends the message that the callback was to fill.
    """
    from mage_ai.data_preparation.executors.block_executor import BlockExecutor
    from mage_ai.orchestration.db.models.schedules import BlockRun

    execute = BlockExecutor.execute
    write_down = BlockExecutor._BlockExecutor__update_block_run_status

    def execute_and_write_down(executor: Any, *args: Any, on_failure: Any = None, **given: Any) -> Any:
        failed = []
        try:
            return execute(executor, *args, on_failure=on_failure or (lambda *_, **__: failed.append(True)), **given)
        finally:
            if failed:
                run = {name: given.get(name) for name in ("block_run_id", "callback_url")}
                write_down(executor, BlockRun.BlockRunStatus.FAILED, **run)

    BlockExecutor.execute = execute_and_write_down


def show_people() -> None:
    """
    From now on, the page of a person opens, and a password that was changed is said to be.

    Mage looks for permissions with `from_self`, which SQLAlchemy has no more since version 2: whoever looked at a
    person, or changed one, got an error, although the change was made.
    """
    from mage_ai.orchestration.db.cache import CachingQuery
    from sqlalchemy.sql.util import ClauseAdapter

    def from_self(query: Any) -> Any:
        inner = query.subquery()
        outer = query.session.query(*inner.c)
        narrow, to_inner = outer.filter, ClauseAdapter(inner).traverse
        outer.filter = lambda *conditions: narrow(*map(to_inner, conditions))
        return outer

    CachingQuery.from_self = from_self


def main() -> None:
    """Mage's own command line, after that. The project is the argument after `start`."""
    from mage_ai.settings.repo import set_repo_path

    # As Mage itself does, before anything reads the project's settings or opens its database.
    set_repo_path(os.path.abspath(sys.argv[2]))
    keep_jobs_moving()
    let_callbacks_end()
    show_people()
    if "K_SERVICE" in os.environ:  # Cloud Run says so; what comes through its front door has a token of Google's
        sys.path.append(str(Path(__file__).parents[2]))
        from ops.mage.patches.google_identity_token import take_googles_tokens_away

        take_googles_tokens_away()
    from mage_ai.cli.main import app

    sys.argv[0] = "mage"
    app()


if __name__ == "__main__":
    main()
