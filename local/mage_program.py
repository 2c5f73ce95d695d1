"""
Mage's program with one mend: python -P local/mage_program.py start ...

Mage's scheduler puts runs into a queue, from which a pool of processes takes them that ends when it is idle. Who puts a
run in while the pool is just ending finds it alive, and starts no other: the run waits until somebody puts in the next
one, for hours or a month, while its log says that it is alive. Here the scheduler looks again at every tick.
https://github.com/mage-ai/mage-ai/issues/6120 looks the same.

Run by its path, with -P: beside this file are modules called google and mage.
"""

import sys
from typing import Any


def keep_jobs_moving() -> None:
    """From now on, whoever cleans up the queue starts a pool for the jobs that wait without one."""
    from mage_ai.orchestration.queue.process_queue import ProcessQueue

    clean_up = ProcessQueue.clean_up_jobs

    def clean_up_and_go_on(jobs: Any) -> None:
        clean_up(jobs)
        if not jobs.queue.empty() and not jobs.is_worker_pool_alive():
            jobs.start_worker_pool()

    ProcessQueue.clean_up_jobs = clean_up_and_go_on


def main() -> None:
    """Mage's own command line, after that."""
    keep_jobs_moving()
    from mage_ai.cli.main import app

    sys.argv[0] = "mage"
    app()


if __name__ == "__main__":
    main()
