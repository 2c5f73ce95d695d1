"""
Who is no owner changes of the own account what is personal, and not whose it is.

Fault: Mage lets everybody give the own account another e-mail or user name: one that somebody else is about to get, or
that a sign-in provider knows as another person.

Patch: only an owner changes those.
"""

import inspect
from types import ModuleType
from typing import Any

UPSTREAM = "none filed"
MODULE = "mage_ai.api.resources.UserResource"
NAMES = ("email", "username")


def is_needed(users: ModuleType) -> bool:
    """Whether an update looks at no name."""
    return "email" not in inspect.getsource(users.UserResource.update)


def apply(users: Any) -> None:
    """Compare the names with those of the account before Mage does anything."""
    from mage_ai.api.errors import ApiError

    update = users.UserResource.update

    def update_personal(self: Any, payload: Any, **given: Any) -> Any:
        renamed = [name for name in NAMES if name in payload and payload[name] != getattr(self.model, name)]
        if renamed and not self.current_user.owner:
            message = f"Only an owner changes the {renamed[0]} of an account"
            raise ApiError({"code": 403, "message": message, "type": "own_account"})
        return update(self, payload, **given)

    users.UserResource.update = update_personal
