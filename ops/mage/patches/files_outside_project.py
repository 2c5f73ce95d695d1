"""
What reads and writes files through Mage's API stays in the project.

Fault: `browser_items` takes any path of the machine, to read, to list and to write: /etc/passwd, the environment of the
server with its secrets, files outside the project.

Patch: a path that, once symbolic links are followed, is outside the project is refused, in every method.
"""

import inspect
import os
from pathlib import Path
from types import ModuleType
from typing import Any

UPSTREAM = "https://github.com/mage-ai/mage-ai/issues/6134"
MODULE = "mage_ai.api.resources.BrowserItemResource"


def is_needed(resource: ModuleType) -> bool:
    """Whether the resource asks nothing of a path."""
    return "ensure_file_is_in_project" not in inspect.getsource(resource)


def apply(resource: Any) -> None:
    """Ask it of every item, and of every folder that is listed."""
    load, collect = resource.Item.load, resource.get_absolute_paths_from_all_files

    def load_inside(*args: Any, **given: Any) -> Any:
        item = load(*args, **given)
        refuse_outside(item.path, resource)
        if item.name and os.path.basename(item.name) != item.name:
            refuse_outside(item.name, resource)  # a new name may be a path too
        return item

    def collect_inside(starting_full_path_directory: str, *args: Any, **given: Any) -> Any:
        refuse_outside(starting_full_path_directory, resource)
        return collect(starting_full_path_directory, *args, **given)

    resource.Item = type("Item", (resource.Item,), {"load": staticmethod(load_inside)})
    resource.get_absolute_paths_from_all_files = collect_inside


def refuse_outside(path: str, resource: Any) -> None:
    """Raise Mage's ApiError for a path that leads out of the project."""
    if not is_inside(path, Path(resource.base_repo_path())):
        raise resource.ApiError({"code": 403, "message": "That file is not in the project", "type": "outside_project"})


def is_inside(path: str, project: Path) -> bool:
    """Whether a path, as the server would open it, is the project or in it, symbolic links followed."""
    if not path or "\0" in path:
        return False
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(project))
