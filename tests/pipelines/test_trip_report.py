"""The pipeline trip_report through Mage itself: a page per month, without a database, or one clear line."""

from pathlib import Path

import pytest
from nyc_taxi.settings import Settings

from ops.commands import run
from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.nyc_taxi.report.report_page import ReportPage

pytestmark = pytest.mark.mage


def test_a_month_has_its_page_without_a_database(
    env: dict[str, str], trips: TripServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    generate("green", "2020-10", "dtc", 5_000, trips.folder, malformed=3)
    places = {"REPORTS_DIR": str(tmp_path / "reports"), "POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": "1"}
    run.run_pipeline("trip_report", {"service": "green", "month": "2020-10"}, env | places)
    path = tmp_path / "reports" / "green" / "2020-10" / "trip_report.html"
    assert f"green 2020-10: the report is at {path}" in capfd.readouterr().out
    page = ReportPage(path)
    assert page.headings[0] == "Green taxi trips, October 2020"
    assert page.marked["rows_read"] == 5_000 == page.marked["rows_accepted"] + page.marked["rows_rejected"]
    assert page.tables["pickups"][1][0].startswith("Zone ")
    assert len(list(path.parent.glob("*.png"))) == len(page.pictures) == 9
    assert [request[1] for request in trips.requests if request[0] == "GET"] == [
        "/dtc/green/green_tripdata_2020-10.csv.gz",
        "/misc/taxi_zone_lookup.csv",
    ]


def test_without_the_list_of_zones_the_run_fails_with_its_address(
    env: dict[str, str], trips: TripServer, settings: Settings, tmp_path: Path
) -> None:
    generate("yellow", "2021-01", "dtc", 1_000, trips.folder)
    (trips.folder / "misc" / "taxi_zone_lookup.csv").unlink()
    with pytest.raises(run.PipelineFailed, match=r"NotPublished: .*/misc/taxi_zone_lookup\.csv is not published"):
        run.run_pipeline("trip_report", {}, env | {"REPORTS_DIR": str(tmp_path / "reports")})
    assert not (tmp_path / "reports").exists()
