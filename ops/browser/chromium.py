"""
A real browser without a window, for the tests and the screenshots.

Chromium comes from the system, `apt-get install chromium` on Debian; Playwright, which clicks, is a pip package.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, sync_playwright

from ops.errors import LocalStackError

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
MISSING = "no Chromium on this machine: apt-get install chromium fonts-liberation"
HERE = ("127.0.0.1", "localhost")
# The last one: no name is looked up and no address is called but this machine's.
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
PATIENCE_MS = 60_000
"""A click or an expectation fails after this; a busy machine needs some ten seconds for an editor."""
# Mage says that a kernel has restarted even of the first one that it starts; this is what "Don't show again" keeps.
QUIET_KERNEL = "localStorage.setItem('hide_kernel_warning', 1)"


def find_chromium() -> str | None:
    """Path of the system's Chromium or Chrome, or None."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running Chromium without a window; LocalStackError says what to install when there is none."""
    program = find_chromium()
    if program is None:
        raise LocalStackError(MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


def new_context(browser: Browser, url: str, zoom: float = 1) -> BrowserContext:
    """
    A browser profile of its own, on the server at `url`, that looks the same on every machine.

    Its pictures have SIZE pixels at any zoom: below 1 there is more to see on them, and it is smaller.
    """
    width, height = SIZE
    context = browser.new_context(
        base_url=url,
        viewport={"width": round(width / zoom), "height": round(height / zoom)},
        device_scale_factor=zoom,
        locale="en-US",
        timezone_id="UTC",
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(QUIET_KERNEL)
    return context
