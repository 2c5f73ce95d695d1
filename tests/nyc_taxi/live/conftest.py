"""A run that stores the stream of the tests' own broker."""

from dataclasses import replace

import pytest
from nyc_taxi.live.executor import LiveRun, live_run
from nyc_taxi.settings import PostgresSettings

from tests.nyc_taxi.live.streaming import OwnBroker, settings_of


@pytest.fixture
def run(broker: OwnBroker, database: PostgresSettings) -> LiveRun:
    """A run of the test's own, that ends when nothing comes."""
    variables = {"until_idle": 0.2, "messages_at_once": 100}
    return live_run(variables, replace(settings_of(broker), postgres=database))
