"""What the tests with a browser, of which this is the last, left of the project: git sees no change."""

from playwright.sync_api import expect

from ops.browser.mage_ui import MageUi
from ops.synthetic.generate import generate
from ops.wait import wait_until
from tests.server.conftest import Mage


def test_what_was_opened_run_and_saved_is_unchanged_for_git(mage: Mage, ui: MageUi) -> None:
    generate("yellow", "2021-01", "dtc", 1_000, mage.trips.folder, malformed=5)
    ui.open_editor("api_to_postgres", side="charts")
    expect(ui.run_block("transform_taxi_data").get_by_text("1/1 tests passed.").first).to_be_visible()
    ui.run_chart("trips_per_day")
    ui.save()
    pipeline = mage.checkout / "magic-zoomcamp" / "pipelines" / "api_to_postgres" / "metadata.yaml"
    assert "status: executed" in pipeline.read_text()  # Mage did write into it
    assert wait_until(lambda: mage.changed_files() == "", 20, 0.2), mage.changed_files()
