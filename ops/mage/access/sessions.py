"""Who sends a request to Mage's server: the session that its token belongs to, and the role of its account."""

import os
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Role(StrEnum):
    """What an account may do, the most first."""

    OWNER = "owner"
    EDITOR = "editor"
    VIEWER = "viewer"
    NONE = "none"


def has_session(request: Any) -> bool:
    """Whether the request has the token of a session that is valid now: in a header, its cookie or its address."""
    from mage_ai.settings import REQUIRE_USER_AUTHENTICATION

    return not REQUIRE_USER_AUTHENTICATION or user_of(request) is not None


def user_of(request: Any) -> Any:
    """Mage's user whose valid session the request has, or None. Asked of the database once for a request."""
    if not hasattr(request, "signed_in_user"):
        request.signed_in_user = _find_user(token_of(request))
    return request.signed_in_user


def role_of(request: Any) -> Role:
    """
    The role of who sends the request; of several, the one that may most. Mage's Admin is an Editor here.

    Mage's own functions ask the database a dozen times for this, and take nobody for an administrator.
    """
    from mage_ai.data_preparation.repo_manager import get_project_uuid
    from mage_ai.orchestration.constants import Entity
    from mage_ai.orchestration.db.models.oauth import Permission
    from mage_ai.settings import REQUIRE_USER_AUTHENTICATION

    if not REQUIRE_USER_AUTHENTICATION:
        return Role.OWNER
    user = user_of(request)
    if user is None:
        return Role.NONE
    has, old = user.get_access(Entity.PROJECT, get_project_uuid()), user.roles or 0
    if user._owner or has & Permission.Access.OWNER:
        return Role.OWNER
    if has & (Permission.Access.ADMIN | Permission.Access.EDITOR) or old & 3:
        return Role.EDITOR
    return Role.VIEWER if has & Permission.Access.VIEWER or old & 4 else Role.NONE


def token_of(request: Any) -> str:
    """The token that a request brings, empty without one."""
    from mage_ai.authentication.oauth2 import decode_token

    if token := request.headers.get("OAUTH-TOKEN", ""):
        return str(token)
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer" and token:
        return str(token.strip())
    if "oauth_token" in request.cookies:
        try:
            return str(decode_token(request.cookies["oauth_token"].value).get("token", ""))
        except Exception:  # noqa: BLE001  whatever is wrong with it, it is no token
            return ""
    if not request.path.endswith("/downloads"):
        return ""  # where Mage itself does not look for a token in the address, it would take the sender for nobody
    return str(parse_qs(urlsplit(request.uri).query).get("token", [""])[-1])


def configured_providers() -> frozenset[str]:
    """The providers that MAGE_SIGN_IN_PROVIDERS names, with commas; none when it is not set."""
    return frozenset(name.strip() for name in os.environ.get("MAGE_SIGN_IN_PROVIDERS", "").split(",") if name.strip())


def _find_user(token: str) -> Any:
    from mage_ai.api.utils import authenticate_client_and_token
    from mage_ai.orchestration.db.models.oauth import Oauth2Application
    from mage_ai.settings import OAUTH2_APPLICATION_CLIENT_ID

    client = Oauth2Application.query_client(OAUTH2_APPLICATION_CLIENT_ID) if token else None
    if client is None:
        return None
    session, valid = authenticate_client_and_token(client.id, token)
    return session.user if session and valid else None
