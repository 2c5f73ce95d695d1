"""A server that follows git: triggers that git changes, and syncs that fail."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest
import yaml

from ops.mage.server import metadata_url
from ops.paths import ROOT
from tests.conftest import sql
from tests.server.conftest import Mage, wait

pytestmark = pytest.mark.mage

PIPELINE = "test_config"
OLD = datetime(2020, 1, 1)
SYNC = """
import sys
from ops.mage import program

program.install()
from mage_ai.settings.repo import set_repo_path

set_repo_path(sys.argv[1])
from mage_ai.data_preparation.sync import GitConfig
from mage_ai.orchestration.utils.git import run_git_sync

for link in sys.argv[2:]:
    config = GitConfig(remote_repo_link=link, repo_path=sys.argv[1], branch="main", auth_type="https")
    print(run_git_sync(sync_config=config)["status"])
"""


@pytest.fixture
def triggers(mage: Mage) -> Iterator[Path]:
    """The file of a pipeline's triggers, which has none."""
    path = mage.checkout / "magic-zoomcamp" / "pipelines" / PIPELINE / "triggers.yaml"
    assert not path.exists()
    yield path
    path.unlink()
    sql(mage.metadata, "UPDATE pipeline_schedule SET status = 'INACTIVE' WHERE name = 'of_git'")


def commit(path: Path, cron: str) -> None:
    """What a sync makes of the file: the cron that was pushed, and the date of long ago."""
    trigger: dict[str, object] = {
        "name": "of_git",
        "schedule_type": "time",
        "schedule_interval": cron,
        "start_time": None,
        "status": "active",
        "last_enabled_at": OLD,
        "variables": {},
    }
    path.write_text(yaml.safe_dump({"triggers": [trigger]}))


def test_a_trigger_that_git_changes_fires_at_its_next_tick_and_not_at_once(mage: Mage, triggers: Path) -> None:
    def known(cron: str) -> list[tuple[object, ...]]:
        return sql(
            mage.metadata,
            "SELECT id, extract(epoch FROM last_enabled_at) FROM pipeline_schedule "
            f"WHERE name = 'of_git' AND schedule_interval = '{cron}'",
        )

    began = time.time()
    for cron in ("0 0 1 1 *", "0 0 1 2 *"):
        commit(triggers, cron)
        [(number, enabled)] = wait(partial(known, cron), 30, "the trigger")
        assert float(str(enabled)) > began - 5, "it is on from now, whatever the file says"
        commit(triggers, cron)  # the next sync puts the file back
        time.sleep(4)  # ticks of the scheduler
        assert known(cron) == [(number, enabled)]
    # Asked of the database: Mage's list of a pipeline's runs has those of all its triggers.
    of_trigger = f"SELECT id FROM pipeline_run WHERE pipeline_schedule_id = {number}"
    assert sql(mage.metadata, of_trigger) == []
    commit(triggers, "* * * * *")
    wait(lambda: sql(mage.metadata, of_trigger) or None, 90, "the run of the next minute")


def test_a_sync_that_fails_twice_is_one_message_with_what_to_do(mage: Mage, tmp_path: Path) -> None:
    project = Path(shutil.copytree(mage.checkout, tmp_path / "checkout")) / "magic-zoomcamp"
    before = len(mage.messages.texts())
    command = [sys.executable, "-c", SYNC, str(project), *3 * ["http://127.0.0.1:9/nobody.git"]]
    env = {**mage.server.env, "MAGE_DATABASE_CONNECTION_URL": metadata_url(mage.server.env)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split()[-3:] == 3 * ["failed"], done.stderr[-2_000:]
    [message] = mage.messages.texts()[before:]
    assert "cannot be brought up to date from git" in message
    assert "http://127.0.0.1:9/nobody.git, branch main: " in message
