"""The charts of Mage's editor: their numbers, Mage's own reading of them, and calm where there is nothing to draw."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from IPython.core.interactiveshell import InteractiveShell
from mage_ai.data_preparation.models.widget.utils import build_x_y
from nyc_taxi.load.postgres.month import replace_month
from nyc_taxi.manifest import Manifest, StagedFile
from nyc_taxi.report import editor_charts
from nyc_taxi.report.numbers import count_month
from nyc_taxi.settings import PostgresSettings, Settings

from ops.paths import PROJECT
from ops.stack.trip_server import TripServer
from tests.conftest import sql
from tests.nyc_taxi.load.loading import judged

DRAWN = ("trips_per_day", "fares", "distances", "payment_types", "rejected_rows")


def manifest_of(file: StagedFile) -> pd.DataFrame:
    return Manifest((file,)).to_frame()


def configurations(pipeline: str = "api_to_postgres") -> dict[str, dict[str, Any]]:
    widgets = yaml.safe_load((PROJECT / "pipelines" / pipeline / "metadata.yaml").read_text())["widgets"]
    return {widget["uuid"]: widget["configuration"] for widget in widgets}


def run_as_mage_does(chart: str, namespace: dict[str, object]) -> dict[str, object]:
    exec((PROJECT / "charts" / f"{chart}.py").read_text(), namespace)  # noqa: S102  Mage runs a chart's file so
    return namespace


@pytest.fixture
def file(settings: Settings, trips: TripServer) -> StagedFile:
    return judged(settings, trips, "green", "2021-01", "dtc", 5_000, malformed=6)


def test_the_numbers_are_those_of_the_report(file: StagedFile) -> None:
    manifest, numbers = manifest_of(file), count_month(file)
    days = editor_charts.trips_per_day(manifest)
    assert days["day"].tolist() == list(range(1, 32))
    assert days["trips"].tolist() == numbers.calendar.trips.tolist()
    assert numbers.distances is not None
    assert numbers.fares is not None
    assert editor_charts.distances(manifest)["trips"].tolist() == numbers.distances.counts.tolist()
    assert editor_charts.distances(manifest)["miles"].tolist()[:3] == [0, 0.5, 1]
    assert editor_charts.fares(manifest)["trips"].tolist() == numbers.fares.counts.tolist()
    assert editor_charts.fares(manifest)["usd"].tolist()[:3] == [0, 2.5, 5]
    assert editor_charts.payment_types(manifest).to_numpy().tolist() == [list(each) for each in numbers.ways_of_payment]
    assert dict(editor_charts.rejected_rows(manifest).to_numpy().tolist()) == file.rejected
    assert sum(editor_charts.rejected_rows(manifest)["rows"]) == file.rows_rejected


@pytest.mark.filterwarnings("ignore:DataFrameGroupBy.apply:FutureWarning")  # Mage's own code
@pytest.mark.parametrize("pipeline", ["api_to_postgres", "trip_report"])
@pytest.mark.parametrize("chart", DRAWN)
def test_mage_makes_bars_of_what_a_charts_file_counts(chart: str, pipeline: str, file: StagedFile) -> None:
    configuration = configurations(pipeline)[chart]
    namespace = run_as_mage_does(chart, {"transform_taxi_data": manifest_of(file)})
    frame = namespace["transform_taxi_data"]
    assert isinstance(frame, pd.DataFrame)
    drawn = build_x_y(frame, configuration["group_by"], configuration["metrics"])
    [metric] = configuration["metrics"]
    assert list(drawn["x"]) == sorted(frame[configuration["group_by"][0]])
    assert sum(drawn["y"][0]) == frame[metric["column"]].sum() > 0


@pytest.mark.parametrize("chart", DRAWN)
def test_a_chart_whose_block_has_not_run_draws_nothing(chart: str, capsys: pytest.CaptureFixture[str]) -> None:
    for namespace in ({}, {"transform_taxi_data": None}, {"transform_taxi_data": Manifest(()).to_frame()}):
        frame = run_as_mage_does(chart, dict(namespace))["transform_taxi_data"]
        assert isinstance(frame, pd.DataFrame)
        assert len(frame) == 0
        assert set(frame) >= set(configurations()[chart]["group_by"])
        assert capsys.readouterr().out == "nothing to draw yet: run the block above\n"


def test_a_chart_of_trips_that_are_gone_says_so_in_one_line(
    file: StagedFile, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(file.path).unlink()
    assert len(editor_charts.trips_per_day(manifest_of(file))) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"staged file {file.path} is gone: run load_api_data again"
    assert len(editor_charts.rejected_rows(manifest_of(file))) > 0, "the manifest itself tells these"


def test_fhv_has_neither_fares_nor_lengths_nor_payments(
    settings: Settings, trips: TripServer, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = manifest_of(judged(settings, trips, "fhv", "2021-05", "dtc", 1_000))
    capsys.readouterr()
    for chart in (editor_charts.fares, editor_charts.distances, editor_charts.payment_types):
        assert len(chart(manifest)) == 0
        assert capsys.readouterr().out == "fhv has nothing to draw here\n"
    assert editor_charts.trips_per_day(manifest)["trips"].sum() == 1_000


def test_the_history_tells_loads_in_order_and_those_that_failed(
    file: StagedFile, database: PostgresSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert editor_charts.load_history(database) == ([], [])
    assert capsys.readouterr().out == "nothing to draw yet: run a pipeline that loads into Postgres\n"
    for _ in range(2):
        replace_month(file, database)
    sql(
        database,
        "INSERT INTO ny_taxi.load_audit (service, file_month, status, pipeline, block, error) "
        "VALUES ('yellow', '2021-02-01', 'failed', 'api_to_postgres', 'load_api_data', 'no line'), "
        "(NULL, NULL, 'failed', 'api_to_postgres', 'load_api_data', 'unknown')",
    )
    loads, rows = editor_charts.load_history(database)
    assert loads == ["#1 green 2021-01", "#2 green 2021-01", "#3 failed yellow 2021-02", "#4 failed"]
    assert rows == [file.rows_accepted, file.rows_accepted, 0, 0]


def test_the_history_shows_the_latest_loads_only(file: StagedFile, database: PostgresSettings) -> None:
    replace_month(file, database)
    columns = ", ".join(
        str(name)
        for (name,) in sql(
            database,
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'ny_taxi' "
            "AND table_name = 'load_audit' AND column_name <> 'load_id'",
        )
    )
    sql(
        database,
        f"INSERT INTO ny_taxi.load_audit ({columns}) SELECT {columns} FROM ny_taxi.load_audit, generate_series(1, 40)",
    )
    loads, rows = editor_charts.load_history(database)
    assert (len(loads), len(rows)) == (editor_charts.LOADS_SHOWN, editor_charts.LOADS_SHOWN)
    assert (loads[0], loads[-1]) == ("#12 green 2021-01", "#41 green 2021-01")


def test_the_history_of_a_server_that_does_not_answer_is_one_line(
    database: PostgresSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert editor_charts.load_history(replace(database, port=1)) == ([], [])
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "nothing listens there: start the server" in said


def test_an_error_of_ours_is_one_line_in_an_editor() -> None:
    shown: list[str] = []
    shell: Any = InteractiveShell()  # type: ignore[no-untyped-call]
    shell._showtraceback = lambda kind, value, lines: shown.extend(lines)
    shell.run_cell("from nyc_taxi.errors import NotPublished\nraise NotPublished('yellow 2021-08 is not published')")
    assert shown == ["NotPublished: yellow 2021-08 is not published"]
    shown.clear()
    shell.run_cell("1 / 0")
    assert len(shown) > 2, "others keep their traceback"
