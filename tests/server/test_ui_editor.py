"""The editor: blocks and charts run with a click, and what they made is seen."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

from nyc_taxi.live import look
from nyc_taxi.live.executor import live_run
from nyc_taxi.load.postgres.month import replace_month
from nyc_taxi.manifest import StagedFile
from playwright.sync_api import Locator, expect

from ops.browser.mage_ui import MageUi
from ops.stack import broker
from ops.synthetic.generate import generate
from tests.conftest import settings_for
from tests.nyc_taxi.live.streaming import OwnBroker, publish, settings_of, store_all, trips
from tests.nyc_taxi.load.loading import judged
from tests.server.conftest import Mage

ROWS, MALFORMED = 1_000, 5
DAYS_OF_JANUARY = 31


def test_a_block_shows_the_first_trips_and_the_manifest(mage: Mage, ui: MageUi) -> None:
    generate("yellow", "2021-01", "dtc", ROWS, mage.trips.folder, malformed=MALFORMED)
    ui.open_editor("api_to_postgres")
    block = ui.run_block("load_api_data")
    expect(block.get_by_text("1/1 tests passed.")).to_be_visible()
    expect(block.get_by_text(f"{ROWS - MALFORMED} rows x 21 columns")).to_be_visible()
    trips = table(block)
    assert len(trips) == 10
    assert {row["tpep_pickup_datetime"][:8] for row in trips} == {"2021-01-"}
    block.get_by_role("button", name="Output 1").click()
    expect(block.get_by_text(f"1 row x {len(fields(StagedFile))} columns")).to_be_visible()
    [file] = table(block)
    assert (file["service_name"], file["month_text"], file["rows_read"]) == ("yellow", "2021-01", str(ROWS))
    expect(ui.error_popups()).to_have_count(0)


def test_a_block_that_runs_with_those_above_shows_its_own_trips(mage: Mage, ui: MageUi) -> None:
    generate("yellow", "2021-01", "dtc", ROWS, mage.trips.folder, malformed=MALFORMED)
    ui.open_editor("trip_report")
    block = ui.run_block("transform_taxi_data")
    expect(block.get_by_text("load_api_data, yellow")).to_have_count(0)
    [line] = block.get_by_text("transform_taxi_data, yellow 2021-01: the first 10 of").all_inner_texts()
    [accepted] = re.findall(r"the first 10 of (\d+) rows", line.replace(",", ""))
    assert int(accepted) < ROWS - MALFORMED
    expect(block.get_by_text(f"{accepted} rows x 21 columns")).to_be_visible()
    assert all(int(row["passenger_count"]) > 0 for row in table(block))


def test_a_chart_is_drawn(mage: Mage, ui: MageUi) -> None:
    generate("yellow", "2021-01", "dtc", ROWS, mage.trips.folder, malformed=MALFORMED)
    ui.open_editor("api_to_postgres", side="charts")
    ui.run_block("transform_taxi_data")
    chart = ui.run_chart("trips_per_day")
    expect(chart.locator("svg rect:not(.visx-bar)")).to_have_count(DAYS_OF_JANUARY)
    expect(chart.get_by_text("sum(trips)").first).to_be_visible()


def test_a_chart_shows_what_is_loaded_as_a_table(mage: Mage, ui: MageUi, tmp_path: Path) -> None:
    file = judged(settings_for(mage.database, mage.trips, tmp_path), mage.trips, "green", "2014-01", "tlc", 400)
    replace_month(file, mage.database)
    ui.open_editor("api_to_postgres", side="charts")
    chart = ui.run_chart("coverage")
    expect(chart.get_by_text("to look at")).to_be_visible()
    expect(chart.get_by_text("2014-01")).to_be_visible()
    expect(chart.get_by_text(str(file.rows_accepted))).to_be_visible()
    expect(ui.error_popups()).to_have_count(0)


def test_charts_show_a_stream_while_it_is_stored(mage: Mage, ui: MageUi, tmp_path: Path) -> None:
    own = OwnBroker(tmp_path / "broker")
    try:
        settings = replace(settings_for(mage.database, mage.trips, tmp_path), broker=settings_of(own).broker)
        with ThreadPoolExecutor(1) as apart:  # from the browser, whose event loop runs in this thread
            apart.submit(publish, settings, *trips(5)).result()
            apart.submit(store_all, live_run({"until_idle": 0.3}, settings)).result()
        ui.open_editor("live_trips", side="charts")
        progress = ui.run_chart("live_progress")
        expect(progress.get_by_text("2021-01-01 00:04:10")).to_be_visible()
        zones = ui.run_chart("live_busiest_zones")
        expect(zones.get_by_text("zone 142")).to_be_visible()
        minutes = ui.run_chart("live_trips_per_minute")
        expect(minutes.locator("svg rect:not(.visx-bar)")).to_have_count(look.MINUTES_SHOWN)
        expect(ui.error_popups()).to_have_count(0)
    finally:
        broker.stop(own.folder)


def table(block: Locator) -> list[dict[str, str]]:
    """The rows of the table below a block, by column."""
    shown = block.get_by_role("table").locator("visible=true")
    columns = shown.get_by_role("columnheader").all_inner_texts()
    cells = shown.get_by_role("cell").all_inner_texts()
    rows = [cells[first : first + len(columns)] for first in range(0, len(cells), len(columns))]
    return [dict(zip(columns, row, strict=True)) for row in rows]
