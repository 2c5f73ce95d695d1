"""
A trigger that git changes does not fire at once: since when it is on is kept in Mage's database alone.

Fault: Mage takes from triggers.yaml since when a trigger is on, and writes that date into the file when it switches the
trigger on or its cron has changed. A git sync puts the file back. The database then has the old date again, the last
tick of the new cron lies after it, and the trigger fires, hours or weeks too late. A file without a date makes Mage
take this very moment at each sync, which passes over a tick that has just come.

Patch: a trigger that is on, and on as before, keeps the date of the database. One that git switches on, or whose cron
git changes, is on from now.
"""

import inspect
from types import ModuleType
from typing import Any

UPSTREAM = "none filed"
MODULE = "mage_ai.orchestration.db.models.schedules"


def is_needed(schedules: ModuleType) -> bool:
    """Whether the file's date counts."""
    source = inspect.getsource(schedules.PipelineSchedule)
    return "last_enabled_at = trigger_config.last_enabled_at" in source


def apply(schedules: ModuleType) -> None:
    """Give the dates before the triggers are compared with those of the database."""
    from mage_ai.data_preparation.models.triggers import ScheduleStatus

    schedule_of = schedules.PipelineSchedule
    update = schedule_of.create_or_update_batch

    def update_with_dates(triggers: list[Any]) -> Any:
        names = [trigger.name for trigger in triggers]
        known = {
            (row.pipeline_uuid, row.name): row
            for row in schedule_of.repo_query.filter(schedule_of.name.in_(names)).all()
        }
        for trigger in triggers:
            before = known.get((trigger.pipeline_uuid, trigger.name))
            if trigger.status == ScheduleStatus.ACTIVE:
                trigger.last_enabled_at = (
                    before.last_enabled_at
                    if before is not None
                    and before.status == ScheduleStatus.ACTIVE
                    and before.schedule_interval == trigger.schedule_interval
                    else None
                )
        return update(triggers)

    schedule_of.create_or_update_batch = staticmethod(update_with_dates)
