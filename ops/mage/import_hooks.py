"""What is done beside Python's own work while it imports a module of somebody else's: see `OnImport`."""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Run = Callable[[ModuleType], None]


class OnImport(MetaPathFinder):
    """
    A finder that finds nothing itself, but changes how the modules that it concerns are executed.

    `execute(module, run)` is called in place of `run(module)`, which executes the module as Python does. Who imports
    the module gets it after that: nobody holds a name of it from before.
    """

    def __init__(self, concerns: Callable[[str], bool], execute: Callable[[ModuleType, Run], None]):
        self.concerns, self.execute = concerns, execute

    def install(self) -> None:
        """From now on, before all other finders."""
        sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of the finders after this one, its loader changed; None for a module that is none of ours."""
        if not self.concerns(fullname):
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            if spec := finder.find_spec(fullname, path, target):
                self._change(spec)
                return spec
        return None

    def _change(self, spec: ModuleSpec) -> None:
        if spec.loader:
            run = spec.loader.exec_module
            # The loader is this module's own; it keeps all else that it can, such as showing its source.
            spec.loader.exec_module = lambda module: self.execute(module, run)  # type: ignore[method-assign]
