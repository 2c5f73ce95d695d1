"""
What a Mage server that sends its blocks to Cloud Run would ask Google for, printed as JSON; nothing is sent.

    python -m tests.server.cloud_job <project folder> <pipeline> <block run id> [dies]

`dies`: the job ends, and has said nothing.
"""

import json
import sys
from importlib import import_module
from unittest.mock import patch

from ops.mage import program

program.install()
from mage_ai.settings.repo import set_repo_path  # noqa: E402  # patched, as in the server


def main() -> None:
    """Execute the block run as the scheduler does, with Google's clients replaced by ones that only listen."""
    run_v2 = import_module("google.cloud.run_v2")  # not every checkout has it installed
    project, pipeline_uuid, block_run_id, *dies = sys.argv[1:]
    set_repo_path(project)
    from mage_ai.data_preparation.executors.executor_factory import ExecutorFactory
    from mage_ai.data_preparation.models.pipeline import Pipeline
    from mage_ai.orchestration.db import db_connection
    from mage_ai.orchestration.db.models.schedules import BlockRun

    db_connection.start_session()
    pipeline = Pipeline.get(pipeline_uuid, repo_path=project)
    block_run = BlockRun.query.get(int(block_run_id))
    chosen = {
        block.uuid: type(ExecutorFactory.get_block_executor(pipeline, block.uuid)).__name__
        for block in pipeline.blocks_by_uuid.values()
    }
    server = run_v2.Service(
        template=run_v2.RevisionTemplate(
            containers=[
                run_v2.Container(
                    image="the-servers-image",
                    resources=run_v2.ResourceRequirements(limits={"cpu": "1", "memory": "4Gi"}),
                )
            ]
        )
    )
    with patch.object(run_v2, "ServicesClient") as services, patch.object(run_v2, "JobsClient") as jobs:
        services.return_value.get_service.return_value = server
        if dies:
            jobs.return_value.run_job.return_value.result.side_effect = RuntimeError("Task failed: signal 9")
        ExecutorFactory.get_block_executor(
            pipeline,
            block_run.block_uuid,
            block_run_id=block_run.id,
            execution_partition=block_run.pipeline_run.execution_partition,
        ).execute(block_run_id=block_run.id, pipeline_run_id=block_run.pipeline_run_id)
    request = jobs.return_value.create_job.call_args.kwargs["request"]
    task = request.job.template.template
    [container] = task.containers
    asked = {
        "parent": request.parent,
        "service": services.return_value.get_service.call_args.args[0].name,
        "image": container.image,
        "command": list(container.command),
        "seconds": task.timeout.total_seconds(),
        "job": request.job_id,
        "started": jobs.return_value.run_job.call_args.kwargs["request"].name,
        "retries": task.max_retries,
        "limits": dict(container.resources.limits),
    }
    print(json.dumps({"executors": chosen, "asked": asked}))


if __name__ == "__main__":
    main()
