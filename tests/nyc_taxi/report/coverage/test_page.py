"""The page of what is loaded, and Mage's chart of the same: all of it there, escaped, and read without a network."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from mage_ai.data_preparation.models.widget import Widget
from nyc_taxi.load.holding import Holding
from nyc_taxi.months import Month
from nyc_taxi.report.coverage.commands import commands_for
from nyc_taxi.report.coverage.grid import SIGNS, Coverage
from nyc_taxi.report.coverage.lines import Choice, Seen, lines_of
from nyc_taxi.report.coverage.page import PAGE, editor_table, write_beside_reports, write_page
from nyc_taxi.settings import Settings

from ops.paths import PROJECT
from ops.ports import free_port
from tests.nyc_taxi.report.coverage.conftest import Load
from tests.nyc_taxi.report.report_page import ReportPage

HOSTILE = "<script>alert(1)</script>"


def held(month: str, rows: int, **more: Any) -> dict[tuple[str, Month], Holding]:
    return {("yellow", Month.parse(month)): Holding(rows, origin="dtc", **more)}


@pytest.fixture
def coverage() -> Coverage:
    """A month that all is well with, one that is missing and one that differs; and a note that would be a script."""
    postgres = held("2020-12", 1_461_897) | held("2021-02", 1_371_708)
    seen = Seen({"Postgres": postgres, "bucket": held("2020-12", 1_461_897) | held("2021-02", 9, odd=(HOSTILE,))})
    lines = lines_of(seen, Choice(day=date(2026, 11, 29)))
    return Coverage(tuple(seen.held), lines, (HOSTILE,), commands_for(lines, seen.held))


def test_the_page_says_all_in_text_and_needs_nothing_else(coverage: Coverage, tmp_path: Path) -> None:
    write_page(coverage, tmp_path / "deep" / PAGE, tmp_path)
    page = ReportPage(tmp_path / "deep" / PAGE)
    assert page.headings == ["What is loaded", "yellow", "To look at", "What loads it"]
    months = [row[1:4] + row[12:] for row in page.tables["yellow-2021"]]
    assert months == [
        ["Jan", "Feb", "Mar", "Dec"],
        ["- missing", "1.4M", "", ""],
        ["- missing", "9 ! differs", "", ""],
    ]
    assert page.tables["yellow-2020"][1][12] == "1.5M"
    assert "yellow, bucket: 2021-01 missing" in page.text
    assert "yellow 2021-02, bucket: differs, &lt;script&gt;" in page.text
    assert "<script" not in page.text
    assert page.addresses == ["data:,"]
    for command in coverage.commands:
        assert f"{command}\n" in page.text
    assert all(f"<span>{sign.mark}</span> {sign.meaning}" in page.text for sign in SIGNS)


def test_it_stays_small_with_all_the_months_that_there_are(tmp_path: Path) -> None:
    months = [Month(2009, 1).shift(number) for number in range(210)]
    targets = {
        target: {
            (service, month): Holding(1_000_000) for service in ("yellow", "green", "fhv", "fhvhv") for month in months
        }
        for target in ("Postgres", "bucket", "BigQuery")
    }
    seen = Seen(targets)
    write_page(Coverage(tuple(targets), lines_of(seen, Choice()), ()), tmp_path / PAGE, tmp_path)
    assert (tmp_path / PAGE).stat().st_size < 400_000


def test_a_month_links_to_its_report_where_there_is_one(coverage: Coverage, tmp_path: Path) -> None:
    report = tmp_path / "reports" / "yellow" / "2020-12" / "trip_report.html"
    report.parent.mkdir(parents=True)
    report.touch()
    write_page(coverage, tmp_path / "reports" / PAGE, tmp_path / "reports")
    assert ReportPage(tmp_path / "reports" / PAGE).addresses == ["data:,", *["yellow/2020-12/trip_report.html"] * 2]
    write_page(coverage, tmp_path / "other" / PAGE, tmp_path / "reports")
    assert ReportPage(tmp_path / "other" / PAGE).addresses[1] == "../reports/yellow/2020-12/trip_report.html"


def test_the_page_beside_the_reports_is_written_though_nothing_answers(everywhere: Settings) -> None:
    gone = replace(
        everywhere,
        postgres=replace(everywhere.postgres, port=free_port()),
        google=replace(everywhere.google, bucket="", project="", bigquery_emulator=""),
    )
    write_beside_reports(gone)
    page = (everywhere.reports_dir / PAGE).read_text()
    assert "Postgres is left out" in page
    assert "Nothing is loaded." in page


@pytest.mark.parametrize("pipeline", ["api_to_postgres"])
def test_mage_makes_a_table_of_what_the_charts_file_tells(
    pipeline: str, everywhere: Settings, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    load("yellow", "2021-01", "dtc", 500)
    load("yellow", "2021-02", "dtc", 20, ("Postgres",))
    monkeypatch.setattr(Settings, "from_environment", lambda: everywhere)
    namespace: dict[str, object] = {}
    exec((PROJECT / "charts" / "coverage.py").read_text(), namespace)  # noqa: S102  Mage runs a chart's file so
    widgets = yaml.safe_load((PROJECT / "pipelines" / pipeline / "metadata.yaml").read_text())["widgets"]
    [configuration] = [widget["configuration"] for widget in widgets if widget["uuid"] == "coverage"]
    widget = Widget("coverage", "coverage", "chart", configuration=configuration)
    drawn = widget.post_process_variables(
        widget.get_variables_from_code_execution(namespace), chart_type=configuration["chart_type"]
    )
    assert drawn["x"] == ["service", "month", "Postgres", "bucket", "BigQuery", "to look at"]
    february, january = drawn["y"]
    assert february[:2] == ["yellow", "2021-02"]
    assert february[3:5] == ["-", "-"]
    assert january[:2] == ["yellow", "2021-01"]
    assert len(set(january[2:5])) == 1


def test_a_chart_of_nothing_says_so(everywhere: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert editor_table(everywhere)[1] == []
    assert capsys.readouterr().out == "nothing to draw yet: nothing is loaded\n"
