"""What a person sees who only looks around."""

from typing import Any

import pytest
import yaml
from playwright.sync_api import expect

from ops.browser.mage_ui import MageUi
from ops.paths import PROJECT
from tests.server.conftest import Mage

PIPELINES = sorted(path.parent.name for path in PROJECT.glob("pipelines/*/metadata.yaml"))


def blocks_of(mage: Mage, pipeline: str) -> list[dict[str, Any]]:
    path = mage.checkout / "magic-zoomcamp" / "pipelines" / pipeline / "metadata.yaml"
    blocks: list[dict[str, Any]] = yaml.safe_load(path.read_text())["blocks"]
    return blocks


def test_the_pipelines_page_lists_every_pipeline_with_its_number_of_blocks(mage: Mage, ui: MageUi) -> None:
    ui.page.goto("/pipelines")
    rows = ui.page.locator("tr[id^=pipelines_table-row]")
    expect(rows).to_have_count(len(PIPELINES))
    shown = {cells[2].strip(): int(cells[8]) for row in rows.all() if (cells := row.locator("td").all_inner_texts())}
    assert shown == {pipeline: len(blocks_of(mage, pipeline)) for pipeline in PIPELINES}
    expect(ui.error_popups()).to_have_count(0)
    assert ui.errors == ui.foreign == []


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_pipelines_editor_opens_with_all_its_blocks(pipeline: str, mage: Mage, ui: MageUi) -> None:
    ui.open_editor(pipeline)
    # A model of dbt is shown by its file, without a link.
    blocks = [block["uuid"] for block in blocks_of(mage, pipeline)]
    expect(ui.block_names()).to_have_text([uuid for uuid in blocks if "/" not in uuid])
    for model in (uuid for uuid in blocks if "/" in uuid):
        expect(ui.page.get_by_text(model.rpartition("/")[2]).first).to_be_visible()
    expect(ui.error_popups()).to_have_count(0)
    assert ui.errors == ui.foreign == []
