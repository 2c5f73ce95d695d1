"""
Where editing is off, it is off for owners too.

Fault: an owner's request to change a pipeline is not asked which of its fields it changes, so that in production a new
name, which is a new folder, is taken.

Patch: there, a pipeline's status and runs may be changed, as by an Editor, and nothing else of it.
"""

import inspect
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from ops.mage.access.roles import EDITING_IS_OFF, editing_is_off

UPSTREAM = "none filed"
MODULE = "mage_ai.api.policies.PipelinePolicy"
OF_RUNS = frozenset({"pipeline_runs", "pipeline_schedule_id", "status"})
"""What Mage lets an Editor change of a pipeline where editing is off."""


def is_needed(policies: ModuleType) -> bool:
    """Whether the policy of fields lets owners pass unasked."""
    asks = inspect.getsource(policies.BasePolicy.authorize_attributes)
    return "or self.is_owner():\n            return True" in asks


def apply(policies: Any) -> None:
    """Look at the fields before Mage does."""
    from mage_ai.api.errors import ApiError

    authorize = policies.PipelinePolicy.authorize_attributes

    async def authorize_fields(self: Any, read_or_write: str, fields: Iterable[str], **given: Any) -> Any:
        if read_or_write == "write" and editing_is_off() and not OF_RUNS.issuperset(fields):
            raise ApiError({"code": 403, "message": EDITING_IS_OFF, "type": "editing_is_off"})
        return await authorize(self, read_or_write, fields, **given)

    policies.PipelinePolicy.authorize_attributes = authorize_fields
