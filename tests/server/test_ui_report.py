"""A report that a person asked for in the UI, read in the browser."""

from playwright.sync_api import Page, expect

from ops.browser.mage_ui import MageUi
from ops.synthetic.generate import generate
from tests.server.conftest import Mage

MONTH, ROWS, MALFORMED = "2019-07", 900, 4
PICTURES = 9
HAS_PIXELS = "image => image.complete && image.naturalWidth > 300 && image.naturalHeight > 100"


def report_of(ui: MageUi, trigger: str) -> Page:
    """From the list of runs to the run's page, its block and the report that it has written."""
    row = ui.run_of("trip_report", trigger)
    expect(row.get_by_role("button", name="Done")).to_be_visible()
    row.get_by_text("3 / 3").click()
    block = ui.page.get_by_role("row").filter(has=ui.page.get_by_text("write_trip_report", exact=True))
    block.get_by_text("completed").click()  # its name leads to the editor
    with ui.page.expect_popup() as opened:
        ui.page.get_by_role("link", name=f"The report of green {MONTH}").click()
    return opened.value


def test_a_report_asked_for_by_clicks_shows_its_numbers_and_its_pictures(mage: Mage, ui: MageUi) -> None:
    generate("green", MONTH, "dtc", ROWS, mage.trips.folder, malformed=MALFORMED)
    trigger = ui.run_once("trip_report", {"service": "green", "month": MONTH})
    page = report_of(ui, trigger)
    assert page.url == f"{mage.server.url}/reports/green/{MONTH}/trip_report.html"
    expect(page.get_by_role("heading", level=1)).to_have_text("Green taxi trips, July 2019")
    told = {
        name: int(page.locator(f"data#{name}").inner_text().replace(",", "")) for name in ("rows_read", "rows_accepted")
    }
    assert told["rows_read"] == ROWS
    assert 0 < told["rows_accepted"] <= ROWS - MALFORMED
    drawn = page.get_by_role("img").all()
    assert [picture.evaluate(HAS_PIXELS) for picture in drawn] == [True] * PICTURES
    page.get_by_text("Zones with their boroughs").click()
    expect(page.locator("#pickups tr")).not_to_have_count(1)
    expect(page.locator("#pickups")).to_be_visible()
    page.get_by_role("link", name="What else is loaded").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What is loaded")
    assert ui.foreign == []
