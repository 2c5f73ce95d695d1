"""The pipeline live_trips, through Mage itself: what it stores, what it says when it cannot, and how often."""

import shutil
import time
from pathlib import Path

import pytest
from nyc_taxi.live.executor import live_run
from nyc_taxi.live.store import stored_position
from nyc_taxi.settings import PostgresSettings, Settings

from ops.commands.run import PipelineFailed, run_pipeline
from ops.paths import PROJECT
from ops.ports import free_port
from tests.conftest import sql
from tests.nyc_taxi.live.streaming import TRIP, YELLOW, OwnBroker, held, publish, store_all, trips
from tests.pipelines.scheduled import scheduled_runs
from tests.receivers import WebhookReceiver

pytestmark = pytest.mark.mage

AS_COMMITTED = "delay: 30\n  exponential_backoff: false\n  max_delay: 1800"


def test_mage_stores_what_is_on_the_stream(env: dict[str, str], broker: OwnBroker, database: PostgresSettings) -> None:
    env["NATS_URL"] = broker.url
    publish(Settings.from_environment(env), *trips(250), TRIP | {"passenger_count": 0}, b"no trip")
    run_pipeline("live_trips", {"until_idle": "0.5", "messages_at_once": "100"}, env)
    assert held(database) == list(range(1, 251))
    assert sql(database, "SELECT message FROM ny_taxi.yellow_cab_data_live_rejected") == [(251,)]
    assert sql(database, "SELECT message FROM ny_taxi.live_not_trips") == [(252,)]


def test_without_a_broker_a_run_by_hand_ends_in_one_line(env: dict[str, str]) -> None:
    env["NATS_URL"] = f"nats://127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(PipelineFailed) as failed:
        run_pipeline("live_trips", {}, env)
    said = str(failed.value).splitlines()
    assert said[0].startswith(f"BrokerUnavailable: NATS at {env['NATS_URL']}: nothing listens there: start it")
    assert len(said) == 2
    assert time.monotonic() - began < 30


def test_a_sink_that_refuses_is_told_at_once_and_then_every_half_hour(
    env: dict[str, str], broker: OwnBroker, database: PostgresSettings, tmp_path: Path
) -> None:
    """The half hour is four seconds here, the thirty seconds between two attempts one."""
    project = tmp_path / PROJECT.name
    shutil.copytree(PROJECT, project)
    metadata = project / "pipelines" / "live_trips" / "metadata.yaml"
    assert AS_COMMITTED in metadata.read_text()
    metadata.write_text(
        metadata.read_text().replace(AS_COMMITTED, "delay: 1\n  exponential_backoff: false\n  max_delay: 4")
    )
    env["NATS_URL"] = broker.url
    publish(Settings.from_environment(env), *trips(5))
    stored_position(database, YELLOW)
    sql(database, "ALTER TABLE ny_taxi.live_zone_minutes ADD CONSTRAINT shut CHECK (trips < 0)")
    began = time.monotonic()
    with WebhookReceiver() as slack:
        runs, said = scheduled_runs("live_trips", [{}, {}], env | {"SLACK_WEBHOOK_URL": slack.url}, project)
    assert [run.status for run in runs] == ["failed"] * 2
    assert time.monotonic() - began > 4
    assert len(slack.texts()) == 2
    assert all("a constraint of the table refuses a row" in text for text in slack.texts())
    assert 1 <= said.count("Failed; trying again in 1 s: TargetUnavailable") <= 4
    assert held(database) == []
    sql(database, "ALTER TABLE ny_taxi.live_zone_minutes DROP CONSTRAINT shut")
    store_all(live_run({"until_idle": 0.2}, Settings.from_environment(env)))
    assert held(database) == [1, 2, 3, 4, 5]
