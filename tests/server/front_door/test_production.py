"""Where editing is off, nobody edits: what each role may do in production, over the real API."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from ops.mage.api import MageApi, MageApiError
from ops.stack.google import GoogleServer
from tests.server.conftest import Mage, wait
from tests.server.front_door.conftest import account, apart, line_of

pytestmark = pytest.mark.mage
BLOCK = "custom/summarise_loads.py"
EDITS = [
    ("POST", "pipelines", {"pipeline": {"name": "made"}}),
    ("PUT", "pipelines/test_config?update_content=true", {"pipeline": {"blocks": [{"uuid": "x", "content": "1"}]}}),
    ("PUT", "pipelines/test_config", {"pipeline": {"name": "renamed"}}),
    ("PUT", "pipelines/test_config", {"pipeline": {"description": "changed", "status": "active"}}),
    ("PUT", "pipelines/test_config", {"pipeline": {"tags": ["changed"]}}),
    ("DELETE", "pipelines/test_config", {}),
    ("POST", "pipelines/test_config/blocks", {"block": {"name": "made", "type": "custom", "language": "python"}}),
    ("PUT", "pipelines/test_config/blocks/test_postgres", {"block": {"content": "SELECT 2", "name": "renamed"}}),
    ("DELETE", "pipelines/test_config/blocks/test_postgres", {}),
    ("POST", "files", {"file": {"dir_path": "utils", "name": "made.py", "content": "x"}}),
    ("PUT", f"file_contents/{quote(BLOCK, safe='')}", {"file_content": {"content": "changed"}}),
    ("DELETE", f"files/{quote(BLOCK, safe='')}", {}),
    ("POST", "folders", {"folder": {"path": "", "name": "made"}}),
    ("DELETE", "folders/charts", {}),
    ("PUT", f"browser_items/{quote(BLOCK, safe='')}", {"browser_item": {"path": BLOCK, "content": "changed"}}),
    ("POST", "interactions", {"interaction": {"uuid": "made"}}),
    ("PUT", "interactions/load_a_month", {"interaction": {"content": {"inputs": {}}}}),
    ("PUT", "pipeline_interactions/test_config", {"pipeline_interaction": {"content": {"blocks": {}}}}),
    ("PUT", "page_block_layouts/overview", {"page_block_layout": {"blocks": {}, "layout": []}}),
    ("POST", "global_data_products", {"global_data_product": {"uuid": "made", "object_type": "pipeline"}}),
    ("POST", "global_hooks", {"global_hook": {"uuid": "made", "resource_type": "block", "operation_type": "list"}}),
    ("PUT", f"git_files/{quote(BLOCK, safe='')}", {"git_file": {"content": "changed"}}),
    ("PUT", "projects/magic-zoomcamp", {"project": {"remote_variables_dir": "/changed"}}),
    ("POST", "version_control_projects", {"version_control_project": {"uuid": "made"}}),
    ("POST", "pipelines/test_config/variables", {"variable": {"name": "made", "value": "1"}}),
    ("PUT", "pipelines/test_config/variables/service", {"variable": {"name": "made", "value": "1"}}),
    ("POST", "custom_templates", {"custom_template": {"template_uuid": "made", "object_type": "blocks"}}),
]


@pytest.fixture(scope="module")
def production(google_server: GoogleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mage]:
    """A server as production has it."""
    with apart(google_server, tmp_path_factory.mktemp("production"), ENV="production") as running:
        yield running


@pytest.fixture(scope="module", params=["Owner", "Editor", "Viewer"])
def person(request: pytest.FixtureRequest, production: Mage) -> MageApi:
    """Somebody with a role."""
    return production.api if request.param == "Owner" else account(production, request.param)


def test_nobody_edits(production: Mage, person: MageApi) -> None:
    before = production.changed_files()
    done = []
    for line in line_of(person):
        for method, path, body in EDITS:
            answer = line.request(method, f"{production.server.url}/api/{path}", json=body, timeout=60)
            if production.changed_files() != before or "error" not in answer.text:
                done.append((method, path, answer.status_code, answer.text[:200]))
    assert done == []


def test_a_run_is_started_by_who_may(production: Mage, person: MageApi) -> None:
    trigger = {"name": person.email, "schedule_type": "api", "status": "active"}
    if person.email == "viewer@example.com":
        with pytest.raises(MageApiError, match="The role Viewer may not do that"):
            person.create("pipelines/test_config/pipeline_schedules", **trigger)
        return
    made = person.create("pipelines/test_config/pipeline_schedules", **trigger)
    run = person.create(f"pipeline_schedules/{made['id']}/pipeline_runs", variables={})
    found = wait(lambda: ended_status(person, run["id"]), 120, "the run's end")
    assert found == "completed"


def ended_status(api: MageApi, run: int) -> str | None:
    """The status of a run that has ended."""
    status = str(api.get("pipeline_runs", run)["status"])
    return status if status in ("completed", "failed", "cancelled") else None
