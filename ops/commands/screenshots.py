"""
`taxi screenshots`: the pictures in docs/images, taken in a browser of this project at work on synthetic trips.

Server, database, trips and the project's copy are its own and are gone when it ends.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import click
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image
from playwright.sync_api import Browser, Error, Page, expect

from ops.browser.chromium import chromium
from ops.browser.mage_ui import MageUi, signed_in
from ops.commands.arguments import examples
from ops.mage.owner import EMAIL, Owner
from ops.mage.server import MageServer
from ops.paths import PROJECT, ROOT
from ops.ports import free_port
from ops.stack import postgres
from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate

IMAGES = ROOT / "docs" / "images"
OWNER = Owner(EMAIL, "a-password", "a-secret")
ROWS = {"2021-01": 62_000, "2021-02": 58_000, "2021-03": 71_000}
MALFORMED = 25
LOADED = "getComputedStyle(document.elementFromPoint(1, 0)).backgroundColor != 'rgb(255, 20, 77)'"
"""Whether Mage's red bar at the top, which grows while a page loads, is gone."""
RHYTHM = (4, 3, 2, 2, 2, 3, 5, 8, 9, 9, 8, 9, 10, 10, 11, 11, 11, 12, 12, 11, 10, 9, 8, 6)
"""Trips of one hour of the day against another."""
WEEKEND = 0.8
"""Trips of a Saturday or Sunday against any other day."""


def editor(server: MageServer, ui: MageUi) -> None:
    """The first trips of a block, the manifest of the next one, and charts beside them."""
    ui.open_editor("api_to_postgres", side="charts")
    ui.page.get_by_role("button", name="CURRENT BLOCKS").locator("xpath=following::button[1]").click()
    ui.run_block("load_api_data")
    ui.open_editor("api_to_postgres", side="charts")  # what a second run prints is shorter
    for name in ("load_api_data", "transform_taxi_data"):
        ui.fold_code(ui.run_block(name))
    for name in ("distances", "payment_types", "rejected_rows"):
        chart = ui.run_chart(name)
        expect(chart.locator("svg rect").first).to_be_attached()
        ui.fold_settings(chart)
    ui.block("transform_taxi_data").get_by_role("button", name="Output 1").click()
    ui.save()
    ui.scroll_to(ui.chart("distances"))
    ui.scroll_to(ui.block("load_api_data").get_by_role("button", name="Output 0"), margin=48)


def backfill(server: MageServer, ui: MageUi) -> None:
    """Three months, one run each, all done."""
    ui.backfill_months("api_to_postgres", "2021 Q1", date(2021, 1, 1), date(2021, 3, 1), {"service": "yellow"})
    expect(ui.page.locator("tr").get_by_role("button", name="Done")).to_have_count(len(ROWS))
    ui.page.reload()
    expect(ui.page.get_by_text("completed", exact=True)).to_be_visible()
    expect(ui.page.locator("tr").get_by_role("button", name="Done")).to_have_count(len(ROWS))
    ui.widen_left_panel(145)


def form(server: MageServer, ui: MageUi) -> None:
    """The variables of a run as lists to pick from."""
    ui.open_form("api_to_postgres", "green, once")
    ui.field("Service").locator("select").select_option("green")
    ui.field("Month").locator("input").fill("2024-05")
    ui.field("Origin").locator("select").select_option("tlc")
    for rule in ("has_passengers", "positive_distance"):
        ui.field("Rules").get_by_text(rule, exact=True).click()


def report(server: MageServer, ui: MageUi) -> None:
    """The top of a report's page."""
    trigger = ui.run_once("trip_report", {"month": "2021-01", "origin": "tlc"})
    expect(ui.run_of("trip_report", trigger).get_by_role("button", name="Done")).to_be_visible()
    ui.page.goto((Path(server.env["REPORTS_DIR"]) / "yellow" / "2021-01" / "trip_report.html").as_uri())


PICTURES: dict[str, tuple[Callable[[MageServer, MageUi], None], float]] = {
    "editor": (editor, 0.75),
    "backfill": (backfill, 0.9),
    "form": (form, 1),
    "report": (report, 0.9),
}
"""What brings the tab to show each picture, and the browser's zoom."""


@contextmanager
def serving(folder: Path) -> Iterator[MageServer]:
    """A Mage server on a copy of the project, with synthetic trips; all below `folder`."""
    for month, rows in ROWS.items():
        generate("yellow", month, "dtc", rows, folder / "trips", malformed=MALFORMED)
        _generate_with_rhythm(month, rows, folder / "trips")
    project = folder / "magic-zoomcamp"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("__pycache__"))
    database = postgres.start(folder / "postgres")
    try:
        with TripServer(folder / "trips") as trips:
            env = {
                **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
                "POSTGRES_HOST": database.host,
                "POSTGRES_PORT": str(database.port),
                "POSTGRES_DBNAME": database.dbname,
                "POSTGRES_SCHEMA": "ny_taxi",
                "POSTGRES_USER": database.user,
                "POSTGRES_PASSWORD": database.password,
                "TLC_DTC_BASE_URL": trips.dtc_base_url,
                "TLC_PARQUET_BASE_URL": trips.tlc_base_url,
                "STAGING_DIR": str(folder / "staging"),
                "REPORTS_DIR": str(folder / "reports"),
                "MAGE_DATA_DIR": str(folder / "data"),
                "SCHEDULER_TRIGGER_INTERVAL": "1",
                # With a public origin, no address of the manifest is a setting that Mage hides.
                "HIDE_ENV_VAR_VALUES": "0",
            }
            with MageServer(env, free_port(), project, folder / "mage.log", OWNER) as server:
                yield server
    finally:
        postgres.stop(folder / "postgres")


def take(browser: Browser, server: MageServer, name: str, folder: Path) -> Path:
    """Take one picture; its file."""
    bring, zoom = PICTURES[name]
    with signed_in(browser, server.url, OWNER.email, OWNER.password, zoom) as person, person.new_page() as page:
        tab = MageUi(page)
        try:
            bring(server, tab)
        except (AssertionError, Error, TimeoutError):
            print(tab.look(Path(gettempdir())), file=sys.stderr)
            raise
        return _keep(page, folder / f"{name}.png")


def _keep(page: Page, path: Path) -> Path:
    page.mouse.move(0, 0)  # nothing is pointed at
    page.wait_for_function(LOADED)
    page.screenshot(path=path)
    with Image.open(path) as picture:
        opaque = picture.convert("RGB")
    opaque.save(path, optimize=True)
    return path


def _generate_with_rhythm(month: str, rows: int, folder: Path) -> None:
    """A month with rush hours, nights and weekends, which `generate` does not have: of its trips, those that fit."""
    path = generate("yellow", month, "tlc", rows, folder)
    trips = pq.read_table(path)
    pickups = trips["tpep_pickup_datetime"]
    weekend = pc.greater_equal(pc.day_of_week(pickups), 5).to_numpy()
    shares = np.array(RHYTHM)[pc.hour(pickups).to_numpy()] / max(RHYTHM) * np.where(weekend, WEEKEND, 1)
    pq.write_table(trips.filter(np.random.default_rng(0).random(len(trips)) < shares), path)


@click.command("screenshots", epilog=examples("taxi screenshots"))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=IMAGES)
def command(folder: Path) -> None:
    """Take the pictures of the docs anew, from synthetic trips, into FOLDER; docs/images if not given."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="screenshots-") as own, chromium() as browser, serving(Path(own)) as server:
        for name in PICTURES:
            path = take(browser, server, name, folder)
            click.echo(f"{path}  {path.stat().st_size / 1_000:.0f} kB")
