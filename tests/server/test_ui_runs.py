"""Runs by clicks: a form, a backfill, a trigger, and a failed run that is fixed."""

import subprocess
from datetime import date

from playwright.sync_api import expect

from ops.browser.mage_ui import MageUi
from ops.synthetic.generate import generate
from tests.conftest import sql
from tests.server.conftest import Mage, wait

MONTH = "2019-04"
QUARTER = {"2019-01": 300, "2019-02": 200, "2019-03": 100}


def test_a_form_runs_a_pipeline_with_the_picked_values(mage: Mage, ui: MageUi) -> None:
    generate("green", MONTH, "tlc", 400, mage.trips.folder)
    page = ui.page
    ui.open_form("api_to_postgres", "by form")
    ui.field("Service").locator("select").select_option(label="green: boro taxis")
    ui.field("Month").locator("input").fill(MONTH)
    ui.field("Origin").locator("select").select_option(label="tlc: parquet, 2009-01 to about two months ago")
    for label in ("positive_distance", "plausible_speed, only counted"):
        ui.field("Rules").get_by_text(label, exact=True).click()
    page.get_by_role("button", name="Next: Review").click()
    page.locator("label").last.click()  # active immediately
    page.get_by_role("button", name="Create trigger").click()
    expect(page.get_by_role("link", name="by form")).to_be_visible()
    expect(ui.run_of("api_to_postgres", "by form").get_by_role("button", name="Done")).to_be_visible()
    [(rows_read, rules, url)] = sql(
        mage.database, f"SELECT rows_read, rules, url FROM ny_taxi.load_audit WHERE {of_months(MONTH)}"
    )
    assert (rows_read, rules) == (400, ["positive_distance", "plausible_speed:warn:max_mph=100"])
    assert str(url).endswith(f"green_tripdata_{MONTH}.parquet")


def test_a_backfill_made_by_clicks_completes_and_its_months_are_in_postgres(mage: Mage, ui: MageUi) -> None:
    for month, rows in QUARTER.items():
        generate("green", month, "dtc", rows, mage.trips.folder)
    ui.backfill_months("api_to_postgres", "by clicks", date(2019, 1, 1), date(2019, 3, 1), {"service": "green"})
    expect(ui.page.locator("tr").get_by_role("button", name="Done")).to_have_count(3)
    assert rows_in_postgres(mage, *QUARTER) == QUARTER


def test_a_failed_run_is_shown_and_a_retry_completes_once_its_cause_is_gone(mage: Mage, ui: MageUi) -> None:
    trigger = ui.run_once("api_to_postgres", {"service": "green", "month": MONTH})
    run = ui.run_of("api_to_postgres", trigger)
    run.get_by_role("button", name="Failed").click()
    generate("green", MONTH, "dtc", 250, mage.trips.folder)
    ui.page.get_by_role("button", name="Retry run").click()
    expect(run.get_by_role("button", name="Done")).to_be_visible()
    assert rows_in_postgres(mage, MONTH) == {MONTH: 250}


def test_a_trigger_is_turned_on_and_off_with_a_click(mage: Mage, ui: MageUi) -> None:
    def is_active() -> bool:
        [trigger] = [t for t in mage.api.list("pipelines/api_to_postgres/pipeline_schedules") if t["name"] == "webhook"]
        return bool(trigger["status"] == "active")

    ui.page.goto("/pipelines/api_to_postgres/triggers")
    switch = ui.row("webhook").locator("label").first
    assert not is_active()
    switch.click()
    wait(lambda: is_active() or None, 20, "an active trigger")
    expect(switch.locator("input")).to_be_checked()
    switch.click()
    wait(lambda: not is_active() or None, 20, "an inactive trigger")
    # Mage writes a click into triggers.yaml, as a person wants it; test_ui_untouched.py wants what nobody changed.
    subprocess.run(["git", "checkout", "--", "magic-zoomcamp/pipelines/*/triggers.yaml"], cwd=mage.checkout, check=True)


def of_months(*months: str) -> str:
    """The condition on a table's column file_month, and on the service of the audit."""
    return "file_month IN (" + ", ".join(f"'{month}-01'" for month in months) + ")"


def rows_in_postgres(mage: Mage, *months: str) -> dict[str, int]:
    """Rows of green trips by month, accepted and rejected: no row is lost."""
    counted = sql(
        mage.database,
        f"SELECT to_char(file_month, 'YYYY-MM'), count(*) FROM (SELECT file_month FROM ny_taxi.green_cab_data "
        f"UNION ALL SELECT file_month FROM ny_taxi.green_cab_data_rejected) t WHERE {of_months(*months)} GROUP BY 1",
    )
    return {str(month): int(str(rows)) for month, rows in counted}
