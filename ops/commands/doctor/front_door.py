"""The doctor's check of the Mage that runs: whether a stranger is let in, as bare Mage lets everybody in."""

from contextlib import suppress
from urllib.parse import quote

import requests
from mage_ai.settings.server import OAUTH2_APPLICATION_CLIENT_ID as API_KEY

from ops.commands.doctor.finding import Check, NotNeeded, Settled, Wrong
from ops.http import session_to
from ops.mage.api import MageApi, MageApiError
from ops.mage.connect import address, connect_to_mage
from ops.mage.owner import EMAIL
from ops.mage.server import scheduler_runs

OUTSIDE = quote("/etc/passwd", safe="")
"""A file that every machine has, that is in no project, and that is no secret."""
BARE = "stop it, and start Mage by taxi ui or by this project's image, whose patches close that (SECURITY.md)"


def front_door(env: Settled) -> str:
    """Try what bare Mage grants: a session without a password, and a file outside the project."""
    url = address(env)
    if not scheduler_runs(url):
        raise NotNeeded(f"no Mage runs at {url}: nothing to try")
    email = env.get("MAGE_EMAIL") or env.get("DEFAULT_OWNER_EMAIL", EMAIL)
    if _session_without_password(url, email):
        raise Wrong(f"{url} gives {email}'s session to anybody, without a password: {BARE}")
    with connect_to_mage(env) as reached:
        if _reads_outside(reached.api):
            raise Wrong(f"{url} reads any file of its machine for whoever has an account: {BARE}")
    return f"{url} gives no session without a password, and no file outside the project"


def _session_without_password(url: str, email: str) -> bool:
    asked = {"session": {"email": email, "provider": "nobody", "token": "x"}, "api_key": API_KEY}
    try:
        with session_to(url) as stranger:
            answer = stranger.post(f"{url}/api/sessions", json=asked, timeout=10, allow_redirects=False)
        return bool(answer.json()["session"]["token"])
    except (ValueError, LookupError, TypeError):  # a refusal has no session; what stands before Mage answers in no JSON
        return False
    except requests.RequestException as error:
        raise Wrong(f"{url} broke off: {error}") from None


def _reads_outside(api: MageApi) -> bool:
    with suppress(MageApiError):
        return bool(api.get("browser_items", OUTSIDE))
    return False


CHECKS: dict[str, Check] = {"front door": front_door}
