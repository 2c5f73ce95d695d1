"""The demo, as a newcomer runs it."""

from dataclasses import replace

import pytest
from nyc_taxi.load.bucket import month as bucket
from nyc_taxi.load.reconciliation import Held
from nyc_taxi.settings import Settings

from ops.commands import demo as demo_command
from ops.commands.demo import Loaded
from ops.commands.run import PipelineFailed
from ops.stack.google import GoogleServer
from ops.stack.trip_server import TripServer
from tests.conftest import environment_of
from tests.nyc_taxi.load.loading import judged
from tests.ops.commands.conftest import run_taxi


@pytest.mark.mage
def test_the_demo_fills_tables_whose_numbers_agree(local: dict[str, str]) -> None:
    demo = run_taxi(local, "demo")
    assert demo.returncode == 0, demo.stdout[-3000:] + demo.stderr[-3000:]
    assert "All numbers agree" in demo.stdout
    drawn = [line.replace("┃", "│") for line in demo.stdout.splitlines()]
    lines = [line.strip("│").split("│") for line in drawn if line.startswith("│")]
    shown = {name.strip(): [cell.strip() for cell in cells] for name, *cells in lines if name.strip()}
    headings = {" ".join(cell.strip() for cell in file) for file in zip(*lines[:3], strict=True)}
    files = {"yellow 2021-01 csv.gz", "yellow 2021-02 csv.gz", "green 2021-01 parquet", "green 2021-02 parquet"}
    assert {heading for heading in headings if heading.strip()} == files
    assert shown["rows read"] == ["100,000", "90,000", "40,000", "35,000"]
    places = ("in Postgres", "in GCS, month", "in GCS, days", "in BigQuery", "marts, Postgres", "marts, BigQuery")
    assert [shown[place] for place in places] == [shown["accepted"]] * 6
    assert shown["agree"] == ["yes"] * 4
    answer = run_taxi(local, "sql", "select count(*) from ny_taxi.yellow_cab_data")
    in_postgres = sum(int(cell.replace(",", "")) for cell in shown["in Postgres"][:2])
    assert answer.stdout == f"count\n{in_postgres}\n"


@pytest.mark.mage
def test_the_demo_does_not_replace_real_months(local: dict[str, str]) -> None:
    real = "UPDATE ny_taxi.load_audit SET url = 'https://example.org/yellow' WHERE service = 'yellow'"
    assert run_taxi(local, "sql", real).returncode == 0
    demo = run_taxi(local, "demo")
    assert demo.returncode == 1
    assert "ny_taxi holds yellow 2021-01 from https://example.org/yellow" in demo.stderr
    assert "POSTGRES_SCHEMA=ny_taxi_demo NYC_TAXI_LOCAL_DIR=.local/demo make demo" in demo.stderr


def test_the_demo_does_not_replace_real_months_in_the_bucket(
    settings: Settings, trips: TripServer, google_server: GoogleServer
) -> None:
    env = {**environment_of(settings.postgres), **google_server.environment()}
    file = judged(settings, trips, "yellow", "2021-02", "dtc", 500)
    google = Settings.from_environment(env).google
    bucket.replace_month(file, google)
    demo_command._refuse_to_replace_real_months(env)
    bucket.replace_month(replace(file, url="https://example.org/yellow"), google)
    with pytest.raises(PipelineFailed, match=r"^gs://.+ holds yellow 2021-02 from https://example.org/yellow"):
        demo_command._refuse_to_replace_real_months(env)


SUMS = {"total_amount": 1.5}
HELD = Held("Postgres", 8, SUMS)
AGREEING = Loaded("a file", 10, 10, 8, {"no_passengers": 2}, SUMS, 1.0, 2, [HELD, replace(HELD, where="BigQuery")])


def test_numbers_that_agree_agree() -> None:
    assert AGREEING.agrees


@pytest.mark.parametrize(
    "other",
    [
        replace(AGREEING, rows_published=11),
        replace(AGREEING, rows_read=9),
        replace(AGREEING, rejected={"no_passengers": 1}),
        replace(AGREEING, rejected_in_postgres=1),
        replace(AGREEING, places=[HELD, replace(HELD, rows=7)]),
        replace(AGREEING, places=[replace(HELD, sums={"total_amount": 1.51}), HELD]),
    ],
)
def test_any_number_that_disagrees_is_seen(other: Loaded) -> None:
    assert not other.agrees
