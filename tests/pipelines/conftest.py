"""What the tests of pipelines share: the environment of a run that is the test's own."""

from pathlib import Path

import pytest
from nyc_taxi.settings import Settings

from ops.stack.google import GoogleServer
from ops.stack.trip_server import TripServer
from tests.conftest import environment_of, process_environment


@pytest.fixture
def env(
    settings: Settings, trips: TripServer, google_server: GoogleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """The environment of a run that touches nothing but the test's own servers and folders."""
    monkeypatch.setenv("NYC_TAXI_LOCAL_DIR", str(tmp_path / "local"))
    return {
        **process_environment(),
        **google_server.environment(),
        **environment_of(settings.postgres),
        "TLC_DTC_BASE_URL": trips.dtc_base_url,
        "TLC_PARQUET_BASE_URL": trips.tlc_base_url,
        "STAGING_DIR": str(settings.staging_dir),
        "MAGE_DATA_DIR": str(tmp_path / "mage"),
    }
