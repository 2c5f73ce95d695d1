"""
A session is given for a password, or by a sign-in provider that was turned on on purpose, and never to a new user.

Fault: with a `provider` that Mage does not know, it believes the e-mail that the request names, and gives a session of
thirty days without a password; an e-mail that nobody has makes a user. CVE-2026-111823, in every release up to 0.9.80.

Patch: a provider counts only if MAGE_SIGN_IN_PROVIDERS names it, and only for an account that is there. Wrong passwords
for one account are answered later and later.
"""

import inspect
import os
import time
from types import ModuleType
from typing import Any

UPSTREAM = "https://nvd.nist.gov/vuln/detail/CVE-2026-111823"
MODULE = "mage_ai.api.resources.SessionResource"
FREE_ATTEMPTS = 5
MOST_ACCOUNTS = 1_000
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 300.0


def is_needed(session: ModuleType) -> bool:
    """Whether Mage goes on where it does not know the provider."""
    source = inspect.getsource(session.SessionResource)
    return "if provider_class is not None:" in source and "Unknown provider" not in source


def apply(session: Any) -> None:
    """Look at a sign-in before Mage does."""
    create = session.SessionResource.create.__func__
    attempts = Attempts()
    session.User = _KnownUsers(session.User, session.ApiError)

    async def create_if_allowed(cls: Any, /, payload: Any, user: Any, **given: Any) -> Any:
        provider = payload.get("provider") or ("?" if payload.get("token") else "")
        if provider and provider not in configured_providers():
            raise session.ApiError(refusal(401, "Sign in with e-mail and password"))
        account = str(payload.get("email") or payload.get("username") or "").strip().lower()
        if wait := attempts.pause(account):
            print(f"Sign-in of {account!r} refused: too many wrong passwords, for {wait:.0f} s more", flush=True)
            raise session.ApiError(refusal(429, f"Too many wrong passwords: try again in {wait:.0f} seconds"))
        try:
            made = await create(cls, payload, user, **given)
        except session.ApiError:
            if payload.get("password"):
                attempts.failed(account)
            raise
        attempts.forget(account)
        return made

    session.SessionResource.create = classmethod(create_if_allowed)


def configured_providers() -> frozenset[str]:
    """The providers that MAGE_SIGN_IN_PROVIDERS names, with commas; none when it is not set."""
    return frozenset(name.strip() for name in os.environ.get("MAGE_SIGN_IN_PROVIDERS", "").split(",") if name.strip())


def refusal(code: int, message: str) -> dict[str, object]:
    """What Mage makes an answer of."""
    return {"code": code, "message": message, "type": "sign_in_refused"}


class Attempts:
    """Wrong passwords by account, and how long the next attempt has to wait. Kept in memory: a restart forgets them."""

    def __init__(self) -> None:
        self._failed: dict[str, tuple[int, float]] = {}

    def pause(self, account: str) -> float:
        """Seconds until the account may try again; 0 for now."""
        count, last = self._failed.get(account, (0, 0.0))
        if count < FREE_ATTEMPTS:
            return 0
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(count - FREE_ATTEMPTS, 20), LONGEST_PAUSE_SECONDS)
        return max(last + pause - time.monotonic(), 0)

    def failed(self, account: str) -> None:
        """Count a wrong password."""
        if len(self._failed) >= MOST_ACCOUNTS and account not in self._failed:
            # Somebody tries names: the one that was tried least is forgotten, and not the one under attack.
            self._failed.pop(min(self._failed, key=lambda name: self._failed[name][0]))
        self._failed[account] = (self._failed.get(account, (0, 0.0))[0] + 1, time.monotonic())

    def forget(self, account: str) -> None:
        """The right password came."""
        self._failed.pop(account, None)


class _KnownUsers:
    """Mage's users, to whom signing in adds none."""

    def __init__(self, users: Any, error: Any) -> None:
        self._users, self._error = users, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._users, name)

    def create(self, **_: object) -> Any:
        raise self._error(refusal(401, "There is no account for that: an owner adds it in Settings, Users"))
