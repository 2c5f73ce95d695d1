"""
Mage's own command line, patched: python -P ops/mage/program.py run ..., or start ..., in place of the script `mage`.

Run by its path, with -P, so that no folder of a user's called `ops` comes before this one. A process that Mage spawns,
as it does on macOS, imports this file once more and is patched so; one that it forks has the patches already.
"""

import gc
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType

ROOT = str(Path(__file__).resolve().parents[2])
# What a command works with, imported before it starts: see `main`.
WORKS_WITH = {"run": "mage_ai.data_preparation.executors.executor_factory", "start": "mage_ai.server.server"}


def patches() -> dict[str, ModuleType]:
    """
    Every module of `ops.mage.patches` and its folders, by its name: to add a patch is to add a file.

    It has UPSTREAM, the address of Mage's issue or "none filed"; MODULE, the module of Mage that it changes;
    `is_needed(module)`, whether that is so of the Mage that is installed; `apply(module)`; and WHEN_SET, where it is
    for certain machines only, the variable of the environment by which they are known.
    """
    import ops.mage.patches as folder

    found = [each.name for each in walk_packages(folder.__path__, f"{folder.__name__}.") if not each.ispkg]
    return {name.rpartition(".")[2]: import_module(name) for name in found}


def install() -> None:
    """From now on, a module of Mage is patched when it is imported; one that never is costs nothing."""
    from ops.mage.import_hooks import OnImport

    wanted = [patch for patch in patches().values() if not hasattr(patch, "WHEN_SET") or patch.WHEN_SET in os.environ]
    modules = {patch.MODULE for patch in wanted}
    if early := modules & sys.modules.keys():
        raise RuntimeError(f"imported before it could be patched: {', '.join(sorted(early))}")

    def execute(module: ModuleType, run: Callable[[ModuleType], None]) -> None:
        run(module)
        for patch in wanted:
            if module.__name__ == patch.MODULE:
                patch.apply(module)

    OnImport(modules.__contains__, execute).install()


def main() -> None:
    """Run the command that the arguments name."""
    from ops.mage.access.owner_password import from_pipe, give_once

    password = from_pipe()
    from mage_ai.cli.main import app

    if len(sys.argv) > 2 and sys.argv[1] in WORKS_WITH and os.path.isdir(sys.argv[2]):
        from mage_ai.settings.repo import set_repo_path

        # As the command itself does, before anything reads the project's settings or opens its database.
        set_repo_path(os.path.abspath(sys.argv[2]))
        import_module(WORKS_WITH[sys.argv[1]])
    if password is not None:
        give_once(import_module(WORKS_WITH["start"]), password)
        del password
    # Imports make several hundred thousand objects that stay: to look through them again and again is a sixth of the
    # CPU time of a start.
    gc.freeze()
    gc.enable()
    sys.argv[0] = "mage"
    app()


if __name__ in {"__main__", "__mp_main__"}:
    gc.disable()
    sys.path.insert(0, ROOT)  # this `ops`, whatever else is on the path
    from ops.mage import ending

    install()
    sys.path.remove(ROOT)
    if __name__ == "__main__":
        ending.run(main)
    else:
        gc.enable()
