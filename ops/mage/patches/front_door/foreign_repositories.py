"""
A trigger belongs to the project that the server serves.

Fault: a new trigger takes any `repo_path`, the folder from which its pipeline is read, from who makes it.

Patch: it is the server's.
"""

import inspect
from types import ModuleType
from typing import Any

UPSTREAM = "none filed"
MODULE = "mage_ai.api.resources.PipelineScheduleResource"


def is_needed(schedules: ModuleType) -> bool:
    """Whether a `repo_path` that is given stays."""
    return "if 'repo_path' not in payload:" in inspect.getsource(schedules)


def apply(schedules: Any) -> None:
    """Leave out what is given."""
    create = schedules.PipelineScheduleResource.create.__func__

    def create_here(cls: Any, /, payload: Any, user: Any, **given: Any) -> Any:
        payload.pop("repo_path", None)
        return create(cls, payload, user, **given)

    schedules.PipelineScheduleResource.create = classmethod(create_here)
