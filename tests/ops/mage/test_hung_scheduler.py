"""A scheduler that hangs is seen by the health check, and started anew by the server."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from ops.container import health
from ops.paths import ROOT
from tests.conftest import process_environment

# A real scheduler, on a database of its own, that is put to sleep.
SCRIPT = """
import os, signal, sys, time
from ops.mage import program

program.install()
from mage_ai.settings.repo import set_repo_path

set_repo_path(sys.argv[1])
from mage_ai.server import scheduler_manager as manager
from ops.mage.program import patches
from ops.wait import wait_until

hung = patches()["hung_scheduler"]
hung.LOOKS = 3
scheduler, look = manager.scheduler_manager, manager.check_scheduler_status
# What a container left that ended long ago says nothing of this one.
with open(os.environ["MAGE_DATA_DIR"] + "/" + hung.NAME, "w") as file:
    file.write(str(time.monotonic() - 10_000))
old = hung.moved()
scheduler.start_scheduler()
first = scheduler.get_scheduler_pid()
look()
assert scheduler.get_scheduler_pid() == first, "ended before it could move"
assert wait_until(lambda: hung.moved() != old, 90), "it never moved"
# A server that was paused with its scheduler has not looked: the first look afterwards finds nothing wrong.
os.kill(first, signal.SIGSTOP)
time.sleep(2)
for _ in range(3):
    look()
print(scheduler.get_scheduler_pid() == first)
look()
second = scheduler.get_scheduler_pid()
print(first != second, scheduler.is_alive)
before = hung.moved()
for _ in range(3):
    look()
print(scheduler.get_scheduler_pid() == second)
print(wait_until(lambda: hung.moved() != before, 60))
# One that hangs before its first round is seen too.
os.kill(second, signal.SIGSTOP)
os.remove(os.environ["MAGE_DATA_DIR"] + "/" + hung.NAME)
for _ in range(5):
    look()
third = scheduler.get_scheduler_pid()
print(third != second)
hung.end(third)
hung.end(third)
"""


@pytest.mark.mage
def test_a_scheduler_that_hangs_is_started_anew(tmp_path: Path) -> None:
    env = {
        **process_environment(),
        "MAGE_DATA_DIR": str(tmp_path),
        "MAGE_DATABASE_CONNECTION_URL": f"sqlite:///{tmp_path / 'mage.db'}",
        "SCHEDULER_TRIGGER_INTERVAL": "1",
    }
    project = tmp_path / "project"
    project.mkdir()
    (project / "metadata.yaml").write_text("project_type: standalone\n")
    command = [sys.executable, "-c", SCRIPT, str(project)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
    assert done.stdout.split()[-6:] == ["True"] * 6


def test_the_health_check_sees_whether_the_scheduler_has_moved_lately(tmp_path: Path) -> None:
    assert not health.has_moved(tmp_path), "it has not begun yet"
    (tmp_path / "scheduler.moved").write_text(str(time.monotonic() - 30))
    assert health.has_moved(tmp_path)
    for text in (str(time.monotonic() - 1_000), str(time.monotonic() + 1_000), "", "x"):
        (tmp_path / "scheduler.moved").write_text(text)
        assert not health.has_moved(tmp_path), text
