"""`taxi live`: a month replayed, stored by the pipeline, and compared; and what is refused in a line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ops.synthetic.generate import generate
from tests.ops.commands.conftest import run_taxi


@pytest.mark.mage
def test_a_month_is_replayed_stored_and_compared(local: dict[str, str]) -> None:
    folder = Path(local["HOME"]) / "trips"
    generate("yellow", "2021-01", "dtc", 2_000, folder)
    up = run_taxi(local, "up", "--trips", str(folder)).stdout
    url = up.partition("trip server  running at ")[2].partition(",")[0]
    month = ("--service", "yellow", "--month", "2021-01")
    assert run_taxi(local | {"TLC_DTC_BASE_URL": f"{url}/dtc"}, "run", "api_to_postgres", *month).returncode == 0
    replayed = run_taxi(local, "live", *month, "--speed", "1e9")
    assert replayed.stdout.splitlines()[1:] == [
        "All 2,000 trips of yellow 2021-01 are on the stream; 2,000 are not stored",
        "live_trips stores them: turn its trigger always_on on in the web UI, or `taxi run live_trips`",
    ]
    assert run_taxi(local, "run", "live_trips", "--set", "until_idle=0.5").returncode == 0
    compared = run_taxi(local, "live", *month, "--check")
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert compared.stdout.count("agrees") >= 5
    assert "DIFFERS" not in compared.stdout
    missing = run_taxi(local, "live", "--month", "2021-02")
    assert missing.returncode == 1
    assert missing.stderr.startswith("FAILED  yellow 2021-02 (dtc) is not staged in ")
    assert len(missing.stderr.splitlines()) == 1


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


def test_without_a_mage_there_is_nothing_to_stop(local: dict[str, str]) -> None:
    stopped = run_taxi(local | {"MAGE_HOST_PORT": "1"}, "live", "--stop")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert stopped.stdout.startswith("No Mage runs at http://127.0.0.1:1: nothing streams there")
