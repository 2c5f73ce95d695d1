"""
Runs of a pipeline as Mage's scheduler makes them, in a process of their own: with conditions, retries and callbacks.

    python -m tests.pipelines.scheduled <project> <pipeline> <JSON list of each run's variables>

Prints one line of JSON per run: its status, and by block the status and the error that Mage keeps.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ops.mage import program
from ops.paths import PROJECT, ROOT

SIGN = "RUN "


@dataclass(frozen=True)
class Run:
    """A run that has ended."""

    id: int
    status: str
    blocks: dict[str, str]
    """Status by block."""
    errors: dict[str, dict[str, Any]]
    """What Mage keeps of a block's error."""


def scheduled_runs(
    pipeline: str, runs: list[dict[str, object]], env: Mapping[str, str], project: Path = PROJECT
) -> tuple[list[Run], str]:
    """Run the pipeline once for each set of variables, one after the other; also what was printed meanwhile."""
    command = [sys.executable, "-m", "tests.pipelines.scheduled", str(project), pipeline, json.dumps(runs)]
    done = subprocess.run(
        command, cwd=ROOT, env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    found = [Run(**json.loads(line[len(SIGN) :])) for line in done.stdout.splitlines() if line.startswith(SIGN)]
    assert (done.returncode, len(found)) == (0, len(runs)), done.stdout[-5_000:]
    return found, done.stdout


def main() -> None:
    """Read the command line, make the runs."""
    project, pipeline, runs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    program.install()
    from mage_ai.settings.repo import set_repo_path

    set_repo_path(project)  # before anything else of Mage: its database is found from there
    from mage_ai.orchestration.db import db_connection
    from mage_ai.orchestration.db.database_manager import database_manager
    from mage_ai.orchestration.db.models.schedules import BlockRun, PipelineRun, PipelineSchedule
    from mage_ai.orchestration.pipeline_scheduler import PipelineScheduler, run_pipeline

    database_manager.run_migrations()
    db_connection.start_session()
    schedule = PipelineSchedule.create(name="a trigger", pipeline_uuid=pipeline, repo_path=project)
    for variables in runs:
        run = PipelineRun.create(
            pipeline_schedule_id=schedule.id,
            pipeline_uuid=pipeline,
            execution_date=datetime(2021, 3, 1, tzinfo=UTC),
            variables=variables,
        )
        scheduler = PipelineScheduler(run)
        scheduler.start(should_schedule=False)
        try:
            run_pipeline(run.id, run.get_variables(), {})
        except Exception as error:  # noqa: BLE001  Mage's worker process ends with it as well
            print(f"the run ended with {type(error).__name__}")
        run.refresh()
        scheduler.schedule()
        run.refresh()
        blocks = BlockRun.query.filter(BlockRun.pipeline_run_id == run.id).all()
        said = {
            "id": run.id,
            "status": run.status,
            "blocks": {block.block_uuid: block.status for block in blocks},
            "errors": {block.block_uuid: block.metrics["error"] for block in blocks if block.metrics},
        }
        print(f"{SIGN}{json.dumps(said)}", flush=True)


if __name__ == "__main__":
    main()
