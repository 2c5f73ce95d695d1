"""
A refusal has its HTTP status.

Fault: Mage answers 200 and says in the body that a session, a resource or a method was refused. A program that looks at
the status, a proxy and its log, and who counts refusals take it for success.

Patch: what is refused is answered with its own status: no session, no right, too much. A page gets 200 as before, and
the status in the body: Mage's web UI says what was wrong, such as the password, only where it looks like success.
"""

import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any

UPSTREAM = "none filed"
MODULE = "mage_ai.api.views"
RENDER = "__render_error"
REFUSALS = frozenset({401, 403, 413, 429})


def is_needed(views: ModuleType) -> bool:
    """Whether an error is answered by status 200 unless the request asks otherwise."""
    return "error_code = 200" in inspect.getsource(getattr(views, RENDER))


def apply(views: Any) -> None:
    """Set the status first."""
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
