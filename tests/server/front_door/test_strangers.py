"""Who has not signed in gets the sign-in page and a word of health, whatever route is asked for."""

import re
from http import HTTPStatus

import pytest
import requests
from websocket import WebSocketBadStatusException, create_connection

from ops.mage.front_door import FRONT_DOOR
from tests.server.conftest import Mage
from tests.server.front_door.routes import METHODS, Surface, surface_of

pytestmark = pytest.mark.mage


def test_without_a_session_no_route_answers_but_the_sign_in_page_and_a_word_of_health(
    mage: Mage, surface: Surface
) -> None:
    assert len(surface.routes) > 40
    answered = set()
    for path, handler in surface.routes:
        for method in METHODS:
            answer = requests.request(method, mage.server.url + path, json={}, timeout=30)
            assert "Traceback" not in answer.text
            assert not [name for name in answer.headers if name.startswith("Access-Control")]
            if answer.status_code not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED):
                answered.add((method, handler, path))
    assert {(method, handler) for method, handler, _ in answered} <= {
        ("GET", "MainPageHandler"),
        ("GET", "StaticFileHandler"),
        ("GET", "ApiListHandler"),
        ("GET", "FrontDoor"),
        ("POST", "ApiTriggerPipelineHandler"),  # refused by its own key
    }
    assert {path for _, handler, path in answered if handler == "ApiListHandler"} == {"/api/statuses"}


def test_a_path_that_bare_mage_does_not_have_says_that_requests_are_checked(mage: Mage) -> None:
    assert not [pattern for pattern, _ in surface_of(mage, "bare").patterns if re.fullmatch(pattern, FRONT_DOOR)]
    answer = requests.get(mage.server.url + FRONT_DOOR, timeout=30)
    assert (answer.status_code, answer.json()) == (HTTPStatus.OK, {"guarded": True})


def test_the_status_tells_a_stranger_nothing_of_the_machine(mage: Mage) -> None:
    [status] = requests.get(f"{mage.server.url}/api/statuses", timeout=30).json()["statuses"]
    assert status == {"scheduler_status": "running", "require_user_authentication": True}


def test_a_wrong_key_of_a_trigger_is_refused_by_its_status(mage: Mage) -> None:
    trigger = mage.api.create("pipelines/test_config/pipeline_schedules", name="keyed", schedule_type="api")["id"]
    for path in (f"pipeline_runs/{'0' * 32}", "api_trigger", "pipeline_runs/x"):
        answer = requests.post(f"{mage.server.url}/api/pipeline_schedules/{trigger}/{path}", json={}, timeout=30)
        assert answer.status_code == HTTPStatus.UNAUTHORIZED, path
        assert set(answer.json()) == {"error"}
        assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", ["/websocket/", "/websocket/terminal", "/websocket/terminal?term_name=x"])
def test_no_websocket_opens_without_a_session_or_for_another_origin(mage: Mage, path: str) -> None:
    url = mage.server.url.replace("http", "ws") + path
    for headers in ([], [f"OAUTH-TOKEN: {mage.api._session.headers['OAUTH-TOKEN']!s}"]):
        with pytest.raises(WebSocketBadStatusException) as refused:
            create_connection(url, header=headers, origin="http://evil.example" if headers else None, timeout=20)
        assert refused.value.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
