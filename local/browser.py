"""
Mage's web UI in a real browser, used as a person uses it: for the tests and the screenshots.

Chromium comes from the system, `apt-get install chromium` on Debian; Playwright, which clicks, is a pip package.
"""

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    Request,
    WebSocket,
    expect,
    sync_playwright,
)

from local.postgres import LocalStackError

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
HERE = ("127.0.0.1", "localhost")
# The last one: no name is looked up and no address called but this machine's.
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND," + ",".join(f"EXCLUDE {host}" for host in HERE),
)
SIZE = (1440, 900)
"""Pixels of the window."""
POLL_MS = 100
PATIENCE_MS = 60_000
"""A click or an expectation fails after this; a busy machine needs some ten seconds for an editor."""


def find_chromium() -> str | None:
    """Path of the system's Chromium or Chrome, or None."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running Chromium without a window; LocalStackError says what to install when there is none."""
    program = find_chromium()
    if program is None:
        raise LocalStackError("no Chromium on this machine: apt-get install chromium fonts-liberation")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


def new_context(browser: Browser, url: str) -> BrowserContext:
    """A browser profile of its own, on the server at `url`, that looks the same on every machine."""
    width, height = SIZE
    context = browser.new_context(
        base_url=url,
        viewport={"width": width, "height": height},
        device_scale_factor=1,
        locale="en-US",
        timezone_id="UTC",
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE_MS)
    return context


class MageUi:
    """One tab on Mage's web UI."""

    def __init__(self, page: Page) -> None:
        expect.set_options(timeout=PATIENCE_MS)
        self.page = page
        self.errors: list[str] = []
        """What the page wrote to the console as an error."""
        self.foreign: list[str] = []
        """Addresses of other machines that the page asked for, in vain."""
        self._orders: list[str | bytes] = []  # what the editor asked the kernel to do
        page.on("websocket", self._keep_orders)
        page.on("console", self._keep_error)
        page.on("request", self._keep_foreign)
        # Mage says so also of the first kernel that it starts.
        page.add_locator_handler(page.get_by_text("Don't show again"), lambda button: button.click())

    def sign_in(self, email: str, password: str) -> None:
        """Fill in the form and send it, without waiting for the answer."""
        self.page.goto("/sign-in")
        self.page.locator("input[autocomplete=username]").fill(email)
        self.page.locator("input[autocomplete=current-password]").fill(password)
        self.page.get_by_role("button", name="Sign into Mage").click()

    def expect_signed_in(self) -> None:
        """Wait until Mage has let this tab in."""
        expect(self.page).to_have_url(re.compile("/overview"))

    def open_editor(self, pipeline: str, side: str = "tree") -> None:
        """Open a pipeline's editor, with this panel at its right side: tree, charts, interactions."""
        self.page.goto(f"/pipelines/{pipeline}/edit?sideview={side}")
        expect(self.page.locator(".code-block-header-sticky").first).to_be_visible()

    def error_popups(self) -> Locator:
        """What Mage shows in red over the page when its server refused something."""
        return self.page.locator("[class*=ErrorPopupStyle]")

    def block_names(self) -> Locator:
        """The names of the blocks in the editor, from top to bottom."""
        return self.page.locator(".code-block-header-sticky a")

    def block(self, name: str) -> Locator:
        """A block in the editor: its header, its code and its output."""
        header = self.page.locator(".code-block-header-sticky")
        named = header.filter(has=self.page.get_by_role("link", name=name, exact=True))
        return self.page.locator("[class*=CodeBlockV1Wrapper]").filter(has=named)

    def run_block(self, name: str) -> Locator:
        """Click a block's play button; run the blocks above it too, where those have not run. The block."""
        block, asked = self.block(name), len(self._orders)
        block.locator(".code-block-header-sticky button").first.click()
        menu = self.page.get_by_role("menuitem", name="Execute with upstream blocks").locator("visible=true")
        for _ in range(0, PATIENCE_MS, POLL_MS):
            if len(self._orders) > asked:
                return block
            if menu.is_visible():  # Mage asks only where a block above has not run
                menu.click()
            self.page.wait_for_timeout(POLL_MS)
        raise TimeoutError(f"the editor did not run {name} in {PATIENCE_MS / 1_000:.0f} s")

    def run_chart(self, name: str) -> Locator:
        """Click a chart's play button in the panel of charts; the chart."""
        chart = self.page.locator("[class*=ChartBlockStyle]").filter(has=self.page.get_by_role("link", name=name))
        chart.get_by_role("button").first.click()
        return chart

    def save(self) -> None:
        """Save the pipeline with the keyboard, and wait until Mage says so."""
        self.page.keyboard.press("Control+s")
        expect(self.page.get_by_text("Saved", exact=False)).to_be_visible()

    def backfill_months(self, pipeline: str, name: str, first: date, last: date, variables: Mapping[str, str]) -> None:
        """Make a backfill of one run a month, from the day `first` to the day `last`, and start it."""
        page = self.page
        page.goto(f"/pipelines/{pipeline}/backfills")
        page.get_by_role("button", name="Create new backfill").click()
        page.get_by_role("button", name="Date and time window").click()
        self.row("Backfill name").locator("input").fill(name)
        self._pick_date(self.row("Start date and time").locator("input"), first)
        self._pick_date(self.row("End date and time").locator("input"), last)
        self.row("Interval type").locator("select").select_option("Month")
        self.row("Interval units").locator("input").fill("1")
        for variable, value in variables.items():
            page.get_by_placeholder("New variable UUID").fill(variable)
            page.get_by_placeholder("Variable value").fill(value)
            page.get_by_role("button", name="Add runtime variable").click()
        page.get_by_role("button", name="Save changes").click()
        page.get_by_role("button", name="Start backfill").click()

    def run_once(self, pipeline: str, variables: Mapping[str, str]) -> None:
        """Run a pipeline now, with other values of its variables."""
        self.page.goto(f"/pipelines/{pipeline}/triggers")
        for variable in variables:  # the dialogue has only those that are there when it opens
            expect(self.page.get_by_text(variable, exact=True).first).to_be_visible()
        self.page.get_by_role("button", name="Run@once").click()
        for variable, value in variables.items():
            self.row(variable).get_by_placeholder("Variable value").fill(value)
        self.page.get_by_role("button", name="Run now").click()
        expect(self.page.get_by_role("button", name="Run now")).to_have_count(0)

    def row(self, name: str) -> Locator:
        """A table's row that has a cell with exactly this text."""
        return self.page.locator("tr").filter(has=self.page.get_by_text(name, exact=True))

    def field(self, name: str) -> Locator:
        """The part of a form that this label is above."""
        items = self.page.locator("[class*=LayoutItemStyle]")
        return items.filter(has=self.page.get_by_text(name, exact=True))

    def runs(self, status: str) -> Locator:
        """The buttons of the runs listed on this page that are in a status such as Done or Failed."""
        return self.page.locator("tr").get_by_role("button", name=status, exact=True)

    def _pick_date(self, field: Locator, day: date) -> None:
        field.click()
        calendar = self.page.locator(".react-calendar")
        title = calendar.locator(".react-calendar__navigation__label")
        title.click()  # the months of a year
        title.click()  # the years of ten
        for _ in range((int(title.inner_text()[:4]) - day.year + 9) // 10):
            calendar.locator(".react-calendar__navigation__prev-button").click()
        for name in (f"{day:%Y}", f"{day:%B %Y}", f"{day:%B} {day.day}, {day:%Y}"):
            calendar.get_by_role("button", name=name, exact=True).click()
        self.row("Backfill name").locator("input").click()  # a click beside it closes the calendar

    def look(self, folder: Path) -> str:
        """Keep what the tab shows as `browser.png` in a folder; where it is and what the page complained of."""
        picture = folder / "browser.png"
        try:
            self.page.screenshot(path=picture)
        except Error as error:  # a page that crashed has no picture
            return f"{self.page.url}: {error}"
        return "\n".join([f"{self.page.url} looks like {picture}", *self.errors, *self.foreign])

    def _keep_orders(self, socket: WebSocket) -> None:
        socket.on("framesent", self._keep_order)

    def _keep_order(self, order: str | bytes) -> None:
        self._orders.append(order)

    def _keep_error(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _keep_foreign(self, request: Request) -> None:
        if urlsplit(request.url).hostname not in (*HERE, None):
            self.foreign.append(request.url)
