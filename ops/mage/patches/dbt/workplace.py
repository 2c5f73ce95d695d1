"""
dbt writes outside of the checkout, and one run of it at a time.

Fault: a dbt block leaves `target/` and `logs/` in the project, where git sees them. Two runs at once write the same
files there, and replace the same views in the database under each other.

Patch: the two folders are below Mage's data, unless DBT_TARGET_PATH and DBT_LOG_PATH say otherwise; what changes tables
waits for the run before it. `taxi dbt` uses the same folders and waits alike.
"""

import inspect
import os
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from filelock import FileLock, Timeout

UPSTREAM = "none filed"
MODULE = "mage_ai.data_preparation.models.block.dbt.dbt_cli"
CHANGES = {"build", "run", "seed", "snapshot", "test"}
"""The commands of dbt that make tables, or ask tables that must not change meanwhile."""


def is_needed(dbt_cli: ModuleType) -> bool:
    """Whether Mage leaves it to dbt where to write."""
    return "target" not in inspect.getsource(dbt_cli.DBTCli.invoke)


def apply(dbt_cli: ModuleType) -> None:
    """Change what runs dbt for every block, and for the preview in the editor."""
    invoke = dbt_cli.DBTCli.invoke

    def invoke_in_turn(self: Any, cli_args: list[str], *args: Any, **given: Any) -> Any:
        set_folders(os.environ)
        with in_turn(cli_args):
            return invoke(self, cli_args, *args, **given)

    dbt_cli.DBTCli.invoke = invoke_in_turn


def folder_of_dbt(environ: Mapping[str, str]) -> Path:
    """Where dbt writes what is nobody's to keep: below Mage's data."""
    return Path(environ.get("MAGE_DATA_DIR") or Path.home() / ".mage_data") / "dbt"


def set_folders(environ: MutableMapping[str, str]) -> None:
    """Say where dbt writes, below Mage's data, unless the environment says it already."""
    data = folder_of_dbt(environ)
    environ.setdefault("DBT_TARGET_PATH", str(data / "target"))
    environ.setdefault("DBT_LOG_PATH", str(data / "logs"))


@contextmanager
def in_turn(command: Sequence[str], environ: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Wait, and say so, until no other run on this machine changes tables, if the command does."""
    if not CHANGES & {*command[:1]}:
        yield
        return
    folder = Path(environ["DBT_TARGET_PATH"])
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".one_run.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print("another run of dbt is at work: waiting for its end", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
