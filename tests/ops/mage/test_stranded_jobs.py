"""A run that is put into Mage's queue while the pool of workers is just ending is not forgotten."""

import subprocess
import sys
from pathlib import Path

import pytest

from ops.paths import ROOT
from tests.conftest import process_environment

# The pool is alive when the job comes, and ends without a look at it.
SCRIPT = """
import sys, time
from multiprocessing import Process
from pathlib import Path
from ops.mage import program

if sys.argv[1] == "fixed":
    program.install()
from mage_ai.orchestration.queue.config import QueueConfig
from mage_ai.orchestration.queue.process_queue import ProcessQueue

jobs = ProcessQueue(QueueConfig(concurrency=1))
jobs.start()
jobs.worker_pool_proc = Process(target=time.sleep, args=(0.5,))
jobs.worker_pool_proc.start()
done = Path(sys.argv[2])
jobs.enqueue("pipeline_run_1", done.touch)
jobs.worker_pool_proc.join()
for tick in range(8):
    assert done.exists() or jobs.has_job("pipeline_run_1")  # so that the scheduler puts it in no second time
    jobs.clean_up_jobs()
    time.sleep(0.5)
print("done" if done.exists() else "waits")
jobs.stop()
"""


@pytest.mark.mage
@pytest.mark.parametrize(("mage", "job"), [("as it is", "waits"), ("fixed", "done")])
def test_a_job_that_comes_while_the_pool_ends_is_done_at_the_next_tick(mage: str, job: str, tmp_path: Path) -> None:
    env = {
        **process_environment(),
        "MAGE_DATA_DIR": str(tmp_path),
        "MAGE_DATABASE_CONNECTION_URL": f"sqlite:///{tmp_path / 'mage.db'}",
    }
    command = [sys.executable, "-c", SCRIPT, mage, str(tmp_path / "done")]
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == job
