"""
Who signs in through Google's front door, on Cloud Run, is not taken for somebody with a false token of Mage's.

Fault: who comes to a Cloud Run service that asks IAM brings an identity token of Google's in the header Authorization,
and `gcloud run services proxy` puts it into every request. Cloud Run checks it and hands it on. Mage takes it for a
token of its own, finds it unknown, and refuses even the sign-in: "Invalid OAuth token".

Patch: Google's token is taken away before Mage looks. Mage's own tokens, and those of API triggers, are no JSON web
tokens of Google's and stay.
"""

import base64
import binascii
import inspect
import json
from collections.abc import Mapping
from types import ModuleType
from typing import Any

UPSTREAM = "none filed"
MODULE = "mage_ai.api.middleware"
WHEN_SET = "K_SERVICE"
ISSUERS = ("https://accounts.google.com", "accounts.google.com", "https://cloud.google.com/iap")
HEADER = "Authorization"


def is_googles(headers: Mapping[str, str]) -> bool:
    """Whether Authorization holds an identity token of Google's. Its signature is gone by now: Cloud Run checked it."""
    kind, _, token = headers.get(HEADER, "").strip().partition(" ")
    parts = token.strip().split(".")
    if kind.lower() != "bearer" or len(parts) != 3:
        return False
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return False
    return isinstance(claims, dict) and claims.get("iss") in ISSUERS


def is_needed(middleware: ModuleType) -> bool:
    """Whether every token in Authorization is taken for one of Mage's own."""
    source = inspect.getsource(middleware.OAuthMiddleware.prepare)
    return f"headers.get('{HEADER}')" in source and "iss" not in source.replace("permission", "")


def apply(middleware: ModuleType) -> None:
    """From now on, no handler of Mage's API sees an identity token of Google's."""
    prepare = middleware.OAuthMiddleware.prepare

    def prepared(handler: Any) -> Any:
        if is_googles(handler.request.headers):
            del handler.request.headers[HEADER]
        return prepare(handler)

    middleware.OAuthMiddleware.prepare = prepared
