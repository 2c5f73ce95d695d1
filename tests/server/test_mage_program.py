"""Mage as it is started here: what its own program does not do, or does too late."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ops.mage.api import MageApi, MageApiError
from tests.conftest import sql
from tests.server.conftest import Mage, wait

SECONDS = 4
"""What the callback takes: some ticks of the scheduler, which would have ended its process."""
BLOCK = """
@custom
def fail_at_once(*args, **kwargs):
    raise ValueError("no trips today")
"""
CALLBACK = f"""
import time
from pathlib import Path
from mage_ai.orchestration.db.models.schedules import BlockRun

@callback("failure")
def tell_slowly(*args, **kwargs):
    time.sleep({SECONDS})
    run = BlockRun.get(pipeline_run_id=kwargs["pipeline_run_id"], block_uuid=kwargs["parent_block_uuid"])
    run.update(metrics={{"error": {{"error": "", "errors": [], "message": "told after {SECONDS} s"}}}})
    Path(kwargs["told"]).touch()
"""


@pytest.fixture(params=[True, False], ids=["in one process", "a process for each block"])
def failing(request: pytest.FixtureRequest, mage: Mage, tmp_path: Path) -> Iterator[str]:
    """A pipeline whose only block fails and whose callback is slow, and then makes the file `told`; gone afterwards."""
    project = mage.checkout / "magic-zoomcamp"
    files = {"custom/fail_at_once.py": BLOCK, "callbacks/tell_slowly.py": CALLBACK}
    for name, text in files.items():
        (project / name).write_text(text)
    folder = shutil.copytree(project / "pipelines" / "test_config", project / "pipelines" / "failing")
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text()) | {"name": "failing", "uuid": "failing"}
    block = metadata["blocks"][0] | {"language": "python", "configuration": {}, "retry_config": {"retries": 0}}
    metadata["blocks"] = [block | {"name": "fail_at_once", "uuid": "fail_at_once", "type": "custom"}]
    callback = block | {"name": "tell_slowly", "uuid": "tell_slowly", "type": "callback"}
    metadata["callbacks"] = [callback | {"upstream_blocks": ["fail_at_once"]}]
    metadata |= {"run_pipeline_in_one_process": request.param, "variables": {"told": str(tmp_path / "told")}}
    (folder / "metadata.yaml").write_text(yaml.dump(metadata))
    yield "failing"
    for trigger in mage.api.list("pipelines/failing/pipeline_schedules"):
        mage.api.delete("pipeline_schedules", trigger["id"])
    shutil.rmtree(folder)
    for name in files:
        (project / name).unlink()


def test_a_slow_callback_ends_before_its_run_does(mage: Mage, failing: str, tmp_path: Path) -> None:
    once = {"name": "once", "schedule_type": "time", "schedule_interval": "@once", "status": "active"}
    mage.api.create(f"pipelines/{failing}/pipeline_schedules", **once)
    assert mage.wait_for_runs(1, pipeline_uuid=failing) == ["failed"]
    assert (tmp_path / "told").exists()
    link = f"/pipelines/{failing}/runs/{mage.runs(pipeline_uuid=failing)[0]['id']}"
    message = wait(lambda: next((text for text in mage.messages.texts() if link in text), None), 30, "a message")
    assert "Failed blocks: fail_at_once." in message
    # Of a block with a process of its own, Mage itself tells the error.
    assert f"told after {SECONDS} s" in message or "no trips today" in message


def test_a_person_changes_a_password_and_is_told_so(mage: Mage) -> None:
    [owner] = mage.api.list("users")
    named = {"email": "colleague@example.org", "username": "colleague"}
    first, second = ({"password": word, "password_confirmation": word} for word in ("first-word", "second-word"))
    roles = [role["id"] for role in mage.api.list("roles")[:2]]
    made = mage.api.create("users", **named, **first, roles_new=roles)
    try:
        colleague = MageApi(mage.server.url, named["email"], "first-word")
        assert colleague.get("users", made["id"])["email"] == named["email"]
        changed = colleague.update("users", made["id"], **second, password_current="first-word")
        assert changed["email"] == named["email"]
        assert MageApi(mage.server.url, named["email"], "second-word").list("pipelines")
        with pytest.raises(MageApiError, match="/api/sessions"):
            MageApi(mage.server.url, named["email"], "first-word").list("pipelines")
        # A right that two of a person's roles give is one right.
        [(right,)] = sql(mage.metadata, "SELECT min(id) FROM permission")
        for role in roles:
            sql(mage.metadata, f"INSERT INTO role_permission (role_id, permission_id) VALUES ({role}, {right})")
        rights = mage.api.get("users", made["id"])["permissions"]
        assert [found["id"] for found in rights] == [right]
    finally:
        sql(mage.metadata, "DELETE FROM role_permission")
        mage.api.delete("users", made["id"])
    assert mage.api.get("users", owner["id"])["email"] == owner["email"]
