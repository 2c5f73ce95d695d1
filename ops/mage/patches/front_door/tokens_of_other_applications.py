"""
A provider's token signs in only if it was made for this server.

Fault: Mage asks the provider whose token it is, and not for whom it was made. So any other application that somebody
has signed in to with the same provider could sign in here as that person.

Patch: the token that Mage fetches for the code of a sign-in, with its own client id, is remembered; sign_in_by_provider
takes no other one.
"""

import inspect
from types import ModuleType
from typing import Any

from ops.mage.access.fetched_tokens import FETCHED

UPSTREAM = "none filed"
MODULE = "mage_ai.api.resources.OauthResource"


def is_needed(_: ModuleType) -> bool:
    """Whether a session asks for whom a token was made nowhere."""
    from mage_ai.api.resources import SessionResource

    return "audience" not in inspect.getsource(SessionResource)


def apply(oauth: Any) -> None:
    """Remember each token on its way to the sign-in page."""
    hand_on = oauth.add_access_token_to_query

    def remember(data: Any, query: Any) -> Any:
        if token := data.get("access_token"):
            FETCHED.add(str(token))
        return hand_on(data, query)

    oauth.add_access_token_to_query = remember
