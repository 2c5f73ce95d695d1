"""Triggers that a start turns off: Mage takes their state from triggers.yaml, whatever was clicked in its web UI."""

from contextlib import closing
from pathlib import Path

import psycopg2
import yaml


def lost(metadata_url: str, project: Path) -> list[str]:
    """A line per trigger that is on in Mage's metadata and off in the project's files; [] for a new database."""
    off = {(path.parent.name, name) for path in project.glob("pipelines/*/triggers.yaml") for name in _off(path)}
    return [
        f"trigger {name} of {pipeline} was on and is off from now: its triggers.yaml says so. "
        "Set status: active there, and push"
        for pipeline, name in sorted(off & _on(metadata_url))
    ]


def _off(path: Path) -> list[str]:
    triggers = yaml.safe_load(path.read_text(encoding="utf-8")).get("triggers") or []
    return [str(trigger["name"]) for trigger in triggers if trigger.get("status") != "active"]


def _on(metadata_url: str) -> set[tuple[str, str]]:
    if not metadata_url.startswith("postgresql"):
        return set()
    with (
        closing(psycopg2.connect(metadata_url.replace("+psycopg2", "", 1), connect_timeout=10)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT to_regclass('pipeline_schedule')")
        if cursor.fetchall() == [(None,)]:
            return set()
        cursor.execute("SELECT pipeline_uuid, name FROM pipeline_schedule WHERE status = 'ACTIVE'")
        return set(cursor.fetchall())
