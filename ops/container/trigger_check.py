"""Triggers in code that Mage would leave out without a word, or that would keep it from starting any other."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from mage_ai.shared.croniter import CroniterError, croniter

NEEDED = {
    "name": "monthly",
    "schedule_type": "time",
    "start_time": "null",
    "schedule_interval": "0 6 15 * *",
}
"""Keys without which Mage reads no trigger, and what might stand there."""
KNOWN = {*NEEDED, "description", "envs", "last_enabled_at", "pipeline_uuid", "repo_path", "settings", "sla"}
KNOWN |= {"status", "token", "variables"}
ONE_OF = {
    "envs": ("dev", "prod", "staging", "test", "test_mage"),
    "schedule_type": ("api", "event", "time"),
    "status": ("active", "inactive"),
}
ON_A_CLOCK = ("@once", "@always_on")
"""Intervals that Mage knows and cron does not."""
NUMBERS = ("pipeline_run_limit", "timeout")
A_TIME = "2026-01-15 06:00:00"


def trigger_faults(content: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the triggers of a triggers.yaml, a sentence each, with the line to write."""
    names = set()
    triggers = content.get("triggers") or []
    if not isinstance(triggers, list):
        yield f"triggers is no list: {triggers!r}"
        return
    for trigger in triggers:
        if not isinstance(trigger, dict):
            yield f"triggers holds something that is no trigger: {trigger!r}"
            continue
        named = f"trigger {trigger.get('name', '?')}"
        yield from (f"{named} {fault}" for fault in (*_left_out(trigger), *_misbehaving(trigger)))
        if named in names:
            yield f"{named} is there twice: give each its own name"
        names.add(named)


def _left_out(trigger: dict[str, Any]) -> Iterator[str]:
    """Why Mage reads no such trigger; it says so in its log alone, and one of its database goes on as it was."""
    for key, example in NEEDED.items():
        if key not in trigger:
            yield f"has no {key}, and Mage would leave it out: write {key}: {example}"
    for key in sorted(map(str, trigger.keys() - KNOWN)):
        yield f"has a key {key}, for which Mage would leave it out: take that line out"
    for key, values in ONE_OF.items():
        given = trigger.get(key, values[0])
        if key == "envs" and isinstance(trigger.get(key), str):
            yield f"has envs: {given}, for which Mage would leave it out: write envs: [{given}]"
            continue
        for value in given if isinstance(given, list) else [given]:
            if value not in values:
                listed = ", ".join(values)
                yield f"has {key}: {value}, for which Mage would leave it out: write one of {listed}"


def _misbehaving(trigger: dict[str, Any]) -> Iterator[str]:
    """What Mage reads, and what then never fires, or is an error at which its scheduler stops each time."""
    interval = trigger.get("schedule_interval", ON_A_CLOCK[0])
    if trigger.get("schedule_type") == "time" and interval not in ON_A_CLOCK and not _comes(str(interval)):
        yield f"has no time that comes: write it as schedule_interval: {NEEDED['schedule_interval']}"
    for key in ("start_time", "last_enabled_at"):
        value = trigger.get(key)
        if value is not None and not isinstance(value, datetime):
            yield f"has {key}: {value}: write it as {A_TIME}, or null"
    settings = trigger.get("settings") or {}
    for key, value in (("settings", settings), ("variables", trigger.get("variables") or {})):
        if not isinstance(value, dict):
            yield f"has {key} that are no keys with values: {value!r}"
            return
    numbers = {"sla": trigger.get("sla"), **{key: settings.get(key) for key in NUMBERS}}
    for key, value in numbers.items():
        if value is not None and not str(value).isdecimal():
            yield f"has {key}: {value}: write a whole number, or null"
    if settings.get("landing_time_enabled") and trigger.get("start_time", A_TIME) is None:
        yield f"has a landing time and does not say which: write it as start_time: {A_TIME}"


def _comes(interval: str) -> bool:
    """Whether a cron has a time at all; the 30th of February is well written, and has none."""
    try:
        croniter(interval, datetime(2026, 1, 1)).get_prev()
    except CroniterError:
        return False
    return True
