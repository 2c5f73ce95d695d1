"""Which servers the commands reach: those that are named, else this machine's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.stack import stack
from ops.stack.environment import environment

GOOGLE = (
    "BIGQUERY_DATASET",
    "BIGQUERY_EMULATOR_HOST",
    "CLOUD_STORAGE_EMULATOR_ENDPOINT",
    "GCS_BUCKET",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_LOCATION",
    "STORAGE_EMULATOR_HOST",
)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[stack.Stack]:
    """The stack in a folder of its own, running, and no variable that names another server."""
    monkeypatch.setenv("NYC_TAXI_LOCAL_DIR", str(tmp_path / "local"))
    for name in ("HOST", "PORT", "DBNAME", "USER", "PASSWORD"):
        monkeypatch.delenv(f"POSTGRES_{name}", raising=False)
    for name in GOOGLE:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "trips").mkdir()
    yield stack.up()
    stack.down()


def test_without_a_named_server_it_is_this_machines(own: stack.Stack) -> None:
    assert own.postgres is not None
    assert environment()["POSTGRES_PORT"] == str(own.postgres.port)


def test_a_named_server_is_used_even_while_this_machines_runs(
    own: stack.Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_HOST", "db.example")
    monkeypatch.setenv("POSTGRES_PASSWORD", "theirs")
    found = environment(tmp_path / "trips")
    assert (found["POSTGRES_HOST"], found["POSTGRES_PASSWORD"]) == ("db.example", "theirs")
    assert found["TLC_DTC_BASE_URL"].startswith("http://127.0.0.1:")


def test_without_a_bucket_all_of_google_is_the_emulators_and_nothing_a_persons_own(
    own: stack.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in GOOGLE:
        if name != "GCS_BUCKET":
            monkeypatch.setenv(name, "mine")
    assert own.google is not None
    emulators = own.google.environment()
    assert set(emulators) == set(GOOGLE)
    assert {name: environment()[name] for name in GOOGLE} == emulators


def test_who_needs_no_cloud_starts_no_emulator_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NYC_TAXI_LOCAL_DIR", str(tmp_path / "local"))
    monkeypatch.setenv("POSTGRES_HOST", "db.example")
    for name in GOOGLE:
        monkeypatch.delenv(name, raising=False)
    assert environment(with_google=False)["POSTGRES_HOST"] == "db.example"
    assert stack.status() == stack.Stack(None, None, None, None)


def test_a_bucket_that_is_named_is_the_real_clouds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NYC_TAXI_LOCAL_DIR", str(tmp_path / "local"))
    for name in GOOGLE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("POSTGRES_HOST", "db.example")
    monkeypatch.setenv("GCS_BUCKET", "real-trips")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "real-project")
    assert {name: value for name, value in environment().items() if name in GOOGLE} == {
        "BIGQUERY_DATASET": "ny_taxi",
        "GCS_BUCKET": "real-trips",
        "GOOGLE_CLOUD_PROJECT": "real-project",
        "GOOGLE_LOCATION": "US",
    }
    assert not (tmp_path / "local").exists()  # nothing was started
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:4443")
    monkeypatch.setenv("GOOGLE_LOCATION", "EU")
    found = environment()
    assert (found["STORAGE_EMULATOR_HOST"], found["GOOGLE_LOCATION"]) == ("http://127.0.0.1:4443", "EU")


def test_synthetic_trips_never_reach_a_real_bucket(
    own: stack.Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCS_BUCKET", "real-trips")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "real-project")
    assert own.google is not None
    found = environment(tmp_path / "trips")
    assert {name: found[name] for name in GOOGLE} == own.google.environment()
