"""
An answer says by its status that it was refused, and in its body not how the server is built.

Fault: what a handler raises is answered by status 200 with a traceback: paths, source lines, versions. A wrong key of a
trigger is answered so too, and so is what a resource refuses: a program that looks at the status, a proxy and its log
take it for success.

Patch: the status of what a handler raises is the error's own, and the answer one sentence. Mage's log keeps the
traceback. Who has signed in gets the form that the web UI expects, as before, without the traceback. What a resource
refuses has its own status too: no session, no right, too much. A page gets 200 as before, and the status in the body:
Mage's web UI says what was wrong, such as the password, only where it looks like success.
"""

import inspect
import traceback
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ops.mage.access.sessions import has_session

UPSTREAM = "none filed"
MODULE = "mage_ai.server.server"
RENDER = "__render_error"
REFUSALS = frozenset({400, 401, 403, 413, 429})
STATUSES = {"UnauthenticatedRequestException": 401, "ValueError": 400, "JSONDecodeError": 400}
"""Of errors that say no status themselves."""


def is_needed(server: ModuleType) -> bool:
    """Whether an error's answer holds the stack."""
    return "traceback.format_stack()" in inspect.getsource(server.BaseHandler.write_error)


def apply(server: Any) -> None:
    """Answer in another way."""
    from mage_ai.api import views

    def write_error(self: Any, status_code: int, exc_info: Any = None, **_: object) -> None:
        error = exc_info[1] if exc_info else None
        code = getattr(error, "code", None)
        if not isinstance(code, int):  # a database's errors have codes of their own
            code = STATUSES.get(type(error).__name__, status_code)
        known = has_session(self.request)
        if status_code >= 500 and error is not None:
            print("".join(traceback.format_exception(error)), flush=True)
        message = str(getattr(error, "message", None) or error) if known or code < 500 else "The server failed"
        self.set_status(200 if known and status_code == 500 else code)
        self.finish({"error": {"code": code, "message": message, "exception": message, "errors": []}})

    server.BaseHandler.write_error = write_error
    render = getattr(views, RENDER)

    def render_with_status(handler: Any, error: Any, **given: Any) -> Any:
        code = error.get("code") if isinstance(error, Mapping) else None
        if code in REFUSALS and not is_of_page(handler.request):
            handler.set_status(code)
        return render(handler, error, **given)

    setattr(views, RENDER, render_with_status)


def is_of_page(request: Any) -> bool:
    """Whether a page in a browser sends the request; a program that claims it deceives nobody but itself."""
    return "Origin" in request.headers or "Referer" in request.headers
