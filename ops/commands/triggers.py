"""
`taxi triggers`: the triggers in code beside those of a Mage server: what is missing there, changed, or left behind.

Mage reads every pipelines/<pipeline>/triggers.yaml into its database, and forgets nothing there: a trigger that is
taken out of the file stays and goes on running. A person's own triggers, backfills and single runs are in the same
table, and are nobody's business here: what came from a file says so in its description (KEPT_IN_CODE).
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import click
import yaml
from nyc_taxi.errors import not_one_of
from rich.console import Console
from rich.table import Table

from ops.commands.arguments import examples
from ops.mage.api import Json, MageApi, MageApiError
from ops.mage.connect import Connection, connect_to_mage
from ops.paths import PROJECT, local_dir, write_private
from ops.stack.environment import configured
from ops.wait import wait_until

KEPT_IN_CODE = "Kept in triggers.yaml."
"""The end of every description in code, by which a trigger is known when it is no longer there."""
COMPARED = (
    "description",
    "schedule_interval",
    "schedule_type",
    "settings",
    "sla",
    "start_time",
    "status",
    "variables",
)
MAGE_ENVS = {"prod": "prod", "production": "prod", "staging": "staging", "test": "test", "test_mage": "test_mage"}
"""What Mage makes of the variable ENV; anything else is dev."""
PATIENCE_SECONDS = 15
"""Mage reads the files at every tick of its scheduler, every 10 s: what differs may be on its way."""


class State(StrEnum):
    """How a trigger in code and one in Mage compare."""

    SAME = "same"
    MISSING = "missing"
    CHANGED = "changed"
    ORPHANED = "orphaned"
    REMOVED = "removed"
    ELSEWHERE = "elsewhere"
    BY_HAND = "by hand"

    @property
    def differs(self) -> bool:
        """Whether somebody must do something."""
        return self in (State.MISSING, State.CHANGED, State.ORPHANED)


@dataclass(frozen=True)
class Compared:
    """One trigger, in code, in Mage, or in both."""

    pipeline: str
    trigger: str
    code: Json | None
    mage: Json | None
    state: State
    why: str = ""


def compare(project: Path, api: MageApi, env: str) -> list[Compared]:
    """
    Every trigger of the project's files and of the server's database, by pipeline and name.

    `env` is the server's variable ENV. A trigger whose `envs` do not name it is not expected there.
    """
    code = {(trigger["pipeline_uuid"], trigger["name"]): trigger for trigger in in_code(project)}
    mage = {(trigger["pipeline_uuid"], trigger["name"]): trigger for trigger in _in_mage(api)}
    backfills = {backfill["pipeline_schedule_id"]: backfill["id"] for backfill in api.list("backfills")}
    return [
        Compared(*key, code.get(key), mage.get(key), *_judge(code.get(key), mage.get(key), env, backfills))
        for key in sorted(code.keys() | mage.keys())
    ]


def in_code(project: Path) -> Iterator[Json]:
    """The triggers of every triggers.yaml, as they are written."""
    for path in sorted(project.glob("pipelines/*/triggers.yaml")):
        for trigger in (yaml.safe_load(path.read_text()) or {}).get("triggers") or []:
            yield {"name": "", **trigger, "pipeline_uuid": path.parent.name}


def _in_mage(api: MageApi) -> list[Json]:
    for trigger in api.list("pipeline_schedules")[:1]:
        api.get("pipeline_schedules", trigger["id"])  # makes Mage read its database anew: see MageApi.list
    return api.list("pipeline_schedules")


def remove_orphans(compared: list[Compared], api: MageApi) -> list[Compared]:
    """Delete the orphans in Mage, but those with a run that has not ended; the list with what became of them."""
    return [_removed(row, api) if row.state is State.ORPHANED else row for row in compared]


def new_token(api: MageApi, pipeline: str, trigger: str) -> tuple[int, str]:
    """
    Give an API trigger a new token: its number in Mage, and the token, which Mage tells this once only.

    MageApiError when there is no such trigger.
    """
    found = [t for t in api.list("pipeline_schedules") if (t["pipeline_uuid"], t["name"]) == (pipeline, trigger)]
    if not found or found[0]["schedule_type"] != "api":
        raise MageApiError(f"Mage has no API trigger {pipeline}/{trigger}: see taxi triggers")
    number = int(found[0]["id"])
    return number, str(api.update("pipeline_schedules", number, rotate_token=True)["token"])


def _judge(code: Json | None, mage: Json | None, env: str, backfills: Mapping[int, int]) -> tuple[State, str]:
    if code and mage:
        changed = [name for name in COMPARED if _value(name, code) != _value(name, mage)]
        return (State.CHANGED, ", ".join(changed)) if changed else (State.SAME, "")
    if code:
        if code.get("envs") and MAGE_ENVS.get(env, "dev") not in code["envs"]:
            return State.ELSEWHERE, f"only where ENV is {' or '.join(code['envs'])}"
        return State.MISSING, "has it every key? See Mage's log"
    return _without_code(mage or {}, backfills)


def _without_code(mage: Json, backfills: Mapping[int, int]) -> tuple[State, str]:
    if mage["id"] in backfills:
        return State.BY_HAND, f"of backfill {backfills[mage['id']]}"
    if mage["schedule_interval"] == "@once":
        return State.BY_HAND, "runs once"
    if mage["global_data_product_uuid"]:
        return State.BY_HAND, f"of the global data product {mage['global_data_product_uuid']}"
    if (mage["description"] or "").endswith(KEPT_IN_CODE):
        return State.ORPHANED, "no longer in code; --remove orphans removes it"
    return State.BY_HAND, "made in the UI, or by a block"


def _value(name: str, trigger: Json) -> Any:
    """A field in a form in which code and database can be compared."""
    value = trigger.get(name)
    if name == "status" and trigger.get("schedule_type") == "api":
        return None  # the first request turns such a trigger on, whatever was said
    if name == "start_time" and value:
        when = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    return value or None


def _removed(row: Compared, api: MageApi) -> Compared:
    number = (row.mage or {})["id"]
    if (row.mage or {}).get("pipeline_in_progress_runs_count"):
        why = "no longer in code, and left until its run has ended"
        return Compared(row.pipeline, row.trigger, None, row.mage, State.ORPHANED, why)
    api.delete("pipeline_schedules", number)
    return Compared(row.pipeline, row.trigger, None, None, State.REMOVED)


def _settled(api: MageApi, env: str) -> list[Compared]:
    """The comparison when it agrees, or when Mage has had its time to read the files."""
    unread = (State.MISSING, State.CHANGED)
    wait_until(lambda: not any(row.state in unread for row in compare(PROJECT, api, env)), PATIENCE_SECONDS, 1)
    return compare(PROJECT, api, env)


def table(compared: list[Compared]) -> Table:
    """The comparison for a person."""
    lines = Table("pipeline", "trigger", "in code", "in Mage", "state", "")
    for row in compared:
        lines.add_row(row.pipeline, row.trigger, _short(row.code), _short(row.mage), row.state, row.why)
    return lines


def _short(trigger: Json | None) -> str:
    if trigger is None:
        return "-"
    kind = "API" if trigger.get("schedule_type") == "api" else trigger.get("schedule_interval")
    return f"{kind}, {trigger.get('status')}"


def _hand_out_token(reached: Connection, name: str) -> None:
    """Keep the header with a new token in a file of its owner's, and print the line that uses it."""
    pipeline, trigger = name.split("/", 1)
    number, token = new_token(reached.api, pipeline, trigger)
    header = local_dir() / f"{pipeline}.{trigger}.header"
    header.parent.mkdir(parents=True, exist_ok=True)
    write_private(header, f"Authorization: Bearer {token}\n")
    body = '{"pipeline_run": {"variables": {"service": "green", "month": "2025-01"}}}'
    print(f"The token is new, any older one is void; {header} has it, for you alone. A run:")
    print(f"curl -H @{header} -H 'Content-Type: application/json' -d '{body}' \\")
    print(f"  {reached.public_url}/api/pipeline_schedules/{number}/api_trigger")


def _api_triggers() -> list[str]:
    """PIPELINE/TRIGGER of those in code."""
    return [f"{t['pipeline_uuid']}/{t['name']}" for t in in_code(PROJECT) if t.get("schedule_type") == "api"]


def _api_trigger(ctx: click.Context, param: click.Parameter, text: str | None) -> str | None:
    """One of the project, unless a Mage that may have others is named."""
    if text is None:
        return None
    if "MAGE_URL" not in configured() and text not in (known := _api_triggers()):
        raise click.BadParameter(not_one_of("API trigger", text, known), ctx, param)
    if not all(text.partition("/")):
        raise click.BadParameter(f"{text!r} is not of the form PIPELINE/TRIGGER", ctx, param)
    return text


def _begun(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in _api_triggers() if name.startswith(incomplete)]


@click.command(
    "triggers",
    epilog=examples(
        "taxi triggers", "taxi triggers --remove orphans", "taxi triggers --new-token api_to_postgres/webhook"
    ),
)
@click.option("--remove", type=click.Choice(["orphans"]), help="Delete in Mage what is no longer in code.")
@click.option(
    "--new-token",
    metavar="PIPELINE/TRIGGER",
    callback=_api_trigger,
    shell_complete=_begun,
    help="Make a new token of an API trigger.",
)
def command(remove: str | None, new_token: str | None) -> int:
    """Compare the triggers in code with those of Mage; exit code 1 where they differ."""
    if remove and new_token:
        raise click.UsageError("Either --remove or --new-token")
    values = configured()
    with connect_to_mage(values) as reached:
        if new_token:
            _hand_out_token(reached, new_token)
            return 0
        compared = _settled(reached.api, values.get("ENV", "dev"))
        if remove:
            compared = remove_orphans(compared, reached.api)
        Console(width=None if sys.stdout.isatty() else 160).print(table(compared))
    return int(any(row.state.differs for row in compared))
