"""
A run that comes into the queue while its pool of workers is just ending does not wait there for the next one.

Fault: Mage's scheduler puts runs into a queue, from which a pool of processes takes them that ends when it is idle. Who
puts a run in while the pool is just ending finds it alive, and starts no other. A person sees a run that does not
begin, for hours or a month, until somebody starts another one, while its log says again and again that it is alive.

Patch: whoever cleans up the queue, which the scheduler does at every tick, starts a pool for the jobs that wait
without one.
"""

import inspect
from types import ModuleType
from typing import Any

UPSTREAM = "https://github.com/mage-ai/mage-ai/issues/6120"  # it looks the same; no cause is named there
MODULE = "mage_ai.orchestration.queue.process_queue"


def is_needed(process_queue: ModuleType) -> bool:
    """Whether only who puts a job in starts a pool."""
    source = inspect.getsource(process_queue)
    return source.count("self.start_worker_pool()") == 1


def apply(process_queue: ModuleType) -> None:
    """Change how the queue is cleaned up."""
    queue = process_queue.ProcessQueue
    clean_up = queue.clean_up_jobs

    def clean_up_and_go_on(jobs: Any) -> None:
        clean_up(jobs)
        if not jobs.queue.empty() and not jobs.is_worker_pool_alive():
            jobs.start_worker_pool()

    queue.clean_up_jobs = clean_up_and_go_on
