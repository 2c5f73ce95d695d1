"""
Who has not signed in gets the sign-in page and a word of health, and nothing else; who has, what the role allows.

Fault: Mage checks the session in each handler, and some do not: a block's row counts, event matchers, events that are
taken, addresses and process numbers in the status. Websockets are open to everybody: the outputs of blocks are sent to
all who listen, and the terminal starts a shell for anybody, even where it is off. For a Viewer many resources say yes:
the project's files with their content, block outputs as a download, websockets with what others run, commands.

Patch: every route needs a valid session, but for those of OPEN, and a trigger's address, which has a key of its own. A
new route of a later Mage needs one too. Where the terminal is off, no shell is started. What a Viewer and an Editor may
ask for is in ops/mage/access/roles.py, for all routes: what a new release adds is closed to a Viewer.
"""

import inspect
import json
import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ops.mage.access import roles
from ops.mage.access.sessions import configured_providers, has_session
from ops.mage.front_door import Refusal, guard_mage

UPSTREAM = "https://github.com/mage-ai/mage-ai/issues/6134"
MODULE = "mage_ai.server.server"
OPEN = frozenset(
    {
        ("GET", "MainPageHandler"),
        ("HEAD", "MainPageHandler"),
        ("GET", "StaticFileHandler"),
        ("HEAD", "StaticFileHandler"),
        ("POST", "ApiTriggerPipelineHandler"),
    }
)
"""Pages without any data, their assets, and triggers, which ask for their own key."""
SIGN_IN = ("POST", "/api/sessions")
HEALTH = ("/api/status", "/api/statuses")
LARGEST_SIGN_IN = 1 << 16
"""Bytes of a request of somebody unknown."""
TOLD = ("scheduler_status", "require_user_authentication")
"""What of the status is told to everybody: containers ask the first, the sign-in page the second."""


def is_needed(server: ModuleType) -> bool:
    """Whether a websocket is taken in before anything is known of who opened it."""
    return "token" not in inspect.getsource(server.WebSocketServer.open)


def apply(server: Any) -> None:
    """Ask every request for its session."""

    def check(request: Any, handler: type, found: Mapping[str, str]) -> Refusal | None:
        if has_session(request):
            return None if (request.method, handler.__name__) in OPEN else roles.refusal(request, handler, found)
        if not _fits(request):
            return Refusal(413, "Too much for a request without a session")
        if (request.method, handler.__name__) in OPEN or (request.method, request.path) == SIGN_IN:
            return None
        if request.method in ("GET", "HEAD") and request.path in HEALTH:
            return None
        if request.method == "GET" and request.path in _single_sign_on():
            return None
        return Refusal(401, "Sign in first")

    if _is_on("DISABLE_TERMINAL"):
        # The editor opens it all the same: it is heard, and no shell is started.
        server.TerminalWebsocketServer.open = lambda *_, **__: None
    guard_mage(server, check)
    _tell_less(server)


def _single_sign_on() -> frozenset[str]:
    """What the sign-in page asks for where a provider is turned on: where to go, and what came back from there."""
    providers = configured_providers()
    return frozenset({"/api/oauths", *(f"/api/oauths/{name}" for name in providers)} if providers else ())


def _fits(request: Any) -> bool:
    length = request.headers.get("Content-Length", "0")
    chunked = "Transfer-Encoding" in request.headers
    return not chunked and length.isdecimal() and int(length) <= LARGEST_SIGN_IN


def _is_on(switch: str) -> bool:
    return os.environ.get(switch, "").lower() in {"1", "true", "yes"}


def _tell_less(server: Any) -> None:
    """Of the status, tell those without a session no more than TOLD."""
    write = server.ApiListHandler.write

    def write_less(self: Any, chunk: Any) -> None:
        if self.resource == "statuses" and not has_session(self.request):
            statuses = json.loads(chunk).get("statuses", []) if isinstance(chunk, str) else []
            chunk = json.dumps({"statuses": [{name: status.get(name) for name in TOLD} for status in statuses]})
        write(self, chunk)

    server.ApiListHandler.write = write_less
