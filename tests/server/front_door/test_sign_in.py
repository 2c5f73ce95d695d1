"""A session is given for the right password, and for nothing else."""

import json
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection

import jwt
import pytest
import requests
from mage_ai.settings.server import OAUTH2_APPLICATION_CLIENT_ID as API_KEY

from ops.mage.api import MageApi
from ops.mage.owner import EMAIL
from ops.mage.patches.front_door.sign_in_by_provider import Attempts
from tests.server.conftest import OWNER, Mage
from tests.server.front_door.conftest import signing_in

pytestmark = pytest.mark.mage


@pytest.mark.parametrize("provider", ["nobody", "oidc", "oidc_generic", "google", "okta", "active_directory", "github"])
@pytest.mark.parametrize("email", [EMAIL, "stranger@example.org"])
def test_no_session_without_a_password(mage: Mage, provider: str, email: str) -> None:
    before = {user["email"] for user in mage.api.list("users")}
    answer = signing_in(mage.server.url, email=email, provider=provider, token="x")
    assert "token" not in json.dumps(answer.json().get("session", {}))
    assert answer.json()["error"]["message"] == "Sign in with e-mail and password"
    assert {user["email"] for user in mage.api.list("users")} == before
    assert "error" in signing_in(mage.server.url, email=email).json()
    assert "error" in signing_in(mage.server.url, email=email, token="x").json()


def test_the_right_password_still_signs_in(mage: Mage) -> None:
    assert signing_in(mage.server.url, email=EMAIL, password=OWNER.password).json()["session"]["token"]


def test_wrong_passwords_are_slowed_down_and_nobody_is_locked_out_for_ever(mage: Mage) -> None:
    email = "slow@example.org"
    said = [signing_in(mage.server.url, email=email, password="wrong") for _ in range(30)]
    codes = [answer.status_code for answer in said]
    assert [answer.json()["error"]["code"] for answer in said] == codes
    assert codes[:5] == [401] * 5
    assert codes.count(401) < 15  # a pause twice as long after each: 2, 4, 8, .. seconds
    assert set(codes) == {401, 429}
    assert "Too many wrong passwords" in said[codes.index(429)].json()["error"]["message"]
    assert signing_in(mage.server.url, email=EMAIL, password=OWNER.password).json()["session"]["token"]
    assert mage.server.log is not None
    assert f"Sign-in of '{email}' refused: too many wrong passwords" in mage.server.log.read_text()


def test_the_web_ui_reads_why_in_an_answer_of_200(mage: Mage) -> None:
    answer = signing_in(mage.server.url, {"Origin": mage.server.url}, email="typo@example.org", password="wrong")
    assert answer.status_code == HTTPStatus.OK
    assert answer.json()["error"]["code"] == 401
    assert "session" not in answer.json()


def test_an_account_is_one_by_its_e_mail_and_by_its_user_name(mage: Mage, viewer: MageApi) -> None:
    codes = []
    for _ in range(5):
        codes.append(signing_in(mage.server.url, email=viewer.email, password="wrong").status_code)
        codes.append(signing_in(mage.server.url, username="viewer", password="wrong").status_code)
    assert codes[:5] == [401] * 5
    assert 429 in codes[5:]


def test_a_thousand_wrong_passwords_take_days_and_the_owner_waits_five_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("ops.mage.patches.front_door.sign_in_by_provider.time.monotonic", lambda: now)
    attempts = Attempts()
    attempts.forget("#1", "home")
    for _ in range(1_000):
        now += attempts.pause("#1", "elsewhere")
        attempts.failed("#1", "elsewhere")
    assert now > 3 * 24 * 3_600
    assert attempts.pause("#1", "somewhere new") == 300
    assert attempts.pause("#1", "home") == 0
    now += 300
    assert attempts.pause("#1", "somewhere new") == 0


def test_invented_names_do_not_make_room_for_guesses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.mage.patches.front_door.sign_in_by_provider.time.monotonic", lambda: 0.0)
    attempts, guesses = Attempts(), 0
    for number in range(5_000):
        attempts.failed(f"nobody{number}@example.org", "elsewhere")
        if attempts.pause("#1", "elsewhere") == 0:
            attempts.failed("#1", "elsewhere")
            guesses += 1
    assert guesses == 5
    assert len(attempts._failed) < 1_100


@pytest.mark.parametrize("value", [["x"], {"a": "b"}, 7, True])
@pytest.mark.parametrize("field", ["email", "username", "password", "provider", "token"])
def test_what_is_no_text_is_refused_in_a_sentence(mage: Mage, field: str, value: object) -> None:
    asked = {"email": OWNER.email, "password": "x", field: value}
    answer = signing_in(mage.server.url, **asked)  # type: ignore[arg-type]
    assert answer.json()["error"]["message"] == "Sign in with e-mail and password, both of them text"
    assert answer.status_code == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("token", ["", "x", "0" * 5_000, "eyJhbGciOiJub25lIn0.eyJ0b2tlbiI6IngifQ.", "a b"])
@pytest.mark.parametrize("where", ["OAUTH-TOKEN", "Authorization", "cookie", "address"])
def test_a_wrong_or_empty_token_is_no_session(mage: Mage, where: str, token: str) -> None:
    headers = {"X-API-KEY": API_KEY}
    headers |= {
        "OAUTH-TOKEN": {"OAUTH-TOKEN": token},
        "Authorization": {"Authorization": f"Bearer {token}"},
        "cookie": {"Cookie": f"oauth_token={token}"},
        "address": {},
    }[where]
    query = {"token": token} if where == "address" else {}
    answer = requests.get(f"{mage.server.url}/api/pipelines", headers=headers, params=query, timeout=30)
    assert answer.status_code == HTTPStatus.UNAUTHORIZED
    assert answer.json() == {"error": {"code": 401, "message": "Sign in first"}}


def test_a_token_of_another_server_is_no_session(mage: Mage) -> None:
    foreign = jwt.encode(
        {"token": mage.api._session.headers["OAUTH-TOKEN"], "expires": 9e9},
        "another server's secret, long enough",
        "HS256",
    )
    for headers in ({"Cookie": f"oauth_token={foreign}"}, {"OAUTH-TOKEN": foreign}):
        answer = requests.get(f"{mage.server.url}/api/pipelines", headers=headers, timeout=30)
        assert answer.status_code == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize(
    ("header", "value", "begin"),
    [("Content-Length", str(100 << 20), b"{"), ("Transfer-Encoding", "chunked", b"100000\r\n{")],
    ids=("told", "in chunks"),
)
def test_a_sign_in_of_100_megabytes_is_not_read(mage: Mage, header: str, value: str, begin: bytes) -> None:
    with closing(HTTPConnection("127.0.0.1", mage.server.port, timeout=30)) as line:
        line.putrequest("POST", "/api/sessions")
        line.putheader(header, value)
        line.endheaders()
        line.send(begin)
        assert line.getresponse().status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
