"""Many months in one run: which are chosen, what one of them comes to, and what a summary must hold."""

from dataclasses import replace
from datetime import datetime

import pandas as pd
import pytest
from nyc_taxi.errors import CountsDisagree, NotPublished, UnknownName
from nyc_taxi.operate.many_months import LoadedMonth, check_summary, choose_months, load_month, summarise
from nyc_taxi.run import RunContext
from nyc_taxi.settings import Settings

from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.conftest import run_of, sql

SETTINGS = Settings.from_environment({})
MATRIX = {"services": "yellow, green", "from": "2020-12", "to": "2021-02"}


def chosen(**variables: object) -> list[str]:
    return [str(run) for run in choose_months(variables, SETTINGS)]


def test_every_service_has_every_month_both_ends_included() -> None:
    months = ("2020-12", "2021-01", "2021-02")
    assert chosen(**MATRIX) == [f"{service} {month} (dtc)" for service in ("yellow", "green") for month in months]


def test_without_an_end_it_is_one_month_and_without_a_beginning_the_runs_own() -> None:
    assert chosen(services="fhv", **{"from": "2021-03", "to": ""}) == ["fhv 2021-03 (dtc)"]
    scheduled = {"services": "yellow,fhvhv", "from": "", "to": "", "month_offset": -3, "origin": "tlc"}
    assert chosen(**scheduled, execution_date=datetime(2024, 2, 2)) == ["yellow 2023-11 (tlc)", "fhvhv 2023-11 (tlc)"]


def test_a_service_named_twice_is_loaded_once() -> None:
    assert chosen(services="green,green ", **{"from": "2021-03"}) == ["green 2021-03 (dtc)"]
    assert chosen(services=["green", "green"], **{"from": "2021-03"}) == ["green 2021-03 (dtc)"]


def test_rules_and_origin_are_those_of_the_run() -> None:
    [run] = choose_months({"services": "green", "from": "2024-01", "origin": "tlc", "rules": "none"}, SETTINGS)
    assert (run.origin.name, run.rules) == ("tlc", ())


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"services": ""}, "no services: name some of yellow, green, fhv, fhvhv"),
        ({"services": "yellow,purple"}, "service 'purple' is not one of"),
        ({"from": "2021-02", "to": "2021-01"}, "from 2021-02 is after to 2021-01"),
        ({"to": "2021-13"}, "to: month '2021-13' is not of the form YYYY-MM"),
        ({"to": "2021-08"}, "yellow 2021-08 does not exist at origin dtc, which has 2019-01 to 2021-07"),
        (
            {"services": "yellow,green", "from": "2013-07", "to": "2013-08", "origin": "tlc"},
            "green 2013-07 does not exist at origin tlc, which has 2013-08 to about two months ago: choose another",
        ),
        ({"services": "green,fhv", "rules": "has_passengers"}, "which fhv does not have"),
    ],
)
def test_what_cannot_be_is_refused_with_its_name(variables: dict[str, object], message: str) -> None:
    with pytest.raises(UnknownName, match=message.replace("(", r"\(")):
        chosen(**{**MATRIX, **variables})


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"LOAD_MONTH_EXECUTOR": "cloud_run"}, "'cloud_run' is not one of local_python, gcp_cloud_run, k8s"),
        ({"LOAD_MONTH_EXECUTOR": "gcp_cloud_run"}, "REMOTE_VARIABLES_DIR '' is no bucket's folder"),
        ({"LOAD_MONTH_EXECUTOR": "gcp_cloud_run", "REMOTE_VARIABLES_DIR": "/mnt"}, "'/mnt' is no bucket's folder"),
    ],
)
def test_jobs_that_could_not_find_their_month_are_never_made(environment: dict[str, str], message: str) -> None:
    with pytest.raises(UnknownName, match=message):
        choose_months(MATRIX, Settings.from_environment(environment))


def test_jobs_that_share_a_folder_are_fine() -> None:
    shared = {"LOAD_MONTH_EXECUTOR": "gcp_cloud_run", "REMOTE_VARIABLES_DIR": "gs://lake/mage"}
    for environment in (shared, {"LOAD_MONTH_EXECUTOR": "k8s"}):
        assert len(choose_months(MATRIX, Settings.from_environment(environment))) == 6


def test_one_month_goes_the_whole_way_and_needs_nothing_but_its_run(settings: Settings, trips: TripServer) -> None:
    generate("yellow", "2021-01", "dtc", 3_000, trips.folder, malformed=4)
    loaded = load_month(run_of(settings, "yellow", "2021-01", "dtc"))
    assert (loaded.service, loaded.month, loaded.rows_read) == ("yellow", "2021-01", 3_000)
    tables = ("yellow_cab_data", "yellow_cab_data_rejected")
    counts = [sql(settings.postgres, f"SELECT count(*) FROM ny_taxi.{table}") for table in tables]
    assert counts == [[(loaded.rows_accepted,)], [(loaded.rows_rejected,)]]
    # Another machine, whose staging folder is empty, loads the same.
    elsewhere = replace(settings, staging_dir=settings.staging_dir.with_name("of another machine"))
    again = load_month(run_of(elsewhere, "yellow", "2021-01", "dtc"))
    assert replace(again, seconds=0) == replace(loaded, seconds=0)


def test_a_month_that_is_not_published_says_so(settings: Settings) -> None:
    with pytest.raises(NotPublished, match="green 2021-02 is not published at dtc"):
        load_month(run_of(settings, "green", "2021-02", "dtc"))


def summary_of(runs: list[RunContext], rejected: int = 1) -> pd.DataFrame:
    months = [LoadedMonth(run.service.name, str(run.month), 10, 9, rejected, 0.5) for run in runs]
    return summarise(month.to_frame() for month in months)


def test_a_summary_holds_every_month_and_their_sums() -> None:
    runs = choose_months(MATRIX, SETTINGS)
    table = summary_of(runs)
    assert table.iloc[-1].tolist() == ["total", "6 months", 60, 54, 6, 3.0]
    check_summary(table, runs)


def test_a_summary_that_lacks_a_month_or_has_one_twice_or_loses_rows_is_refused() -> None:
    runs = choose_months(MATRIX, SETTINGS)
    with pytest.raises(CountsDisagree, match="retry the run's incomplete blocks"):
        check_summary(summary_of(runs[:-1]), runs)
    with pytest.raises(CountsDisagree, match="retry the run's incomplete blocks"):
        check_summary(summary_of([*runs, runs[0]]), runs)
    with pytest.raises(CountsDisagree, match="read is not accepted and rejected"):
        check_summary(summary_of(runs, rejected=0), runs)
