"""The browser that the other tests click in: it reaches no other machine, and its pictures have one size."""

import pytest
from playwright.sync_api import Browser, Error

from ops.browser.chromium import new_context

NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize("address", ["http://192.0.2.1/", "http://example.com/", "https://[2001:db8::1]/"])
def test_no_other_machine_is_reached(browser: Browser, address: str) -> None:
    with new_context(browser, NOWHERE) as context, pytest.raises(Error, match="net::ERR_NAME_NOT_RESOLVED"):
        context.new_page().goto(address, timeout=20_000)


@pytest.mark.parametrize("zoom", [1, 0.9, 0.75])
def test_a_picture_has_the_same_size_at_any_zoom(browser: Browser, zoom: float) -> None:
    with new_context(browser, NOWHERE, zoom) as context:
        picture = context.new_page().screenshot()
    assert [int.from_bytes(picture[start : start + 4]) for start in (16, 20)] == [1440, 900]
