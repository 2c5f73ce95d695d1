"""Who was not invited does not get in: sessions, origins, files, websockets, and every route of the server."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any
from urllib.parse import quote

import pytest
import requests
from mage_ai.settings.server import OAUTH2_APPLICATION_CLIENT_ID as API_KEY
from websocket import WebSocketBadStatusException, create_connection

from ops.mage.front_door import FRONT_DOOR
from ops.mage.owner import EMAIL
from ops.paths import ROOT
from tests.conftest import process_environment
from tests.server.conftest import OWNER, Mage

pytestmark = pytest.mark.mage
ROUTES = """
import json, sys
from ops.mage import program
if "bare" not in sys.argv:
    program.install()
from mage_ai.settings.repo import set_repo_path
set_repo_path(sys.argv[1])
from mage_ai.server import server
rules = server.make_app().wildcard_router.rules
print(json.dumps([[rule.matcher.regex.pattern, rule.target.__name__] for rule in rules]))
"""
OPEN_PAGES = {"MainPageHandler", "StaticFileHandler"}
METHODS = ("GET", "POST", "PUT", "DELETE")


@pytest.fixture(scope="module")
def routes(mage: Mage) -> list[tuple[str, str]]:
    """Every route of the server as it is installed: an address that it matches, and the name of its handler."""
    return [(address(pattern), handler) for pattern, handler in patterns(mage)]


def patterns(mage: Mage, *options: str) -> list[tuple[str, str]]:
    """The routes of an installed server: the pattern, and the name of the handler."""
    env = {**process_environment(), "MAGE_DATA_DIR": mage.server.env["MAGE_DATA_DIR"]}
    command = [sys.executable, "-c", ROUTES, str(mage.server.project), *options]
    printed = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
    return [(pattern, handler) for pattern, handler in json.loads(printed.splitlines()[-1])]


def address(pattern: str) -> str:
    """An address that a route's pattern matches."""
    made = example(parser.parse(pattern))
    assert re.fullmatch(pattern, made), (pattern, made)
    return made


def example(parts: Iterable[tuple[Any, Any]]) -> str:
    """A text for a parsed pattern: what may be there is, once."""
    return "".join(piece(kind, value) for kind, value in parts)


def piece(kind: Any, value: Any) -> str:
    match str(kind):
        case "LITERAL":
            return str(chr(value))
        case "IN":
            first, of = value[0]
            return str(chr(of)) if str(first) == "LITERAL" else "x"
        case "ANY":
            return "x"
        case "MAX_REPEAT":
            return example(value[2]) * max(int(value[0]), 1)
        case "SUBPATTERN":
            return example(value[3])
        case "AT":
            return ""
    raise AssertionError(f"a pattern with {kind}: add it here")


def test_without_a_session_no_route_answers_but_the_sign_in_page_and_a_word_of_health(
    mage: Mage, routes: list[tuple[str, str]]
) -> None:
    assert len(routes) > 40
    answered = set()
    for path, handler in routes:
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


def test_a_path_that_bare_mage_does_not_have_says_that_requests_are_checked(
    mage: Mage,
) -> None:
    assert not [pattern for pattern, _ in patterns(mage, "bare") if re.fullmatch(pattern, FRONT_DOOR)]
    answer = requests.get(mage.server.url + FRONT_DOOR, timeout=30)
    assert (answer.status_code, answer.json()) == (HTTPStatus.OK, {"guarded": True})


def test_the_status_tells_a_stranger_nothing_of_the_machine(mage: Mage) -> None:
    [status] = requests.get(f"{mage.server.url}/api/statuses", timeout=30).json()["statuses"]
    assert status == {"scheduler_status": "running", "require_user_authentication": True}


def signing_in(mage: Mage, headers: dict[str, str] | None = None, **session: str) -> requests.Response:
    body = {"session": session, "api_key": API_KEY}
    return requests.post(f"{mage.server.url}/api/sessions", json=body, headers=headers, timeout=60)


@pytest.mark.parametrize("provider", ["nobody", "oidc", "oidc_generic", "google", "okta", "active_directory", "github"])
@pytest.mark.parametrize("email", [EMAIL, "stranger@example.org"])
def test_no_session_without_a_password(mage: Mage, provider: str, email: str) -> None:
    before = {user["email"] for user in mage.api.list("users")}
    answer = signing_in(mage, email=email, provider=provider, token="x")
    assert "token" not in json.dumps(answer.json().get("session", {}))
    assert answer.json()["error"]["message"] == "Sign in with e-mail and password"
    assert {user["email"] for user in mage.api.list("users")} == before
    assert "error" in signing_in(mage, email=email).json()
    assert "error" in signing_in(mage, email=email, token="x").json()


def test_the_right_password_still_signs_in(mage: Mage) -> None:
    assert signing_in(mage, email=EMAIL, password=OWNER.password).json()["session"]["token"]


def test_wrong_passwords_are_slowed_down_and_nobody_is_locked_out_for_ever(mage: Mage) -> None:
    email = "slow@example.org"
    said = [signing_in(mage, email=email, password="wrong").json()["error"]["code"] for _ in range(30)]
    assert said[:5] == [404] * 5
    assert said.count(404) < 15  # a pause twice as long after each: 2, 4, 8, .. seconds
    assert set(said) == {404, 429}
    assert signing_in(mage, email=EMAIL, password=OWNER.password).json()["session"]["token"]


def test_a_sign_in_of_100_megabytes_is_not_read(mage: Mage) -> None:
    with closing(HTTPConnection("127.0.0.1", mage.server.port, timeout=30)) as line:
        line.putrequest("POST", "/api/sessions")
        line.putheader("Content-Length", str(100 << 20))
        line.endheaders()
        line.send(b"{")
        assert line.getresponse().status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


def test_a_wrong_key_of_a_trigger_is_refused_by_its_status(mage: Mage) -> None:
    trigger = mage.api.create("pipelines/test_config/pipeline_schedules", name="keyed", schedule_type="api")["id"]
    for path in (f"pipeline_runs/{'0' * 32}", "api_trigger", "pipeline_runs/x"):
        answer = requests.post(f"{mage.server.url}/api/pipeline_schedules/{trigger}/{path}", json={}, timeout=30)
        assert answer.status_code == HTTPStatus.UNAUTHORIZED, path
        assert set(answer.json()) == {"error"}
        assert "Traceback" not in answer.text


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null"])
def test_a_page_of_another_origin_can_change_nothing_even_with_a_session(mage: Mage, origin: str) -> None:
    headers = {**mage.api._session.headers, "Origin": origin}
    answer = requests.post(f"{mage.server.url}/api/pipelines", json={"pipeline": {}}, headers=headers, timeout=30)
    assert answer.status_code == HTTPStatus.FORBIDDEN
    answer = signing_in(mage, {"Origin": origin}, email=EMAIL, password=OWNER.password)
    assert answer.status_code == HTTPStatus.FORBIDDEN


def test_a_name_that_only_points_here_gets_nothing(mage: Mage) -> None:
    headers = {**mage.api._session.headers, "Host": f"rebound.example:{mage.server.port}"}
    answer = requests.get(f"{mage.server.url}/api/pipelines", headers=headers, timeout=30)
    assert answer.status_code == HTTPStatus.MISDIRECTED_REQUEST


OUTSIDE = ["/etc/passwd", "/proc/self/environ", "../.env", "%2e%2e/.env", "magic-zoomcamp/../../.env", "/etc/pass\0wd"]


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_file_outside_the_project_is_read_or_written_by_its_owner(mage: Mage, path: str) -> None:
    for twice in (quote(path, safe=""), quote(quote(path, safe=""))):
        answer = requests.get(
            f"{mage.server.url}/api/browser_items/{twice}", headers=mage.api._session.headers, timeout=30
        )
        assert "root:" not in answer.text
        assert "PASSWORD" not in answer.text
        assert '"content"' not in answer.text


def test_a_symbolic_link_leads_nowhere_outside(mage: Mage) -> None:
    link = mage.server.project / "way_out"
    link.symlink_to("/etc")
    try:
        for path in (f"{link}/passwd", "magic-zoomcamp/way_out/passwd", "way_out/passwd"):
            quoted = quote(path, safe="")
            for resource in ("browser_items", "file_contents"):
                answer = requests.get(
                    f"{mage.server.url}/api/{resource}/{quoted}", headers=mage.api._session.headers, timeout=30
                )
                assert "root:" not in answer.text, (resource, path)
    finally:
        link.unlink()


def test_nothing_is_written_outside_the_project(mage: Mage) -> None:
    target = mage.checkout.parent / "written.py"
    item = {"browser_item": {"path": str(target), "content": "x = 1"}}
    requests.post(f"{mage.server.url}/api/browser_items", json=item, headers=mage.api._session.headers, timeout=30)
    assert not target.exists()


@pytest.mark.parametrize("path", ["/websocket/", "/websocket/terminal", "/websocket/terminal?term_name=x"])
def test_no_websocket_opens_without_a_session_or_for_another_origin(mage: Mage, path: str) -> None:
    url = mage.server.url.replace("http", "ws") + path
    for headers in ([], [f"OAUTH-TOKEN: {mage.api._session.headers['OAUTH-TOKEN']!s}"]):
        with pytest.raises(WebSocketBadStatusException) as refused:
            create_connection(url, header=headers, origin="http://evil.example" if headers else None, timeout=20)
        assert refused.value.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
