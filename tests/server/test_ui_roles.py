"""What a Viewer sees in the browser."""

from playwright.sync_api import Browser, expect

from ops.browser.chromium import new_context
from ops.browser.mage_ui import MageUi
from ops.commands import users
from tests.server.conftest import Mage

EMAIL, PASSWORD = "looks@example.com", "a-password-of-theirs"


def test_a_viewer_sees_pipelines_runs_and_logs_and_no_code(browser: Browser, mage: Mage) -> None:
    users.add(mage.api, EMAIL, "viewer", PASSWORD)
    with new_context(browser, mage.server.url) as context:
        page = context.new_page()
        tab = MageUi(page)
        tab.sign_in(EMAIL, PASSWORD)
        tab.expect_signed_in()
        page.goto("/pipelines")
        expect(page.get_by_text("api_to_postgres", exact=True).first).to_be_visible()
        page.goto("/pipelines/api_to_gcs/runs")
        expect(page.get_by_text("waits").first).to_be_visible()
        page.goto("/pipelines/api_to_gcs/logs")
        expect(page.get_by_text("Block type")).to_be_visible()
        page.goto("/pipeline-runs")
        expect(page.get_by_text("api_to_gcs").first).to_be_visible()
        with page.expect_response("**/api/files?**") as files:
            page.goto("/pipelines/api_to_gcs/edit")
        assert files.value.status == 403
        expect(page.get_by_text("month_in_lake").or_(page.get_by_text("trip_file_published")).first).to_be_visible()
        expect(page.get_by_text("from nyc_taxi")).to_have_count(0)
    users.remove(mage.api, EMAIL)
