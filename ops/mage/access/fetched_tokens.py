"""The tokens of a sign-in provider that this server has fetched itself."""

import time

MOST_TOKENS, GOOD_SECONDS = 1_000, 600.0


class FetchedTokens:
    """Each is good once, for ten minutes. Kept in memory: after a restart, one signs in again."""

    def __init__(self) -> None:
        self._fetched: dict[str, float] = {}

    def add(self, token: str) -> None:
        """Remember a token; of too many, the oldest goes."""
        self._fetched[token] = time.monotonic()
        if len(self._fetched) > MOST_TOKENS:
            del self._fetched[next(iter(self._fetched))]

    def take(self, token: str) -> bool:
        """Whether the token was fetched a short while ago, and not taken since."""
        fetched = self._fetched.pop(token, None)
        return fetched is not None and time.monotonic() - fetched < GOOD_SECONDS


FETCHED = FetchedTokens()
