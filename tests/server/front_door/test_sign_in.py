"""A session is given for the right password, and for nothing else."""

import json
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection

import pytest

from ops.mage.owner import EMAIL
from tests.server.conftest import OWNER, Mage
from tests.server.front_door.conftest import signing_in

pytestmark = pytest.mark.mage


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
