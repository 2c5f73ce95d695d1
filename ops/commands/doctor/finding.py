"""What a check of the doctor says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ops.errors import CommandFailed

Settled = Mapping[str, str]
"""The settings as dev.env, .env and the shell give them; what is empty is absent."""


class Wrong(Exception):
    """Something is not in order; the message says what, and what to do."""


class NotNeeded(Exception):
    """There is nothing to check; the message says why."""


Check = Callable[[Settled], str]
"""Says in a few words what is in order, or raises Wrong or NotNeeded."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor."""

    name: str
    state: str
    """ok, skip or FAIL."""
    text: str

    @classmethod
    def of(cls, name: str, check: Check, env: Settled) -> "Finding":
        """Run a check; what it raises on purpose is its finding."""
        try:
            return cls(name, "ok", check(env))
        except NotNeeded as reason:
            return cls(name, "skip", str(reason))
        except (Wrong, CommandFailed) as fault:
            return cls(name, "FAIL", str(fault))
