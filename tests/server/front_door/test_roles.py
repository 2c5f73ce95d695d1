"""What an Owner, an Editor and a Viewer may do: docs/users.md says it, these tests hold it."""

from http import HTTPStatus

import pytest
import requests
from websocket import WebSocketBadStatusException, create_connection

from ops.mage.api import MageApi, MageApiError
from tests.server.conftest import Mage, wait
from tests.server.front_door.routes import METHODS, Surface

pytestmark = pytest.mark.mage
VIEWER_LOOKS = {
    "backfills",
    "block_runs",
    "client_pages",
    "monitor_stats",
    "pipeline_interactions",
    "pipeline_runs",
    "pipeline_schedules",
    "pipelines",
    "pipelines/backfills",
    "pipelines/logs",
    "pipelines/pipeline_schedules",
    "pipelines/pipeline_triggers",
    "pipelines/variables",
    "projects",
    "statuses",
    "tags",
}
CODE = "from nyc_taxi"
"""What every block's file has."""
OWNERS_ONLY = {"oauth_access_tokens", "role_permissions", "seeds", "user_roles", "users", "workspaces"}


def is_refused(answer: requests.Response) -> bool:
    """By the role, in words that only the check of the roles has."""
    return answer.status_code == HTTPStatus.FORBIDDEN and "may not do that" in answer.text


def passed(mage: Mage, line: requests.Session, resources: list[str], below: str = "") -> set[tuple[str, str]]:
    """Which of the resources, and by which methods, the role may ask for."""
    found = set()
    for resource in resources:
        for method, path in (("GET", ""), ("POST", ""), ("PUT", "/999999"), ("DELETE", "/999999")):
            answer = line.request(method, f"{mage.server.url}/api/{below}{resource}{path}", json={}, timeout=60)
            assert "Traceback" not in answer.text
            if not is_refused(answer):
                found.add((method, resource))
    return found


def test_a_viewer_looks_at_what_is_listed_and_asks_for_nothing_else(
    mage: Mage, surface: Surface, viewer_line: requests.Session
) -> None:
    assert len(surface.resources) > 70
    others = [resource for resource in surface.resources if resource != "sessions"]  # a PUT of those signs out
    found = passed(mage, viewer_line, others)
    names = {("GET", "permissions"), ("GET", "roles")}  # which the page of one's own account asks for
    assert found == {("GET", resource) for resource in VIEWER_LOOKS if "/" not in resource} | names
    found = passed(mage, viewer_line, surface.resources, "pipelines/test_config/")
    looks = {resource.partition("/")[2] for resource in VIEWER_LOOKS if resource.startswith("pipelines/")}
    assert found == {("GET", resource) for resource in looks}


def test_a_viewer_gets_no_route_but_pages_and_the_api(
    mage: Mage, surface: Surface, viewer_line: requests.Session
) -> None:
    answered = set()
    for path, handler in surface.routes:
        for method in METHODS:
            answer = viewer_line.request(method, mage.server.url + path, json={}, timeout=60)
            if not is_refused(answer) and answer.status_code != HTTPStatus.METHOD_NOT_ALLOWED:
                answered.add((method, handler))
    assert answered == {
        ("GET", "ApiListHandler"),  # the status
        ("GET", "FrontDoor"),
        ("GET", "MainPageHandler"),
        ("GET", "PipelineRunsPageHandler"),  # as empty
        ("GET", "ReportPageHandler"),  # which tell of sums, and of no trip
        ("GET", "StaticFileHandler"),
        ("POST", "ApiTriggerPipelineHandler"),  # which has a key of its own
    }


def test_a_viewer_sees_pipelines_runs_logs_charts_and_triggers(mage: Mage, viewer: MageApi) -> None:
    assert {pipeline["uuid"] for pipeline in viewer.list("pipelines")} >= {"api_to_postgres", "trip_report"}
    blocks = viewer.get("pipelines", "api_to_postgres")["blocks"]
    assert {block["uuid"] for block in blocks} >= {"load_api_data", "taxi_data_to_postgres"}
    assert not [block for block in blocks if block.get("content")]
    assert len(viewer.list("pipeline_runs")) == len(mage.runs())
    for run in viewer.list("pipeline_runs")[:1]:
        assert viewer.get("pipeline_runs", run["id"])["pipeline_uuid"] == run["pipeline_uuid"]
    [logs] = viewer.list("pipelines/api_to_gcs/logs")
    assert {"block_run_logs", "pipeline_run_logs"} <= logs.keys()
    assert viewer.get("monitor_stats", "pipeline_run_count")["stats"]
    triggers = viewer.list("pipeline_schedules")
    assert {trigger["name"] for trigger in triggers} >= {"waits"}
    assert {trigger["token"] for trigger in triggers} == {"[API_TOKEN_PLACEHOLDER]"}


@pytest.mark.parametrize("asked", ["true", "1", "True"])
def test_a_viewer_gets_no_code_by_asking_for_it(mage: Mage, viewer_line: requests.Session, asked: str) -> None:
    url = f"{mage.server.url}/api/pipelines/api_to_postgres?includes_content={asked}&include_content={asked}"
    answer = viewer_line.get(url, data={"includes_content": asked}, timeout=60)
    assert answer.json()["pipeline"]["blocks"]
    assert CODE not in answer.text


def test_a_viewer_gets_no_output_of_a_block(mage: Mage, viewer_line: requests.Session, editor: MageApi) -> None:
    trigger = editor.create("pipelines/test_config/pipeline_schedules", name="for outputs", schedule_type="api")
    editor.update("pipeline_schedules", trigger["id"], status="active")
    run = editor.create(f"pipeline_schedules/{trigger['id']}/pipeline_runs", variables={})
    wait(lambda: editor.get("pipeline_runs", run["id"])["status"] == "completed", 120, "the run's end")
    url = f"{mage.server.url}/api/pipelines/test_config"
    for asked in ("", "?includes_outputs=true", "?includes_outputs=1&includes_content=true"):
        answer = viewer_line.get(f"{url}{asked}", timeout=30)
        assert answer.status_code == 200
        assert not any(block.get("outputs") for block in answer.json()["pipeline"]["blocks"])
        assert "sample_data" not in answer.text
    for asked in ("", "?global_only=false"):
        listed = viewer_line.get(f"{url}/variables{asked}", timeout=30).json()["variables"]
        assert {entry["block"]["uuid"] for entry in listed} <= {"global"}
    assert viewer_line.get(f"{mage.server.url}/api/pipelines/%2e%2e", timeout=30).status_code == 404


@pytest.mark.parametrize("path", ["/websocket/", "/websocket/terminal"])
def test_a_viewer_opens_no_websocket(mage: Mage, viewer: MageApi, path: str) -> None:
    header = [f"OAUTH-TOKEN: {viewer._session.headers['OAUTH-TOKEN']!s}"]
    with pytest.raises(WebSocketBadStatusException) as refused:
        create_connection(mage.server.url.replace("http", "ws") + path, header=header, timeout=20)
    assert refused.value.status_code == HTTPStatus.FORBIDDEN


def test_an_editor_edits_and_runs(mage: Mage, editor: MageApi) -> None:
    trigger = editor.create("pipelines/test_config/pipeline_schedules", name="an editor's", schedule_type="api")["id"]
    assert editor.update("pipeline_schedules", trigger, name="renamed")["name"] == "renamed"
    run = editor.create(f"pipeline_schedules/{trigger}/pipeline_runs", variables={})
    assert run["status"] == "initial"
    editor.update("pipeline_runs", run["id"], status="cancelled")
    editor.delete("pipeline_schedules", trigger)
    assert CODE in editor.get("pipelines", "api_to_postgres")["blocks"][0]["content"]


def test_an_editor_manages_no_accounts(mage: Mage, surface: Surface, editor_line: requests.Session) -> None:
    for resource in OWNERS_ONLY & set(surface.resources):
        for method in METHODS:
            for path in (resource, f"{resource}/1"):
                answer = editor_line.request(method, f"{mage.server.url}/api/{path}", json={}, timeout=60)
                assert is_refused(answer) or answer.status_code == HTTPStatus.METHOD_NOT_ALLOWED, (method, path)
    for resource in ("roles", "permissions"):
        for method in ("POST", "PUT", "DELETE"):
            answer = editor_line.request(method, f"{mage.server.url}/api/{resource}/1", json={}, timeout=60)
            assert is_refused(answer) or answer.status_code == HTTPStatus.METHOD_NOT_ALLOWED, (method, resource)


@pytest.mark.parametrize("spelled", ["oauth_access_token", "Oauth_access_tokens", "USERS", "user", "Role_permission"])
def test_an_editor_gets_no_account_by_another_spelling(mage: Mage, editor_line: requests.Session, spelled: str) -> None:
    assert is_refused(editor_line.get(f"{mage.server.url}/api/{spelled}", timeout=30))


@pytest.mark.parametrize("field", ["email", "username"])
def test_only_an_owner_renames_an_account(mage: Mage, viewer: MageApi, editor: MageApi, field: str) -> None:
    for person in (viewer, editor):
        [own] = [user for user in mage.api.list("users") if user["email"] == person.email]
        with pytest.raises(MageApiError, match=f"Only an owner changes the {field} of an account"):
            person.update("users", own["id"], **{field: "ceo@example.com"})
        person.update("users", own["id"], first_name="Ada", **{field: own[field]})
        mage.api.update("users", own["id"], **{field: own[field]})


def test_a_trigger_is_of_this_project(mage: Mage, editor: MageApi) -> None:
    made = editor.create(
        "pipelines/test_config/pipeline_schedules", name="elsewhere", schedule_type="api", repo_path=str(mage.checkout)
    )
    assert made["repo_path"] == str(mage.server.project)


@pytest.mark.parametrize("field", ["roles_new", "role_ids", "owner", "roles"])
@pytest.mark.parametrize("role", ["viewer", "editor"])
def test_nobody_gives_themselves_a_role(
    mage: Mage, role: str, field: str, viewer: MageApi, editor: MageApi, request: pytest.FixtureRequest
) -> None:
    line: requests.Session = request.getfixturevalue(f"{role}_line")
    [user] = [user for user in mage.api.list("users") if user["username"] == role]
    body = {"user": {field: {"owner": True, "roles": 1}.get(field, [1])}}
    answer = line.put(f"{mage.server.url}/api/users/{user['id']}", json=body, timeout=60)
    assert "error" in answer.json()
    [after] = [user for user in mage.api.list("users") if user["username"] == role]
    assert ([each["name"] for each in after["roles_new"]], after["owner"]) == ([role.capitalize()], False)


def test_who_has_no_role_gets_nothing(mage: Mage) -> None:
    password = "a-password-of-theirs"
    who = {"email": "nobody@example.com", "username": "nobody"}
    mage.api.create("users", **who, password=password, password_confirmation=password)
    nobody = MageApi(mage.server.url, who["email"], password)
    with requests.Session() as line:
        line.headers.update(nobody._session.headers)
        for resource in VIEWER_LOOKS - {"projects", "statuses"}:
            answer = line.get(f"{mage.server.url}/api/{resource.replace('/', '/test_config/')}", timeout=60)
            assert answer.status_code == HTTPStatus.FORBIDDEN, resource
