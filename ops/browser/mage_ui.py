"""Mage's web UI in a browser tab, used as a person uses it: by clicks and keys, and by what is to be seen."""

import json
import re
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
    Response,
    expect,
)

from ops.browser.chromium import HERE, PATIENCE_MS, new_context

POLL_MS = 100
HEADER = ".code-block-header-sticky"
"""A block's title bar, with its play button."""


class MageUi:
    """One tab on Mage's web UI."""

    def __init__(self, page: Page) -> None:
        expect.set_options(timeout=PATIENCE_MS)
        self.page = page
        self.errors: list[str] = []
        """What the page wrote to the console as an error."""
        self.foreign: list[str] = []
        """Addresses of other machines that the page asked for, in vain."""
        self._ended: list[str] = []  # the blocks and charts that the kernel has run
        page.on("websocket", lambda socket: socket.on("framereceived", self._keep_end))
        page.on("console", self._keep_error)
        page.on("request", self._keep_foreign)

    def sign_in(self, email: str, password: str) -> None:
        """Fill in the form and send it, without waiting for the answer."""
        self.page.goto("/sign-in")
        self.page.locator("input[autocomplete=username]").fill(email)
        self.page.locator("input[autocomplete=current-password]").fill(password)
        self.page.get_by_role("button", name="Sign into Mage").click()

    def expect_signed_in(self) -> None:
        """Wait until Mage has let this tab in."""
        expect(self.page).to_have_url(re.compile("/overview"))

    def open_editor(self, pipeline: str, side: str = "") -> None:
        """
        Open a pipeline's editor, with this panel at its right side: charts, interactions; "" is Mage's own, tree.

        An address with a query costs an error on the console now and then: Mage serves one page for every address,
        which goes on to the right one as soon as it knows that a person is signed in, and, with a query, again when
        Next.js has read the query. The second time aborts the first, which Next.js writes down and gets over.
        """
        self.page.goto(f"/pipelines/{pipeline}/edit" + (f"?sideview={side}" if side else ""))
        expect(self.page.locator(HEADER).first).to_be_visible()

    def error_popups(self) -> Locator:
        """What Mage shows in red over the page when its server refused something."""
        return self.page.locator("[class*=ErrorPopupStyle]")

    def block_names(self) -> Locator:
        """The names of the blocks in the editor, from top to bottom."""
        return self.page.locator(f"{HEADER} a")

    def block(self, name: str) -> Locator:
        """A block in the editor: its header, its code and its output."""
        header = self.page.locator(HEADER)
        named = header.filter(has=self.page.get_by_role("link", name=name, exact=True))
        return self.page.locator("[class*=CodeBlockV1Wrapper]").filter(has=named)

    def run_block(self, name: str) -> Locator:
        """Click a block's play button, run the blocks above it too where they have not run, and wait. The block."""
        block = self.block(name)
        # In a wide editor, buttons with a text stand before it.
        self._run(name, block.locator(f"{HEADER} button").filter(has_not_text=re.compile(r"\w")).first)
        return block

    def fold_code(self, block: Locator) -> None:
        """Hide a block's code, but not its output."""
        block.locator(f"{HEADER} button").last.click()
        block.get_by_role("button", name="Expand output").click()

    def chart(self, name: str) -> Locator:
        """A chart in the panel of charts."""
        return self.page.locator("[class*=ChartBlockStyle]").filter(has=self.page.get_by_role("link", name=name))

    def run_chart(self, name: str) -> Locator:
        """Click a chart's play button and wait; the chart."""
        chart = self.chart(name)
        self._run(name, chart.get_by_role("button").first)
        return chart

    def fold_settings(self, chart: Locator) -> None:
        """Hide what can be set of a chart, so that it is wider."""
        chart.get_by_role("button").nth(1).click()

    def scroll_to(self, part: Locator, margin: int = 0) -> None:
        """Scroll until a part of the page is at its top, so many pixels below: a block's title bar covers some."""
        part.evaluate("(part, margin) => { part.style.scrollMarginTop = margin + 'px'; part.scrollIntoView() }", margin)

    def widen_left_panel(self, pixels: int) -> None:
        """Pull the edge of the panel at the left side to the right."""
        edge = self.page.locator("[class*=DraggableStyle]").first.bounding_box()
        if edge is None:
            raise LookupError(f"{self.page.url} has no panel at its left side")
        x, y = edge["x"] + edge["width"] / 2, edge["y"] + edge["height"] / 2
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + pixels, y, steps=10)
        self.page.mouse.up()

    def save(self) -> None:
        """Save the pipeline with the keyboard, and wait until the server has it."""
        with self.page.expect_response(_saves_pipeline):
            self.page.keyboard.press("Control+s")
        expect(self.page.get_by_text("Unsaved changes")).to_have_count(0)

    def backfill_months(self, pipeline: str, name: str, first: date, last: date, variables: Mapping[str, str]) -> None:
        """Make a backfill of one run a month, from the day `first` to the day `last`, and start it."""
        page = self.page
        page.goto(f"/pipelines/{pipeline}/backfills")
        page.get_by_role("button", name="Create new backfill").click()
        page.get_by_role("button", name="Date and time window").click()
        proposed = self.row("Backfill name").locator("input")
        expect(proposed).not_to_have_value("")  # what Mage proposes comes late, and would replace the name
        proposed.fill(name)
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

    def run_once(self, pipeline: str, variables: Mapping[str, str]) -> str:
        """Run a pipeline now, with other values of its variables; the name of the trigger that Mage makes for it."""
        self.page.goto(f"/pipelines/{pipeline}/triggers")
        for variable in variables:  # the dialogue has only those that are there when it opens
            expect(self.page.get_by_text(variable, exact=True).first).to_be_visible()
        self.page.get_by_role("button", name="Run@once").click()
        for variable, value in variables.items():
            self.row(variable).get_by_placeholder("Variable value").fill(value)
        with self.page.expect_response(_makes_trigger) as answer:
            self.page.get_by_role("button", name="Run now").click()
        return str(answer.value.json()["pipeline_schedule"]["name"])

    def run_of(self, pipeline: str, trigger: str) -> Locator:
        """Open a pipeline's runs; the row of a trigger's run."""
        self.page.goto(f"/pipelines/{pipeline}/runs")
        rows = self.page.locator("tr[id^=pipeline-runs-row]")
        return rows.filter(has=self.page.get_by_role("link", name=trigger, exact=True))

    def open_form(self, pipeline: str, trigger: str) -> None:
        """Begin a trigger that runs a pipeline once, and open the form for its variables."""
        page = self.page
        page.goto(f"/pipelines/{pipeline}/triggers")
        page.get_by_role("button", name="Create trigger with no-code").click()
        page.get_by_role("button", name="Schedule").click()
        page.get_by_placeholder("Name this trigger").fill(trigger)
        self.row("Frequency").locator("select").select_option("once")
        page.get_by_role("button", name="Next: Customize").click()

    def row(self, name: str) -> Locator:
        """A table's row that has a cell with exactly this text."""
        return self.page.locator("tr").filter(has=self.page.get_by_text(name, exact=True))

    def field(self, name: str) -> Locator:
        """The part of a form that this label is above."""
        items = self.page.locator("[class*=LayoutItemStyle]")
        return items.filter(has=self.page.get_by_text(name, exact=True))

    def look(self, folder: Path) -> str:
        """Keep what the tab shows as `browser.png` in a folder; where it is and what the page complained of."""
        picture = folder / "browser.png"
        try:
            self.page.screenshot(path=picture)
        except Error as error:  # a page that crashed has no picture
            return f"{self.page.url}: {error}"
        return "\n".join([f"{self.page.url} looks like {picture}", *self.errors, *self.foreign])

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

    def _run(self, name: str, button: Locator) -> None:
        ended = self._ended.count(name)
        button.click()
        menu = self.page.get_by_role("menuitem", name="Execute with upstream blocks").locator("visible=true")
        for _ in range(0, PATIENCE_MS, POLL_MS):
            if self._ended.count(name) > ended:
                return
            if menu.is_visible():  # Mage asks only where a block above has not run
                menu.click()
            self.page.wait_for_timeout(POLL_MS)
        raise TimeoutError(f"{name} did not end in {PATIENCE_MS / 1_000:.0f} s")

    def _keep_end(self, frame: str | bytes) -> None:
        message = json.loads(frame)
        if isinstance(message, dict) and message.get("execution_state") == "idle":
            self._ended.append(str(message.get("uuid")))

    def _keep_error(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _keep_foreign(self, request: Request) -> None:
        if urlsplit(request.url).hostname not in (*HERE, None):
            self.foreign.append(request.url)


def _saves_pipeline(answer: Response) -> bool:
    return answer.request.method == "PUT" and "/api/pipelines/" in answer.url


def _makes_trigger(answer: Response) -> bool:
    return answer.request.method == "POST" and "/pipeline_schedules" in answer.url


@contextmanager
def signed_in(browser: Browser, url: str, email: str, password: str, zoom: float = 1) -> Iterator[BrowserContext]:
    """The profile of a person who has signed in to the server at `url`, through the form."""
    with new_context(browser, url, zoom) as context:
        with context.new_page() as page:
            tab = MageUi(page)
            tab.sign_in(email, password)
            tab.expect_signed_in()
        yield context
