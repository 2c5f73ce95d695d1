"""
A month that runs as a job of Cloud Run: started once, under a name of its own, in the server's present image.

Fault: Mage names a job after the number of its block run and, where such a job is there already, runs that one. It is
kept after a failure: a retry has the image and the settings of then. Two deployments in a project, whose numbers both
begin at 1, run each other's jobs. A job that dies without a word, for want of memory, Google starts four times, and
Mage's scheduler, which finds a block that is at work and has no process, again and again after that. A job has the
size of the server.

Patch: the name ends with letters that are drawn for it. LOAD_MONTH_JOB_CPU and LOAD_MONTH_JOB_MEMORY are its size.
Google starts it once. When it has ended without saying that it is done or failed, its block is failed, with the reason,
and whoever wants to know of it is told as of any other failure.
"""

import inspect
import os
import re
import secrets
from types import ModuleType, SimpleNamespace
from typing import Any

UPSTREAM = "https://github.com/mage-ai/mage-ai/issues/5004"  # of the size
MODULE = "mage_ai.data_preparation.executors.gcp_cloud_run_block_executor"
LIMITS = {"cpu": "LOAD_MONTH_JOB_CPU", "memory": "LOAD_MONTH_JOB_MEMORY"}


class JobDied(Exception):
    """A job that ended, or could not be started, and has not said what its block came to."""


def is_needed(executor: ModuleType) -> bool:
    """Whether a job's name is that of its block run and no more."""
    return "f'mage-data-prep-block-{block_run_id}'" in inspect.getsource(executor.GcpCloudRunBlockExecutor.execute)


def apply(executor: ModuleType) -> None:
    """Change how a job is named, sized, and what its end means."""
    cloud_run = executor.cloud_run
    run_job, google = cloud_run.run_job, cloud_run.run_v2

    def task(*, containers: Any, **given: Any) -> Any:
        limits = {what: os.environ[name] for what, name in LIMITS.items() if os.environ.get(name)}
        for container in containers if limits else ():
            container.resources.limits = {**container.resources.limits, **limits}
        return google.TaskTemplate(containers=containers, max_retries=0, **given)

    class OurGoogle(SimpleNamespace):
        """Google's module, but for what a task is."""

        TaskTemplate = staticmethod(task)

        def __getattr__(self, name: str) -> Any:
            return getattr(google, name)

    cloud_run.run_v2 = OurGoogle()
    cloud_run.run_job = lambda command, job, **given: run_job(command, own_name(job), **given)
    executor_of = executor.GcpCloudRunBlockExecutor
    execute = executor_of.execute

    def execute_and_look(block: Any, block_run_id: Any = None, **given: Any) -> Any:
        try:
            return execute(block, block_run_id=block_run_id, **given)
        except Exception as error:
            if fail(block, block_run_id, error, given):
                return None
            raise

    executor_of.execute = execute_and_look


def own_name(job: str) -> str:
    """Of at most 63 letters: the deployment's, the block run's number, and letters that no other job has."""
    service = re.sub(r"[^a-z0-9-]", "-", os.environ.get("GCP_SERVICE_NAME", "").lower())[:20].strip("-")
    return f"{service or 'mage'}-block-{job.rpartition('-')[2]}-{secrets.token_hex(5)}"


def fail(block: Any, block_run_id: Any, error: Exception, given: Any) -> bool:
    """Fail the block, if its job has not said how it ended; whether it was so."""
    from mage_ai.orchestration.db.models.schedules import BlockRun

    run = BlockRun.query.get(block_run_id) if block_run_id else None
    if run is None:
        return False
    run.refresh()
    if run.status in (BlockRun.BlockRunStatus.COMPLETED, BlockRun.BlockRunStatus.FAILED):
        return False
    died = JobDied(
        f"the job of {run.block_uuid} has ended without a word: its log is in Cloud Logging; where it lacked memory, "
        f"raise {LIMITS['memory']}, then retry the run's incomplete blocks [{' '.join(str(error).split())[:300]}]"
    )
    try:
        raise died from error
    except JobDied:
        block.logger.exception(f"Failed to execute block {run.block_uuid}", error=died)
    block.execute_callback(
        "on_failure",
        block_run_id=block_run_id,
        callback_kwargs={"__error": died},
        dynamic_block_index=(run.metrics or {}).get("dynamic_block_index"),
        dynamic_upstream_block_uuids=(run.metrics or {}).get("dynamic_upstream_block_uuids"),
        global_vars=given.get("global_vars") or run.pipeline_run.get_variables(),
        logging_tags=block.build_tags(block_run_id=block_run_id, pipeline_run_id=run.pipeline_run_id),
        pipeline_run=run.pipeline_run,
    )
    run.refresh()
    run.update(status=BlockRun.BlockRunStatus.FAILED)
    block.logger_manager.output_logs_to_destination()
    return True
