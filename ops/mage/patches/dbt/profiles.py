"""
The rendered profiles.yml of a dbt project, with its passwords, lies in a folder that only this user can read.

Fault: for each dbt block, Mage writes it into `.profiles_interpolated_temp_...` in the checkout, readable by all; a
block that is killed leaves it there, and git would commit it.

Patch: the folder is made below Mage's data, in one with mode 700, and Mage removes it at the block's end. This
project's own profiles.yml is not rendered by Mage at all (its `raw`): this is for those that people bring.
"""

import inspect
import os
from pathlib import Path
from types import ModuleType

from ops.mage.patches.dbt.workplace import folder_of_dbt

UPSTREAM = "none filed"
MODULE = "mage_ai.data_preparation.models.block.dbt.profiles"


def is_needed(profiles: ModuleType) -> bool:
    """Whether Mage still renders into the project's folder."""
    return "base_repo_path()" in inspect.getsource(profiles.Profiles.interpolate)


def apply(profiles: ModuleType) -> None:
    """Change where the folder is made."""
    vars(profiles)["base_repo_path"] = _private_folder


def _private_folder() -> str:
    folder: Path = folder_of_dbt(os.environ) / "profiles"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return str(folder)
