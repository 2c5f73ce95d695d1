"""What the UI offers when a person adds a block from a template."""

import pytest

from tests.server.conftest import Mage

pytestmark = pytest.mark.mage


def test_the_projects_templates_are_offered_with_what_they_do(mage: Mage) -> None:
    offered = {
        template["template_uuid"]: template for template in mage.api.list("custom_templates", object_type="blocks")
    }
    assert {name: template["block_type"] for name, template in offered.items()} == {
        "month_loader": "data_loader",
        "month_transformer": "transformer",
        "month_exporter": "data_exporter",
        "month_check": "custom",
    }
    assert all(len(template["description"]) > 40 for template in offered.values())
