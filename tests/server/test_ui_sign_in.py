"""Who may use the web UI."""

import re

from playwright.sync_api import Browser, expect

from ops.browser.chromium import new_context
from ops.browser.mage_ui import MageUi
from tests.server.conftest import OWNER, Mage


def test_a_wrong_password_is_refused_and_the_right_one_lets_in(browser: Browser, mage: Mage) -> None:
    with new_context(browser, mage.server.url) as context:
        page = context.new_page()
        tab = MageUi(page)
        tab.sign_in(OWNER.email, "admin")
        expect(page.get_by_text("Email/username and/or password invalid.")).to_be_visible()
        expect(page).to_have_url(re.compile("/sign-in"))
        tab.sign_in(OWNER.email, OWNER.password)
        tab.expect_signed_in()


def test_a_stranger_sees_the_form_and_nothing_else(browser: Browser, mage: Mage) -> None:
    with new_context(browser, mage.server.url) as context:
        page = context.new_page()
        page.goto("/pipelines/api_to_postgres/edit")
        expect(page.get_by_role("button", name="Sign into Mage")).to_be_visible()
        expect(page.get_by_text("load_api_data")).to_have_count(0)
