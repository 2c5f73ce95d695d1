"""Pages of other origins, and names that only point here, get nothing."""

from http import HTTPStatus

import pytest
import requests

from ops.mage.owner import EMAIL
from tests.server.conftest import OWNER, Mage
from tests.server.front_door.conftest import signing_in

pytestmark = pytest.mark.mage


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null"])
def test_a_page_of_another_origin_can_change_nothing_even_with_a_session(mage: Mage, origin: str) -> None:
    headers = {**mage.api._session.headers, "Origin": origin}
    answer = requests.post(f"{mage.server.url}/api/pipelines", json={"pipeline": {}}, headers=headers, timeout=30)
    assert answer.status_code == HTTPStatus.FORBIDDEN
    answer = signing_in(mage.server.url, {"Origin": origin}, email=EMAIL, password=OWNER.password)
    assert answer.status_code == HTTPStatus.FORBIDDEN


def test_a_page_asked_for_as_localhost_with_another_port_than_mages_is_shown_by_its_address(mage: Mage) -> None:
    port = mage.server.port
    page = {"Accept": "text/html,*/*", "Host": f"localhost:{port}"}
    answer = requests.get(f"{mage.server.url}/pipelines?x=1", headers=page, timeout=30, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, f"http://127.0.0.1:{port}/pipelines?x=1")
    for headers in ({**page, "Host": "localhost:6789"}, {**page, "Accept": "*/*"}, {"Accept": "text/html"}):
        answer = requests.get(f"{mage.server.url}/pipelines", headers=headers, timeout=30, allow_redirects=False)
        assert answer.status_code == 200


def test_a_name_that_only_points_here_gets_nothing(mage: Mage) -> None:
    headers = {**mage.api._session.headers, "Host": f"rebound.example:{mage.server.port}"}
    answer = requests.get(f"{mage.server.url}/api/pipelines", headers=headers, timeout=30)
    assert answer.status_code == HTTPStatus.MISDIRECTED_REQUEST
