"""`taxi coverage`: the grid on a terminal, and the whole command on a real Postgres and emulators."""

from dataclasses import replace
from datetime import date
from pathlib import Path

from nyc_taxi.load.bucket import days, month
from nyc_taxi.load.holding import Holding
from nyc_taxi.load.postgres.month import replace_month
from nyc_taxi.months import Month
from nyc_taxi.report.coverage.commands import commands_for
from nyc_taxi.report.coverage.grid import Coverage
from nyc_taxi.report.coverage.lines import Choice, Seen, lines_of
from nyc_taxi.settings import GoogleSettings, PostgresSettings, Settings

from ops.commands.coverage import described
from ops.stack.google import GoogleServer
from ops.stack.trip_server import TripServer
from tests.conftest import environment_of, process_environment
from tests.nyc_taxi.load.loading import judged
from tests.ops.commands.conftest import run_taxi


def test_the_grid_fits_eighty_columns_and_says_what_its_marks_mean() -> None:
    held = {("yellow", Month(2020, 11).shift(number)): Holding(1_369_765, origin="dtc") for number in range(14)}
    del held["yellow", Month(2021, 3)]
    seen = Seen({"Postgres": held, "BigQuery": held | {("yellow", Month(2021, 2)): Holding(14_092_413)}})
    lines = lines_of(seen, Choice(day=date(2026, 11, 29)))
    said = described(Coverage(tuple(seen.held), lines, ("bucket holds no month",), commands_for(lines, seen.held)))
    assert said == [
        "bucket holds no month",
        "",
        "yellow",
        "2020      Jan   Feb   Mar   Apr   May   Jun   Jul   Aug   Sep   Oct   Nov   Dec",
        "Postgres                                                             1.4M  1.4M",
        "BigQuery                                                             1.4M  1.4M",
        "2021      Jan   Feb   Mar   Apr   May   Jun   Jul   Aug   Sep   Oct   Nov   Dec",
        "Postgres 1.4M  1.4M      - 1.4M  1.4M  1.4M  1.4M  1.4M  1.4M  1.4M  1.4M  1.4M",
        "BigQuery 1.4M   14M!     - 1.4M  1.4M  1.4M  1.4M  1.4M  1.4M  1.4M  1.4M  1.4M",
        "",
        "-  missing",
        "!  not as it was loaded, or not as in another target",
        "",
        "To look at:",
        "yellow, Postgres: 2021-03 missing",
        "yellow, BigQuery: 2021-03 missing",
        "yellow 2021-02, BigQuery: differs, 14,092,413 rows, Postgres has 1,369,765",
        "",
        "What loads it:",
        "taxi backfill all_targets --service yellow --origin dtc --from 2021-02 --to 2021-03",
    ]
    assert max(map(len, said[:9])) <= 80


def test_the_command_shows_writes_its_page_and_takes_what_its_help_says(
    database: PostgresSettings, google: GoogleSettings, google_server: GoogleServer, settings: Settings,
    trips: TripServer, tmp_path: Path,
) -> None:  # fmt: skip
    env = {**process_environment(), **environment_of(database), **google_server.environment()}
    env |= {"GCS_BUCKET": google.bucket, "BIGQUERY_DATASET": "nobodys", "NYC_TAXI_LOCAL_DIR": str(tmp_path / "stack")}
    env |= {"TLC_DTC_BASE_URL": trips.dtc_base_url, "REPORTS_DIR": str(tmp_path / "reports")}
    nothing = run_taxi(env, "coverage")
    assert nothing.returncode == 0
    assert nothing.stdout.splitlines()[-1] == "Nothing is loaded: `taxi run api_to_postgres` loads a month."
    for number in (1, 2):
        file = judged(replace(settings, google=google), trips, "green", f"2021-0{number}", "dtc", 500)
        replace_month(file, database)
        if number == 2:
            month.replace_month(file, google)
            days.replace_month(file, google)
    page = tmp_path / "page.html"
    shown = run_taxi(env, "coverage", "--service", "green", "--html", str(page))
    assert (shown.returncode, shown.stderr) == (0, "")
    said = shown.stdout.splitlines()
    assert said[0] == "BigQuery holds no month"
    assert said[-2:] == ["", f"The page is at {page}"]
    assert "taxi backfill api_to_gcs --service green --origin dtc --from 2021-01 --to 2021-01" in said
    assert "green, bucket: 2021-01 missing" in page.read_text()
    asked = len(trips._requests)
    offline = run_taxi(env, "coverage", "--offline", "--on", "postgres", "--since", "2021-01", "--until", "2021-01")
    assert [line.split() for line in offline.stdout.splitlines()[-3:]][-1] == ["Nothing", "is", "missing."]
    assert len(trips._requests) == asked
    wrong = run_taxi(env, "coverage", "--since", "2021-02", "--until", "2021-01")
    assert (wrong.returncode, wrong.stderr) == (1, "FAILED  since 2021-02 is after until 2021-01: both are included\n")
