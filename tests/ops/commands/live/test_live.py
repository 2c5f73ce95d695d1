"""`taxi live`: a month replayed, stored by the pipeline, and compared; and what is refused in a line."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.live.executor import live_run
from nyc_taxi.load.postgres.month import replace_month
from nyc_taxi.settings import Settings
from nyc_taxi.transform.rules import apply_rules

from ops.cli import taxi
from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.conftest import environment_of, run_of, sql
from tests.nyc_taxi.live.streaming import OwnBroker, settings_of, store_all


@pytest.fixture
def taxi_live(
    settings: Settings, broker: OwnBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """The command line, against the test's own servers."""
    own = {
        **environment_of(settings.postgres),
        "NATS_URL": broker.url,
        "GCS_BUCKET": "nobody-asks-for-it",
        "STAGING_DIR": str(settings.staging_dir),
        "NYC_TAXI_LOCAL_DIR": str(tmp_path / "local"),
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(taxi, ["live", *arguments], prog_name="taxi")


def test_a_month_is_replayed_stored_compared_and_forgotten(
    taxi_live: Callable[..., Result], settings: Settings, broker: OwnBroker, trips: TripServer
) -> None:
    generate("yellow", "2021-01", "dtc", 2_000, trips.folder)
    run = run_of(settings, "yellow", "2021-01", "dtc")
    month = ("--service", "yellow", "--month", "2021-01")
    missing = taxi_live(*month)
    assert (missing.exit_code, len(missing.output.splitlines())) == (1, 1)
    assert missing.output.startswith("FAILED  yellow 2021-01 (dtc) is not staged in ")
    [file] = apply_rules(stage_trip_file(run), run.rules).files
    replace_month(file, settings.postgres)
    assert taxi_live(*month, "--speed", "1e9").output.splitlines()[-2:] == [
        "All 2,000 trips of yellow 2021-01 are on the stream; 2,000 are not stored",
        "live_trips stores them: turn its trigger always_on on in the web UI, or `taxi run live_trips`",
    ]
    store_all(live_run({"until_idle": 0.2}, replace(settings, broker=settings_of(broker).broker)))
    compared = taxi_live(*month, "--check")
    assert (compared.exit_code, compared.output.count("agrees")) == (0, 6), compared.output
    sql(settings.postgres, "DELETE FROM ny_taxi.yellow_cab_data_live")
    differs = taxi_live(*month, "--check")
    assert (differs.exit_code, differs.output.count("DIFFERS")) == (1, 3), differs.output
    assert taxi_live("--forget").exit_code == 0
    assert taxi_live(*month, "--check").output == "FAILED  no yellow stream is stored: run taxi live, and live_trips\n"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--month", "2021-01", "--speed", "0"], "0 is not a number above 0, such as 600"),
        (["--month", "2021-01", "--speed", "-600"], "-600 is not a number above 0"),
        (["--month", "2021-01", "--speed", "nan"], "nan is not a number above 0"),
        (["--month", "2021-13"], "2021-13"),
        (["--month", "2035-01"], "yellow 2035-01 does not exist at origin dtc"),
        (["--service", "purple", "--month", "2021-01"], "service 'purple' is not one of"),
        ([], "Missing option '--month'"),
        (["--stop", "--forget"], "One of --check, --stop and --forget"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    arguments: list[str], why: str, refused: Callable[..., str]
) -> None:
    assert why in refused("live", *arguments)


def test_without_a_mage_there_is_nothing_to_stop(
    taxi_live: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAGE_HOST_PORT", "1")
    stopped = taxi_live("--stop")
    assert stopped.exit_code == 0
    assert stopped.output.startswith("No Mage runs at http://127.0.0.1:1: nothing streams there")
