"""
What every request to Mage's server passes before a handler of Mage sees it: a place for checks of the patches.

A check is given the request and what would handle it, and answers None, or why the request is refused. Refusals are
short: a status and one sentence, nothing of the server's insides. They are sent before the body of a request is read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.web import Application, RequestHandler, stream_request_body


@dataclass(frozen=True)
class Refusal:
    """Why a request is refused."""

    status: int
    """Of HTTP."""
    message: str


FRONT_DOOR = "/front-door"
"""A path that only a guarded server has: by it, terraform/ knows an image that may be open to the internet."""
Check = Callable[[HTTPServerRequest, type[RequestHandler]], Refusal | None]


@stream_request_body
class Refused(RequestHandler):
    """Answers every request with its refusal, in the form in which Mage's web UI expects errors."""

    def initialize(self, refusal: Refusal) -> None:
        """Take what is to be said."""
        self.refusal = refusal

    def data_received(self, chunk: bytes) -> None:
        """Nothing: the answer does not depend on the body."""

    async def prepare(self) -> None:
        """Answer."""
        self.set_status(self.refusal.status)
        self.set_header("Connection", "close")  # the rest of the body is not read
        await self.finish({"error": {"code": self.refusal.status, "message": self.refusal.message}})


class FrontDoor(RequestHandler):
    """Says to everybody that requests are checked, and nothing else."""

    def get(self) -> None:
        """Answer."""
        self.finish({"guarded": True})


def guard(application: Application, check: Check) -> None:
    """From now on, every request to the application passes the check first; checks that are added later come first."""
    delegate = application.get_handler_delegate

    def checked(request: HTTPServerRequest, target: type[RequestHandler], *rest: Any, **more: Any) -> Any:
        refusal = None if target in (Refused, FrontDoor) else check(request, target)
        if refusal is None:
            return delegate(request, target, *rest, **more)
        return delegate(request, Refused, {"refusal": refusal})

    application.get_handler_delegate = checked  # type: ignore[method-assign, assignment]


def guard_mage(server: Any, check: Check) -> None:
    """The same for the application that Mage's module `mage_ai.server.server` makes."""
    make_app = server.make_app

    def make_guarded_app(*args: Any, **given: Any) -> Application:
        application: Application = make_app(*args, **given)
        guard(application, check)
        if not any(rule.target is FrontDoor for rule in application.wildcard_router.rules):
            application.wildcard_router.add_rules([(FRONT_DOOR, FrontDoor)])
        return application

    server.make_app = make_guarded_app


def is_websocket(request: HTTPServerRequest) -> bool:
    """Whether the request asks for a websocket."""
    return str(request.headers.get("Upgrade", "")).lower() == "websocket"
