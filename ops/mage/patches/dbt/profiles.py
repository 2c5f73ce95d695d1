"""
The rendered profiles.yml of a dbt project, with its passwords, lies in a folder that only this user can read.

Fault: for each dbt block, Mage writes it into `.profiles_interpolated_temp_...` in the checkout, readable by all; a
block that is killed leaves it there, and git would commit it.

Patch: the folder is made in the system's folder for temporary files, with mode 700. This project's own profiles.yml is
not rendered by Mage at all (its `raw`): this is for those that people bring.
"""

import inspect
import tempfile
from types import ModuleType

UPSTREAM = "none filed"
MODULE = "mage_ai.data_preparation.models.block.dbt.profiles"


def is_needed(profiles: ModuleType) -> bool:
    """Whether Mage still renders into the project's folder."""
    return "base_repo_path()" in inspect.getsource(profiles.Profiles.interpolate)


def apply(profiles: ModuleType) -> None:
    """Change where the folder is made; Mage removes it, but for this one above it, which is empty then."""
    vars(profiles)["base_repo_path"] = lambda: tempfile.mkdtemp(prefix="mage-dbt-")
