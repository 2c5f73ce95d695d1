"""
Mage where Google's front door is before it, on Cloud Run.

Who comes to a Cloud Run service that asks IAM brings an identity token of Google's in the header Authorization, and
`gcloud run services proxy` puts it into every request. Cloud Run checks it and hands it on. Mage would take it for a
token of its own, find it unknown, and refuse even the sign-in: "Invalid OAuth token". So it is taken away here, before
Mage looks. Mage's own tokens, and those of API triggers, are no JSON web tokens and stay.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

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


def take_googles_tokens_away() -> None:
    """From now on, no handler of Mage's API sees an identity token of Google's."""
    from mage_ai.api.middleware import OAuthMiddleware

    prepare = OAuthMiddleware.prepare

    def prepared(handler: Any) -> Any:
        if is_googles(handler.request.headers):
            del handler.request.headers[HEADER]
        return prepare(handler)

    OAuthMiddleware.prepare = prepared
