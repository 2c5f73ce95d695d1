"""Reports are found again: in the folder, in the bucket when that is gone, and nothing else is."""

from dataclasses import replace
from pathlib import Path

import pytest
from nyc_taxi.report.shelf import address, find, keep
from nyc_taxi.settings import GoogleSettings, Settings

NAME = "green/2019-07/trip_report.html"


@pytest.fixture
def shelf(google: GoogleSettings, tmp_path: Path) -> Settings:
    settings = Settings.from_environment({"REPORTS_PREFIX": "/mage/reports/", "MAGE_PUBLIC_HOST": "https://m.example/"})
    return replace(settings, google=google, reports_dir=tmp_path / "reports")


def test_a_report_outlives_the_folder_of_its_machine(shelf: Settings) -> None:
    path = shelf.reports_dir / NAME
    path.parent.mkdir(parents=True)
    path.write_text("a page")
    keep(NAME, shelf)
    assert find(NAME, shelf) == b"a page"
    path.unlink()
    assert find(NAME, shelf) == b"a page"
    assert find(NAME, replace(shelf, reports_prefix="")) is None
    assert find("green/2019-08/trip_report.html", shelf) is None


def test_a_link_that_leads_out_of_the_folder_is_none(shelf: Settings, tmp_path: Path) -> None:
    shelf.reports_dir.mkdir()
    (tmp_path / "secret").write_text("a secret")
    (shelf.reports_dir / "coverage.html").symlink_to(tmp_path / "secret")
    assert find("coverage.html", replace(shelf, reports_prefix="")) is None


def test_a_report_is_named_by_the_address_of_the_web_ui_where_that_is_known(shelf: Settings) -> None:
    assert address(NAME, shelf) == f"https://m.example/reports/{NAME}"
    assert address(NAME, replace(shelf, public_url="")) == str(shelf.reports_dir / NAME)
