"""The stream in a server: an executor that is killed is followed by another one, and a stop is for good."""

import signal
import time
from contextlib import suppress

import psutil
import pytest
from nyc_taxi.settings import Settings

from ops.commands.live.stop import going_on, stop_live
from tests.conftest import sql
from tests.nyc_taxi.live.streaming import OwnBroker, held, publish, trips
from tests.server.conftest import OWNER, Mage, wait

pytestmark = pytest.mark.mage


def executors(mage: Mage, broker: OwnBroker) -> list[psutil.Process]:
    """The processes of the server that are connected to the broker."""
    found = []
    for process in psutil.Process(mage.server.pid).children(recursive=True):
        with suppress(psutil.Error):  # it has ended meanwhile
            remote = {each.raddr.port for each in process.net_connections() if each.raddr}
            found += [process] if broker.running.port in remote else []
    return found


def test_a_killed_executor_is_followed_by_another_and_a_stop_is_for_good(
    mage: Mage, broker: OwnBroker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings.from_environment({"NATS_URL": broker.url})
    publish(settings, *trips(100))
    # Not the shipped one: Mage would note in its file when it was on.
    given = {"schedule_type": "time", "schedule_interval": "@always_on", "status": "active"}
    mage.api.create("pipelines/live_trips/pipeline_schedules", name="a stream", **given)

    def stored(count: int) -> bool:
        there = sql(mage.database, "SELECT to_regclass('ny_taxi.yellow_cab_data_live') IS NOT NULL") == [(True,)]
        return there and held(mage.database) == list(range(1, count + 1))

    wait(lambda: stored(100), 60, "the first trips")
    [executor] = executors(mage, broker)
    executor.send_signal(signal.SIGKILL)
    publish(settings, *trips(50))
    wait(lambda: stored(150), 60, "the trips after the kill")
    for name, value in (("URL", mage.server.url), ("EMAIL", OWNER.email), ("PASSWORD", OWNER.password)):
        monkeypatch.setenv(f"MAGE_{name}", value)
    stop_live()
    said = capsys.readouterr().out
    assert "The trigger a stream of live_trips is off" in said
    assert said.count("is cancelled; what it had stored is stored") == 1
    wait(lambda: not executors(mage, broker), 30, "the end of the executor")
    publish(settings, *trips(50))
    time.sleep(4)  # some ticks of the scheduler, each of which could make a run
    assert (going_on(mage.api), stored(150)) == ([], True)
    stop_live()
    assert capsys.readouterr().out == "live_trips has no run and no trigger that is on: nothing streams\n"
