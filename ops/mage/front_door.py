"""
What every request to Mage's server passes before a handler of Mage sees it: a place for checks of the patches.

A check is given the request, what would handle it, and what its route found in its address, and answers None, or why
the request is refused. Refusals are short: a status and one sentence, nothing of the server's insides. They are sent
before the body of a request is read.
"""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
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
    location: str = ""
    """Where to ask in its place, for a status that says so."""


FRONT_DOOR = "/front-door"
"""A path that only a guarded server has: by it, terraform/ knows an image that may be open to the internet."""
Check = Callable[[HTTPServerRequest, type[RequestHandler], Mapping[str, str]], Refusal | None]
HANDLED: ContextVar[HTTPServerRequest | None] = ContextVar("HANDLED", default=None)
"""The request that a handler of Mage is at work on, in whatever it does for it."""


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
        if self.refusal.location:
            self.redirect(self.refusal.location, status=self.refusal.status)
            return
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
        if target in (Refused, FrontDoor):
            return delegate(request, target, *rest, **more)
        refusal = check(request, target, _found_in_address(*rest, **more))
        if refusal is None:
            return _in_context(delegate(request, target, *rest, **more), request)
        return delegate(request, Refused, {"refusal": refusal})

    application.get_handler_delegate = checked  # type: ignore[method-assign, assignment]


def _found_in_address(
    target_kwargs: Mapping[str, Any] | None = None,
    path_args: object = None,
    path_kwargs: Mapping[str, bytes | None] | None = None,
) -> Mapping[str, str]:
    """What the handler will be told: of the route itself, and of the address as Tornado has decoded it, once."""
    named = {name: value.decode("utf-8", "replace") for name, value in (path_kwargs or {}).items() if value}
    return {name: value for name, value in (target_kwargs or {}).items() if isinstance(value, str)} | named


def _in_context(delegate: Any, request: HTTPServerRequest) -> Any:
    """The same delegate, whose handler works with the request as HANDLED."""
    execute = delegate.execute

    def execute_for_request() -> Any:
        before = HANDLED.set(request)
        try:
            return execute()  # its coroutine becomes a task, which keeps the context
        finally:
            HANDLED.reset(before)

    delegate.execute = execute_for_request
    return delegate


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
