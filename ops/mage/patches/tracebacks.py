"""
An answer to somebody without a session says that it was refused, and not how the server is built.

Fault: what a handler raises is answered by status 200 with a traceback: paths, source lines, versions. A wrong key of a
trigger is answered so too, and a program that looks at the status takes it for success.

Patch: the status of what a handler raises is the error's own, and the answer one sentence. Mage's log keeps the
traceback. Who has signed in gets the form that the web UI expects, as before, without the traceback.
"""

import inspect
import traceback
from types import ModuleType
from typing import Any

from ops.mage.sessions import has_session

UPSTREAM = "none filed"
MODULE = "mage_ai.server.api.base"
STATUSES = {"UnauthenticatedRequestException": 401, "ValueError": 400, "JSONDecodeError": 400}
"""Of errors that say no status themselves."""


def is_needed(base: ModuleType) -> bool:
    """Whether an error's answer holds the stack."""
    return "traceback.format_stack()" in inspect.getsource(base.BaseHandler.write_error)


def apply(base: Any) -> None:
    """Answer in another way."""

    def write_error(self: Any, status_code: int, exc_info: Any = None, **_: object) -> None:
        error = exc_info[1] if exc_info else None
        code = int(getattr(error, "code", None) or STATUSES.get(type(error).__name__, status_code))
        known = has_session(self.request)
        if status_code >= 500 and error is not None:
            print("".join(traceback.format_exception(error)), flush=True)
        message = str(getattr(error, "message", None) or error) if known or code < 500 else "The server failed"
        self.set_status(200 if known and status_code == 500 else code)
        self.finish({"error": {"code": code, "message": message, "exception": message, "errors": []}})

    base.BaseHandler.write_error = write_error
