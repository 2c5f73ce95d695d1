"""Mage's own HTTP API, as its web UI uses it: sessions, pipelines, triggers, backfills, runs."""

import base64
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import requests
from mage_ai.settings.server import OAUTH2_APPLICATION_CLIENT_ID as API_KEY

from ops.errors import CommandFailed
from ops.http import session_to

TIMEOUT_SECONDS = (10, 300)
"""To connect, and to answer: Mage takes a minute to make the runs of a backfill of a thousand days."""
ALL = 10_000
"""More rows than anyone has: Mage answers in pages."""

Json = dict[str, Any]


class MageApiError(CommandFailed):
    """Mage refused a request, or does not answer; the message says which and why."""


@dataclass(frozen=True)
class MageApi:
    """A signed-in user of one Mage server."""

    url: str
    """Base address without a slash at the end, such as http://localhost:6789."""
    email: str
    password: str = field(repr=False)

    def list(self, path: str, **query: object) -> list[Json]:
        """
        Every entry of a collection, such as `pipelines` or `pipelines/all_targets/pipeline_schedules`.

        May be as Mage's web process has seen it before, where its scheduler, which is another process, has changed it
        since. After a `get` of any backfill, trigger or run it is as the database has it: that ends a transaction.
        """
        found: list[Json] = self._call("GET", path, params={"_limit": ALL, **query})[path.rsplit("/", 1)[-1]]
        return found

    def get(self, kind: str, key: object) -> Json:
        """One entry, such as `pipelines`, `all_targets` or `backfills`, 3."""
        return self._one("GET", kind, f"{kind}/{key}")

    def create(self, path: str, **values: object) -> Json:
        """Make an entry of a collection; the entry as Mage keeps it."""
        kind = path.rsplit("/", 1)[-1]
        return self._one("POST", kind, path, values)

    def update(self, kind: str, key: object, **values: object) -> Json:
        """Change an entry; the entry as Mage keeps it."""
        return self._one("PUT", kind, f"{kind}/{key}", values)

    def delete(self, kind: str, key: object) -> None:
        """Remove an entry for good."""
        self._one("DELETE", kind, f"{kind}/{key}")

    def _one(self, method: str, kind: str, path: str, values: Json | None = None) -> Json:
        name = kind.removesuffix("s")
        entry: Json = self._call(method, path, json={name: values} if values is not None else None)[name]
        return entry

    @cached_property
    def _session(self) -> requests.Session:
        """A session with the signed-in user's token, which Mage wraps into a JSON web token."""
        session = session_to(self.url)
        session.headers["X-API-KEY"] = API_KEY
        who = {"session": {"email": self.email, "password": self.password}, "api_key": API_KEY}
        answer = _checked(session, "POST", f"{self.url}/api/sessions", json=who)
        payload = answer["session"]["token"].split(".")[1]
        token = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["token"]
        session.headers["OAUTH-TOKEN"] = token
        return session

    def _call(self, method: str, path: str, **given: Any) -> Json:
        return _checked(self._session, method, f"{self.url}/api/{path}", **given)


def _checked(session: requests.Session, method: str, url: str, **given: Any) -> Json:
    """The answer's JSON. Mage answers 200 also where it refuses: the error is in the body."""
    try:
        answer = session.request(method, url, timeout=TIMEOUT_SECONDS, **given)
        body: Json = answer.json()
    except requests.ConnectionError:
        raise MageApiError(f"no Mage answers at {url}: start it with taxi ui") from None
    except (requests.RequestException, ValueError) as error:
        raise MageApiError(f"{method} {url}: {error}") from None
    if refused := body.get("error"):
        # An error of Mage's own comes as a whole traceback, whose last line says what it was.
        message = str(refused.get("message") or refused).strip().splitlines()[-1]
        raise MageApiError(f"{method} {url}: {message}")
    return body
