"""
Pages of other origins can neither read Mage's answers nor act through a visitor's browser.

Fault: every answer of Mage's allows every origin to read it, and no request is asked where it comes from, neither a
change nor a websocket. A page that a person has open, of another port of this machine too, works in Mage as that
person. By a name that points here (DNS rebinding) so does any page.

Opened as localhost, a page of Mage's sends everything, the password too, to port 6789 of this machine, whoever listens.

Patch: the headers that allow it are gone. A request that changes something, or opens a websocket, must come from a page
of the server itself, of MAGE_PUBLIC_HOST or of MAGE_ALLOWED_ORIGINS, or from a program, which names no origin. The
server answers only to addresses, to localhost, and to the names of those origins. A page that is asked for as
localhost, with another port, is shown as 127.0.0.1.
"""

import inspect
import os
from collections.abc import Mapping
from ipaddress import ip_address
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from ops.mage.front_door import Refusal, guard_mage, is_websocket

UPSTREAM = "none filed"
MODULE = "mage_ai.server.server"
MAGES_PORT = "6789"
READING = ("GET", "HEAD", "OPTIONS")
ALLOWING = "Access-Control-Allow-"
THROUGH_GCLOUD = tuple(f"http://{name}:{port}" for name in ("localhost", "127.0.0.1") for port in (6789, 8080))
"""Where a person's browser finds the server through `gcloud run services proxy`."""


def is_needed(server: ModuleType) -> bool:
    """Whether the base of Mage's handlers allows every origin."""
    return f"{ALLOWING}Origin', '*'" in inspect.getsource(server.BaseHandler)


def apply(server: Any) -> None:
    """Take the headers away, and look at where a request comes from."""
    own, on_cloud_run = own_origins(os.environ), "K_SERVICE" in os.environ
    for handler in (server.BaseHandler, server.StaticFileHandler):
        _say_less(handler)

    def check(request: Any, *_: object) -> Refusal | None:
        if goes_astray(request):
            return Refusal(
                302, "", location=f"{request.protocol}://127.0.0.1:{request.host.split(':')[1]}{request.uri}"
            )
        # On Cloud Run, Google's front door hands on what is for this service's names, and nothing else.
        if not on_cloud_run and not is_own_host(request.host_name, own):
            return Refusal(421, "This server does not answer to that name: set MAGE_PUBLIC_HOST to its address")
        origin = request.headers.get("Origin")
        changes = request.method not in READING or is_websocket(request)
        if changes and origin and not is_own_origin(origin, request.host, own):
            return Refusal(403, "A page of another origin may not do that")
        return None

    guard_mage(server, check)


def goes_astray(request: Any) -> bool:
    """Whether a browser asks for a page by the name and port for which Mage's pages know another server."""
    page = request.method == "GET" and "text/html" in request.headers.get("Accept", "")
    name, _, port = request.host.lower().partition(":")
    return page and name == "localhost" and port.isdecimal() and port != MAGES_PORT


def own_origins(environ: Mapping[str, str]) -> frozenset[str]:
    """The origins that the settings name, such as https://mage.example.org."""
    named = (environ.get("MAGE_PUBLIC_HOST", ""), *environ.get("MAGE_ALLOWED_ORIGINS", "").split(","))
    through = THROUGH_GCLOUD if "K_SERVICE" in environ else ()
    parts = [urlsplit(text.strip()) for text in (*named, *through) if "://" in text]
    return frozenset(f"{part.scheme}://{part.netloc}".lower() for part in parts)


def is_own_origin(origin: str, host: str, own: frozenset[str]) -> bool:
    """Whether a page of the origin is the server's own: it has the request's own host and port, or is named."""
    return origin.lower() in own or origin.lower() in {f"http://{host.lower()}", f"https://{host.lower()}"}


def is_own_host(name: str, own: frozenset[str]) -> bool:
    """Whether the server answers to a name without its port. No page can make an address mean another machine."""
    bare = name.lower().strip("[]")
    if bare == "localhost" or bare in {urlsplit(origin).hostname for origin in own}:
        return True
    try:
        ip_address(bare)
    except ValueError:
        return False
    return True


def _say_less(handler: Any) -> None:
    """Let no header of a handler allow another origin."""
    set_header = handler.set_header

    def set_own(self: Any, name: str, value: Any) -> None:
        if not name.startswith(ALLOWING):
            set_header(self, name, value)

    handler.set_header = set_own
