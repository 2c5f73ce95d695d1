"""Signing in through a provider of identities: where it is turned on, for accounts that are there, and nowhere else."""

from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
import requests
from mage_ai.settings.server import OAUTH2_APPLICATION_CLIENT_ID as API_KEY
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from ops.mage.api import MageApi
from ops.mage.server import MageServer
from ops.ports import free_port
from tests.conftest import process_environment
from tests.project_copy import copy_project
from tests.server.conftest import OWNER, Mage
from tests.server.front_door.conftest import signing_in

pytestmark = pytest.mark.mage
PEOPLE = {"token-of-owner": OWNER.email, "token-of-stranger": "stranger@example.org"}
PROVIDER = "oidc_generic"


def userinfo(request: Request) -> Response:
    """What an OpenID provider says of who has a token."""
    email = PEOPLE.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
    return Response(f'{{"email": "{email}"}}', 200 if email else 401, content_type="application/json")


def token_for(request: Request) -> Response:
    """The token for a code."""
    return Response(f'{{"access_token": "token-{request.form["code"]}"}}', content_type="application/json")


@pytest.fixture(scope="module")
def provider() -> Iterator[HTTPServer]:
    """An OpenID provider on the loopback."""
    with HTTPServer(host="127.0.0.1") as running:
        running.expect_request("/discovery").respond_with_json(
            {
                "authorization_endpoint": running.url_for("/authorize"),
                "token_endpoint": running.url_for("/token"),
                "userinfo_endpoint": running.url_for("/userinfo"),
            }
        )
        running.expect_request("/userinfo").respond_with_handler(userinfo)
        running.expect_request("/token", method="POST").respond_with_handler(token_for)
        yield running


@pytest.fixture(scope="module")
def with_provider(provider: HTTPServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MageServer]:
    """A Mage for which it is turned on."""
    folder = tmp_path_factory.mktemp("sso")
    copy_project(folder / "checkout")
    env = {
        **process_environment(),
        "MAGE_DATA_DIR": str(folder / "data"),
        "MAGE_DATABASE_CONNECTION_URL": f"sqlite:///{folder / 'mage.db'}",
        "MAGE_SIGN_IN_PROVIDERS": PROVIDER,
        "OIDC_DISCOVERY_URL": provider.url_for("/discovery"),
        "OIDC_CLIENT_ID": "mage",
    }
    project: Path = folder / "checkout" / "magic-zoomcamp"
    with MageServer(env, free_port(), project, folder / "mage.log", OWNER) as running:
        yield running


def come_back(url: str, code: str) -> requests.Response:
    """What the sign-in page asks when the provider has sent the visitor back with a code."""
    asked = {"code": code, "redirect_uri": f"{url}/sign-in"}
    return requests.get(f"{url}/api/oauths/{PROVIDER}", headers={"X-API-KEY": API_KEY}, params=asked, timeout=30)


def test_an_account_that_is_there_gets_in_once_with_the_token_that_was_made_for_it(with_provider: MageServer) -> None:
    come_back(with_provider.url, "of-owner")
    answer = signing_in(with_provider.url, provider=PROVIDER, token="token-of-owner")
    assert "session" in answer.json(), answer.text
    again = signing_in(with_provider.url, provider=PROVIDER, token="token-of-owner")
    assert again.status_code == HTTPStatus.UNAUTHORIZED


def test_a_token_that_the_provider_made_for_another_application_is_not_taken(with_provider: MageServer) -> None:
    answer = signing_in(with_provider.url, provider=PROVIDER, token="token-of-owner")
    assert answer.status_code == HTTPStatus.UNAUTHORIZED
    assert answer.json()["error"]["message"].endswith("did not give that token for a sign-in here: sign in again")


@pytest.mark.parametrize("token", ["token-of-stranger", "forged", "token-of-owner "])
def test_nobody_else_gets_in_and_no_account_is_made(with_provider: MageServer, token: str) -> None:
    come_back(with_provider.url, token.removeprefix("token-"))
    answer = signing_in(with_provider.url, provider=PROVIDER, token=token, email=OWNER.email)
    assert answer.status_code == HTTPStatus.UNAUTHORIZED
    assert "session" not in answer.json()
    assert "Traceback" not in answer.text
    owner = MageApi(with_provider.url, OWNER.email, OWNER.password)
    assert [user["email"] for user in owner.list("users")] == [OWNER.email]


def test_a_provider_that_is_not_named_stays_off(with_provider: MageServer) -> None:
    answer = signing_in(with_provider.url, provider="google", token="token-of-owner", email=OWNER.email)
    assert answer.status_code == HTTPStatus.UNAUTHORIZED
    headers = {"X-API-KEY": API_KEY}
    answer = requests.get(f"{with_provider.url}/api/oauths/google", headers=headers, timeout=30)
    assert answer.status_code == HTTPStatus.UNAUTHORIZED


def test_the_sign_in_page_learns_where_to_go_and_brings_the_token_back(
    with_provider: MageServer, provider: HTTPServer
) -> None:
    headers, page = {"X-API-KEY": API_KEY}, f"{with_provider.url}/sign-in"
    asked = {"redirect_uri": page}
    listed = requests.get(f"{with_provider.url}/api/oauths", headers=headers, params=asked, timeout=30)
    [offered] = listed.json()["oauths"]
    assert offered["provider"] == PROVIDER
    assert offered["url"].startswith(provider.url_for("/authorize"))
    back = come_back(with_provider.url, "of-owner")
    assert "access_token=token-of-owner" in back.json()["oauth"]["url"]


@pytest.mark.parametrize("path", ["oauths", f"oauths/{PROVIDER}", "oauths/google", "oauths/github"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_without_a_provider_no_way_of_it_is_open(mage: Mage, method: str, path: str) -> None:
    headers = {"X-API-KEY": API_KEY}
    answer = requests.request(method, f"{mage.server.url}/api/{path}", headers=headers, json={}, timeout=30)
    assert answer.status_code == HTTPStatus.UNAUTHORIZED
