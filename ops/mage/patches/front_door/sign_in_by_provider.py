"""
A session is given for a password, or by a sign-in provider that was turned on on purpose, and never to a new user.

Fault: with a `provider` that Mage does not know, it believes the e-mail that the request names, and gives a session of
thirty days without a password; an e-mail that nobody has makes a user. CVE-2026-111823, in every release up to 0.9.80.

Patch: a provider counts only if MAGE_SIGN_IN_PROVIDERS names it, only for an account that is there, and only by a token
that was fetched for a sign-in here (see tokens_of_other_applications). Wrong passwords for one account are answered
later and later; those from an address where its owner has signed in are counted apart, so that a stranger elsewhere
does not keep the owner waiting.
"""

import inspect
import os
import time
from types import ModuleType
from typing import Any

from ops.mage.access.fetched_tokens import FETCHED
from ops.mage.access.sessions import configured_providers
from ops.mage.front_door import HANDLED

UPSTREAM = "https://nvd.nist.gov/vuln/detail/CVE-2026-111823"
MODULE = "mage_ai.api.resources.SessionResource"
FIELDS = ("email", "username", "password", "provider", "token")
FREE_ATTEMPTS = 5
MOST_NAMES, MOST_ADDRESSES = 1_000, 20
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 300.0


def is_needed(session: ModuleType) -> bool:
    """Whether Mage goes on where it does not know the provider."""
    source = inspect.getsource(session.SessionResource)
    return "if provider_class is not None:" in source and "Unknown provider" not in source


def apply(session: Any) -> None:
    """Look at a sign-in before Mage does."""
    create, users = session.SessionResource.create.__func__, session.User
    attempts = Attempts()
    session.User = _KnownUsers(users, session.ApiError)
    not_found = session.ApiError.RESOURCE_NOT_FOUND
    usual = dict(not_found)

    async def create_if_allowed(cls: Any, /, payload: Any, user: Any, **given: Any) -> Any:
        if not all(isinstance(payload.get(name) or "", str) for name in FIELDS):
            raise session.ApiError(refusal(400, "Sign in with e-mail and password, both of them text"))
        provider = payload.get("provider") or ("?" if payload.get("token") else "")
        if provider and provider not in configured_providers():
            raise session.ApiError(refusal(401, "Sign in with e-mail and password"))
        if provider and not FETCHED.take(str(payload.get("token"))):
            raise session.ApiError(
                refusal(401, f"{provider} did not give that token for a sign-in here: sign in again")
            )
        name, who, address = _name_of(payload), _account_of(payload, users), address_of(HANDLED.get())
        if wait := attempts.pause(who, address):
            print(f"Sign-in of {name!r} refused: too many wrong passwords, for {wait:.0f} s more", flush=True)
            raise session.ApiError(refusal(429, f"Too many wrong passwords: try again in {wait:.0f} seconds"))
        try:
            made = await create(cls, payload, user, **given)
        except session.ApiError as error:
            if payload.get("password"):
                attempts.failed(who, address)
            raise session.ApiError(refusal(401, str(error.message))) from None
        except Exception as error:
            if not provider:
                raise
            print(f"Sign-in by {provider} failed: {error!r}", flush=True)  # its answer is nobody else's business
            raise session.ApiError(refusal(401, f"{provider} does not know this sign-in")) from None
        finally:
            # Mage writes what it says of this sign-in into what it says of everything that is not found.
            not_found.clear()
            not_found.update(usual)
        attempts.forget(who, address)
        return made

    session.SessionResource.create = classmethod(create_if_allowed)


def address_of(request: Any) -> str:
    """Where a request comes from. On Cloud Run, what Google has written last; what stands before that, anybody can."""
    if request is None:
        return ""
    if "K_SERVICE" in os.environ:
        return str(request.headers.get("X-Forwarded-For", "")).rpartition(",")[2].strip()
    return str(request.remote_ip)


def _name_of(payload: Any) -> str:
    return str(payload.get("email") or payload.get("username") or "").strip().lower()


def _account_of(payload: Any, users: Any) -> str:
    """The account that is meant, by e-mail or by user name; the name itself where there is none."""
    email, name = payload.get("email"), payload.get("username")
    found = users.query.filter(users.email == email if email else users.username == name).first()
    return f"#{found.id}" if found else _name_of(payload)


def refusal(code: int, message: str) -> dict[str, object]:
    """What Mage makes an answer of."""
    return {"code": code, "message": message, "type": "sign_in_refused"}


class Attempts:
    """
    Wrong passwords by account, and how long the next attempt has to wait. Kept in memory: a restart forgets them.

    An address where the account has signed in has a count of its own; all others share one.
    """

    def __init__(self) -> None:
        self._failed: dict[tuple[str, str], tuple[int, float]] = {}
        self._known: dict[str, list[str]] = {}

    def pause(self, account: str, address: str) -> float:
        """Seconds until the account may try again from there; 0 for now."""
        count, last = self._failed.get(self._key(account, address), (0, 0.0))
        if count < FREE_ATTEMPTS:
            return 0
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(count - FREE_ATTEMPTS, 20), LONGEST_PAUSE_SECONDS)
        return max(last + pause - time.monotonic(), 0)

    def failed(self, account: str, address: str) -> None:
        """Count a wrong password."""
        key = self._key(account, address)
        self._failed[key] = (self._failed.get(key, (0, 0.0))[0] + 1, time.monotonic())
        # Names without an account are invented, as many as one likes: they make room for each other, for no account.
        invented = [name for name in self._failed if not name[0].startswith("#")]
        if len(invented) > MOST_NAMES:
            del self._failed[invented[0]]

    def forget(self, account: str, address: str) -> None:
        """The right password came: its address is known from now on."""
        self._failed.pop(self._key(account, address), None)
        known = [each for each in self._known.get(account, []) if each != address]
        self._known[account] = [*known, address][-MOST_ADDRESSES:]

    def _key(self, account: str, address: str) -> tuple[str, str]:
        return account, address if address in self._known.get(account, ()) else ""


class _KnownUsers:
    """Mage's users, to whom signing in adds none."""

    def __init__(self, users: Any, error: Any) -> None:
        self._users, self._error = users, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._users, name)

    def create(self, **_: object) -> Any:
        raise self._error(refusal(401, "There is no account for that: an owner adds it in Settings, Users"))
