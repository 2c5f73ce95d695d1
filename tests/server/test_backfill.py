"""Backfills through the command: every month once, what failed again, never more at once than asked for."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Mapping

import pytest
from nyc_taxi.google import storage_client
from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.load.postgres.locks import advisory_lock
from nyc_taxi.months import Month, month_range
from nyc_taxi.settings import Settings
from rich.console import Console

from bench.backfill import measure
from ops.commands.backfill.follow import follow, plain_console, run_backfill
from ops.commands.backfill.plan import BackfillRefused, plan_backfill
from ops.commands.backfill.runs import look, newest_backfill, retry
from ops.commands.pipelines import Served
from ops.mage.api import MageApiError
from ops.mage.connect import Connection
from ops.paths import ROOT
from ops.synthetic.generate import generate
from tests.conftest import process_environment, sql
from tests.server.conftest import Mage, wait

POSTGRES = "api_to_postgres"


def backfill(mage: Mage, **given: str) -> tuple[int, str]:
    """What the command ends with and prints."""
    said = io.StringIO()
    code = run_backfill(given, Connection(mage.api, mage.server.url, temporary=False), plain_console(said))
    return code, said.getvalue()


def make_files(mage: Mage, service: str, months: Mapping[str, int]) -> None:
    """A trip file of so many rows per month, at the CSV origin."""
    for month, rows in months.items():
        generate(service, month, "dtc", rows, mage.trips.folder)


def loaded(mage: Mage, service: str, months: Mapping[str, int]) -> dict[str, list[int]]:
    """Of each of these months, the rows read by every load that the audit table knows."""
    found = sql(
        mage.database,
        f"SELECT to_char(file_month, 'YYYY-MM'), rows_read FROM ny_taxi.load_audit WHERE status = 'loaded' "
        f"AND service = '{service}' AND file_month BETWEEN '{min(months)}-01' AND '{max(months)}-01'",
    )
    by_month: dict[str, list[int]] = {month: [] for month in months}
    for month, rows in found:
        by_month[str(month)].append(int(str(rows)))
    return by_month


def most_at_once(mage: Mage, number: int) -> int:
    """How many runs of a backfill Mage had running at the same moment."""
    runs = mage.runs(backfill_id=number)
    moments = [(str(run["started_at"]), 1) for run in runs] + [(str(run["completed_at"]), -1) for run in runs]
    running = most = 0
    for _, step in sorted(moments):
        running += step
        most = max(most, running)
    return most


def test_three_months_are_loaded_once_each_and_two_at_a_time(mage: Mage) -> None:
    months = {"2020-01": 300, "2020-02": 400, "2020-03": 500}
    make_files(mage, "fhv", months)
    given = {"pipeline": POSTGRES, "service": "fhv", "from": "2020-01", "to": "2020-03", "parallel": "2"}
    code, said = backfill(mage, **given)
    number = newest_backfill(mage.api)
    assert code == 0
    lines = said.splitlines()
    assert lines[0].startswith(f"Backfill {number} of api_to_postgres, fhv 2020-01 to 2020-03: http://127.0.0.1:")
    assert sorted(lines[1:4]) == ["done    2020-01", "done    2020-02", "done    2020-03"]
    assert lines[4:] == ["3 done, 0 failed"]
    assert loaded(mage, "fhv", months) == {"2020-01": [300], "2020-02": [400], "2020-03": [500]}
    count = "SELECT to_char(file_month, 'YYYY-MM'), count(*) FROM ny_taxi.fhv_trip_data GROUP BY 1"
    assert {str(month): rows for month, rows in sql(mage.database, count)}.items() >= months.items()
    assert most_at_once(mage, number) == 2
    assert look(number, mage.api).backfill["status"] == "completed"
    # On a terminal it is a bar, and a done month needs no line.
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    follow(number, Connection(mage.api, mage.server.url, temporary=False), terminal)
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "3 done, 0 running, 0 failed" in shown
    assert "3/3" in shown
    assert "done    2020" not in shown


def test_a_month_that_failed_is_told_to_everybody_and_completes_when_its_file_is_there(mage: Mage) -> None:
    months = {"2019-04": 300, "2019-05": 310, "2019-06": 320}
    make_files(mage, "green", {month: rows for month, rows in months.items() if month != "2019-05"})
    code, said = backfill(mage, **{"pipeline": POSTGRES, "service": "green", "from": "2019-04", "to": "2019-06"})
    number = newest_backfill(mage.api)
    [failed] = look(number, mage.api).failed
    assert code == 1
    assert "FAILED  2019-05  green 2019-05 (dtc) " in said
    assert "NotPublished: green 2019-05 is not published at dtc" in said
    assert said.endswith(f"2 done, 1 failed\nOnce the cause is fixed: taxi backfill --retry {number}\n")
    assert look(number, mage.api).backfill["status"] == "failed"
    audited = sql(
        mage.database,
        f"SELECT pipeline, service, to_char(file_month, 'YYYY-MM'), origin, error LIKE 'NotPublished: green 2019-05%' "
        f"FROM ny_taxi.load_audit WHERE status = 'failed' AND run_id = '{failed.number}'",
    )
    assert audited == [(POSTGRES, "green", "2019-05", "dtc", True)]
    link = f"/pipelines/api_to_postgres/runs/{failed.number}"
    message = wait(lambda: next((m for m in mage.messages.texts() if link in m), None), 30, "a message")
    assert "green 2019-05" in message
    assert "NotPublished" in message

    make_files(mage, "green", {"2019-05": 310})
    code, said = backfill(mage, retry=str(number))
    assert code == 0
    assert "1 of its runs failed, and run again" in said
    assert "done    2019-05\n3 done, 0 failed" in said
    assert loaded(mage, "green", months) == {"2019-04": [300], "2019-05": [310], "2019-06": [320]}
    closed = look(number, mage.api).backfill
    assert closed["status"] == "completed"
    assert mage.api.get("pipeline_schedules", closed["pipeline_schedule_id"])["status"] == "inactive"
    assert (len(mage.runs(backfill_id=number)), retry(number, mage.api)) == (4, 0)


def test_a_backfill_that_a_person_cancelled_goes_on_by_retry(mage: Mage) -> None:
    months = {"2019-01": 200, "2019-02": 210}
    make_files(mage, "fhv", months)
    with connect(mage.database) as held, held.cursor() as cursor:
        # The month's lock, so that the run is in the middle for as long as we want.
        advisory_lock(cursor, "ny_taxi.fhv_trip_data 2019-01")
        number = make_backfill(mage, "fhv", "2019-01", "2019-02")
        wait_until_held(mage, number)
        mage.api.update("backfills", number, status="cancelled")
        assert [run.status for run in look(number, mage.api).runs] == ["cancelled", "cancelled"]
    # Mage lets the month that was in the middle end, and starts no other.
    wait(lambda: True if loaded(mage, "fhv", months)["2019-01"] else None, 60, "the month that was in the middle")
    assert loaded(mage, "fhv", months) == {"2019-01": [200], "2019-02": []}
    code, said = backfill(mage, retry=str(number))
    assert (code, said.splitlines()[-1]) == (0, "2 done, 0 failed")
    assert "2 of its runs failed, and run again" in said
    assert loaded(mage, "fhv", months) == {"2019-01": [200], "2019-02": [210]}
    assert look(number, mage.api).backfill["status"] == "completed"


def make_backfill(mage: Mage, service: str, first: str, last: str) -> int:
    """A backfill with one run at a time that is not followed; its number."""
    values = {"interval_type": "month", "interval_units": 1, "settings": {"pipeline_run_limit": 1}}
    values |= {"start_datetime": f"{first}-01 00:00:00", "end_datetime": f"{last}-01 00:00:00"}
    number = int(mage.api.create(f"pipelines/{POSTGRES}/backfills", name=f"{service} by the API")["id"])
    mage.api.update("backfills", number, **values, variables={"service": service})
    mage.api.update("backfills", number, status="initial")
    return number


def wait_until_held(mage: Mage, number: int) -> None:
    """Return when the first run of a backfill has come as far as a month's lock that the test holds."""

    def there() -> bool | None:
        first = look(number, mage.api).runs[0].number
        return True if mage.running_blocks(first) == ["taxi_data_to_postgres"] else None

    wait(there, 60, f"backfill {number} in the middle of its first month")


def test_a_start_on_the_31st_as_a_person_may_click_it_loads_each_month_too(mage: Mage) -> None:
    months = {"2019-08": 250, "2019-09": 260, "2019-10": 270}
    make_files(mage, "green", months)
    number = int(mage.api.create(f"pipelines/{POSTGRES}/backfills", name="from the 31st")["id"])
    dates = {"start_datetime": "2019-08-31 00:00:00", "end_datetime": "2019-10-31 00:00:00"}
    interval = {"interval_type": "month", "interval_units": 1}
    mage.api.update("backfills", number, **dates, **interval, variables={"service": "green"})
    mage.api.update("backfills", number, status="initial")
    now = follow(number, Connection(mage.api, mage.server.url, temporary=False), plain_console(io.StringIO()))
    # Mage adds a month to the 31st, and then to the 30th: it drifts, and says wrong things of the last interval.
    assert [run.execution_date[:10] for run in now.runs] == ["2019-08-31", "2019-09-30", "2019-10-30"]
    last = mage.api.get("pipeline_runs", now.runs[-1].number)["variables"]
    assert last["interval_end_datetime"][:10] == "2019-11-29"
    assert not now.failed
    assert loaded(mage, "green", months) == {"2019-08": [250], "2019-09": [260], "2019-10": [270]}


def test_days_are_runs_of_their_own(mage: Mage) -> None:
    make_files(mage, "yellow", {"2021-01": 400, "2021-02": 400})
    given = {"pipeline": "api_to_gcs_parameterized", "prefix": "by_backfill"}
    code, said = backfill(mage, **given, **{"from": "2021-01-31", "to": "2021-02-01", "parallel": "1"})
    assert (code, said.splitlines()[1:]) == (0, ["done    2021-01-31", "done    2021-02-01", "2 done, 0 failed"])
    google = Settings.from_environment(mage.server.env).google
    objects = {blob.name for blob in storage_client(google).list_blobs(google.bucket, prefix="by_backfill/")}
    assert objects == {f"by_backfill/2021/{day}/daily-trips.parquet" for day in ("01/31", "02/01")}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"pipeline": "api_to_mars", "from": "2021-01"},
            "pipeline 'api_to_mars' is not one of all_targets,",
        ),
        ({"pipeline": "green_taxi_etl", "from": "2020-10"}, "does not take service and month from its run"),
        ({"from": "2021-01", "to": "2020-12"}, "--from 2021-01 is after --to 2020-12"),
        (
            {"from": "2021-13"},
            "--from 2021-13 --to 2021-13: api_to_postgres has one run per month: give both",
        ),
        ({"from": "2021-01", "to": "2021-01-31"}, "give both as YYYY-MM, such as 2021-01"),
        ({"from": "2021-01-05"}, "give both as YYYY-MM, such as 2021-01"),
        ({}, "--from nothing --to nothing: api_to_postgres has one run per month"),
        ({"pipeline": "api_to_gcs_parameterized", "from": "2021-01"}, "one run per day: give both as YYYY-MM-DD"),
        ({"from": "2021-06", "to": "2021-08"}, "yellow 2021-08 does not exist at origin dtc"),
        ({"from": "2021-06", "service": "blue"}, "service 'blue' is not one of yellow, green, fhv, fhvhv"),
        ({"from": "2021-06", "rules": "kind"}, "kind"),
        ({"from": "2021-06", "parallel": "0"}, "--parallel 0 is not a number of runs at once, 1 or more"),
        ({"from": "2021-06", "prefix": "x"}, "api_to_postgres: variable 'prefix' is not one of default_date, force"),
        ({"from": "2021-06", "force": "perhaps"}, "force 'perhaps' is neither true nor false"),
        ({"retry": "all"}, "'all' is no backfill: give its number, or last"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_is_refused_before_anything_is_made(mage: Mage, given: dict[str, str], said: str) -> None:
    before = len(mage.api.list("backfills"))
    with pytest.raises(BackfillRefused) as refused:
        backfill(mage, **{"pipeline": POSTGRES, **given})
    assert said in str(refused.value)
    assert len(mage.api.list("backfills")) == before


def test_a_backfill_has_its_month_from_the_run_whatever_the_pipeline_says(mage: Mage) -> None:
    plan = plan_backfill({"pipeline": "api_to_gcs", "from": "2021-01", "to": "2021-03"}, Served(mage.api))
    assert plan.variables == {"service": "yellow", "month": "", "month_offset": 0}
    assert (plan.name, plan.parallel) == ("yellow 2021-01 to 2021-03", 2)
    assert plan.values()["end_datetime"] == "2021-03-01 00:00:00"


def test_a_number_that_mage_does_not_know_is_named(mage: Mage) -> None:
    with pytest.raises(MageApiError, match="Mage has no backfill 4711"):
        backfill(mage, show="4711")


def test_who_stops_looking_is_told_how_to_look_again_and_mage_goes_on(mage: Mage) -> None:
    make_files(mage, "fhv", {"2019-07": 200})
    env = {**process_environment(), "MAGE_URL": mage.server.url, "MAGE_PASSWORD": mage.server.owner.password}
    given = [POSTGRES, "--service", "fhv", "--from", "2019-07", "--to", "2019-07"]
    command = [sys.executable, "-m", "ops.cli", "backfill", *given]
    with connect(mage.database) as held, held.cursor() as cursor:
        advisory_lock(cursor, "ny_taxi.fhv_trip_data 2019-07")
        before = len(mage.api.list("backfills"))
        looking = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        wait(lambda: True if len(mage.api.list("backfills")) > before else None, 60, "the backfill")
        number = newest_backfill(mage.api)
        wait_until_held(mage, number)
        os.kill(looking.pid, signal.SIGINT)
        said, errors = looking.communicate(timeout=60)
        assert (looking.returncode, errors) == (130, "")
        assert said.endswith(f"Mage goes on with it; look again: taxi backfill --show {number}\n")
    code, said = backfill(mage, show=str(number))
    assert (code, said.splitlines()[1:]) == (0, ["done    2019-07", "1 done, 0 failed"])


def test_two_years_of_months_four_at_a_time_lose_and_double_nothing_in_bounded_memory(mage: Mage) -> None:
    span = list(month_range(Month(2019, 1), Month(2020, 12)))
    months = {str(month): 200 + number for number, month in enumerate(span)}
    make_files(mage, "yellow", months)
    given = {"pipeline": POSTGRES, "service": "yellow", "from": "2019-01", "to": "2020-12", "parallel": "4"}
    # By force, or a run that came twice would find nothing new and stay unseen.
    number, figures = measure(given | {"force": "true"}, mage.api, mage.server.pid)
    print(figures)
    assert (figures.months, figures.completed) == (24, 24)
    assert loaded(mage, "yellow", months) == {month: [rows] for month, rows in months.items()}
    held = sql(
        mage.database,
        "SELECT to_char(file_month, 'YYYY-MM'), count(*), round(sum(total_amount)::numeric, 2) "
        "FROM ny_taxi.yellow_cab_data WHERE file_month BETWEEN '2019-01-01' AND '2020-12-01' GROUP BY 1 ORDER BY 1",
    )
    audited = sql(
        mage.database,
        "SELECT to_char(file_month, 'YYYY-MM'), rows_accepted, round((sums->>'total_amount')::numeric, 2) "
        "FROM ny_taxi.load_audit WHERE service = 'yellow' AND status = 'loaded' "
        "AND file_month BETWEEN '2019-01-01' AND '2020-12-01' ORDER BY 1",
    )
    assert held == audited
    assert len(held) == 24
    assert most_at_once(mage, number) == 4
    assert look(number, mage.api).backfill["status"] == "completed"
    assert figures.peak_mb < figures.limit_mb, figures
    assert figures.after_mb < 1.1 * figures.idle_mb, figures
