"""A trigger of every minute, for minutes or for days: each minute has its run, and memory does not grow."""

import os
import time
from datetime import datetime, timedelta
from itertools import pairwise

import psutil
import pytest

from tests.server.conftest import Mage

MINUTES = int(os.environ.get("SOAK_MINUTES") or 10)
MOST_GROWTH = 150_000_000
"""Bytes, of all processes: what Python's allocator keeps of one round or another."""
pytestmark = [pytest.mark.mage, pytest.mark.soak, pytest.mark.timeout(0)]


def memory(mage: Mage) -> int:
    """Bytes that the server, its scheduler and all that they have started hold now."""
    server = psutil.Process(mage.server.pid)
    family = [server, *server.children(recursive=True)]
    held = 0
    for process in family:
        try:
            held += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return held


def test_every_minute_has_its_run_and_memory_does_not_grow(mage: Mage) -> None:
    trigger = mage.api.create(
        "pipelines/test_config/pipeline_schedules",
        name="every minute",
        schedule_type="time",
        schedule_interval="* * * * *",
        status="active",
    )
    ours = {"pipeline_uuid": "test_config", "pipeline_schedule_id": trigger["id"], "_limit": MINUTES + 5}
    mage.wait_for_runs(1, 120, **ours)
    before = memory(mage)
    began = time.monotonic()
    time.sleep(MINUTES * 60)
    mage.api.update("pipeline_schedules", trigger["id"], status="inactive")
    runs = mage.wait_for_runs(MINUTES + 1, 60, **ours)
    after = memory(mage)
    print(
        f"{len(runs)} runs in {(time.monotonic() - began) / 60:.1f} minutes; all processes held {before / 1e6:,.0f} MB "
        f"after the first, {after / 1e6:,.0f} MB after the last"
    )
    assert set(runs) == {"completed"}
    dates = sorted(datetime.fromisoformat(str(run["execution_date"])) for run in mage.ended(**ours))
    assert {later - earlier for earlier, later in pairwise(dates)} == {timedelta(minutes=1)}, "none is missing"
    assert after - before < MOST_GROWTH
