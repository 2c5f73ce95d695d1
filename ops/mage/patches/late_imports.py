"""
Packages that Mage imports at every start, and that a run here never uses, are loaded when they are first used.

Fault: `mage run` imports scipy, scikit-learn, polars, the agents of New Relic and Sentry and
more, before it looks at the pipeline: much of the CPU time of a short run, and of each job of `load_many`.

Patch: in the modules of Mage, and nowhere else, a name that comes from one of these packages is a `Late` one. The
first use loads the package, and the real names take the places of the late ones. Blocks, the library and kernels
import as ever. Nothing can be an instance of a class that was not loaded: to ask that loads nothing either.

tests/ops/mage/test_late_imports.py holds that Mage uses these names in no way that a late one does not bear.
"""

import builtins
import importlib
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Union

from ops.mage.import_hooks import OnImport, Run

UPSTREAM = "none filed"
MODULE = "mage_ai"
# Not memory_profiler, although it loads IPython: that has imports in circles, which two blocks in two threads may meet
# half-way. Loaded at the start, it is whole before any block runs.
PACKAGES = frozenset(
    {
        "aiohttp",
        "dbt",
        "joblib",
        "newrelic",
        "polars",
        "redis",
        "scipy",
        "sentry_sdk",
        "sklearn",
        "sshtunnel",
    }
)
_holders: defaultdict[str, list[ModuleType]] = defaultdict(list)
"""Which modules of Mage may hold late names, by package."""


class Late:
    """A name of a package that is loaded when the name is used."""

    __slots__ = ("_imported", "_path")

    def __init__(self, path: str, imported: str):
        object.__setattr__(self, "_path", path)  # from its package on, with dots
        object.__setattr__(self, "_imported", imported)  # the module that the import statement names

    def __getattribute__(self, name: str) -> Any:
        if name in {"__class__", "__mro_entries__"}:
            return object.__getattribute__(self, name)
        path, imported = _parts(self)
        if name == "__parameters__" or name.startswith("__typing_"):
            raise AttributeError(name)  # so `Union[...]` learns that this is no generic type
        # What begins so is asked for its value, as `__module__`; all else may be one more name on the way.
        if name.startswith("__") or _package(path) in sys.modules:
            return getattr(real(self), name)
        return Late(f"{path}.{name}", imported)

    def __call__(self, *args: Any, **given: Any) -> Any:
        """Call what it stands for."""
        return real(self)(*args, **given)

    def __instancecheck__(self, thing: object) -> bool:
        return _package(_parts(self)[0]) in sys.modules and isinstance(thing, real(self))

    def __subclasscheck__(self, kind: type) -> bool:
        return _package(_parts(self)[0]) in sys.modules and issubclass(kind, real(self))

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type]:
        return (real(self),)

    def __or__(self, other: Any) -> Any:
        return Union[self, other]  # noqa: UP007  what an annotation of the other form means

    def __ror__(self, other: Any) -> Any:
        return Union[other, self]  # noqa: UP007

    def __repr__(self) -> str:
        return f"<late {_parts(self)[0]}>"


def real(late: Late) -> Any:
    """What a late name stands for; loads its package. An error of that says which name was wanted."""
    path, imported = _parts(late)
    package, *names = path.split(".")
    try:
        importlib.import_module(imported)
        found: Any = sys.modules[package]
        for name in names:
            if isinstance(found, ModuleType) and not hasattr(found, name):
                importlib.import_module(f"{found.__name__}.{name}")
            found = getattr(found, name)
    except Exception as error:
        error.add_note(f"{path} was to be loaded at its first use: see ops/mage/patches/late_imports.py")
        raise
    return found


def is_needed(mage_ai: ModuleType) -> bool:
    """Whether Mage still imports at its start what a run does not use."""
    sources = {"shared/parsers.py": "\nimport scipy", "data_preparation/models/utils.py": "\nimport polars"}
    [folder] = mage_ai.__path__
    return any(text in open(f"{folder}/{name}", encoding="utf-8").read() for name, text in sources.items())


def apply(mage_ai: ModuleType) -> None:
    """From now on, for each module of Mage that is imported."""
    own_builtins = {**vars(builtins), "__import__": _import}

    def execute(module: ModuleType, run: Run) -> None:
        module.__dict__["__builtins__"] = own_builtins  # whose __import__ an import statement calls
        run(module)

    OnImport(lambda name: name.startswith("mage_ai."), execute).install()
    OnImport(PACKAGES.__contains__, _settle).install()


def _import(
    name: str,
    globals: Mapping[str, Any] | None = None,
    locals: Mapping[str, Any] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> Any:
    """`__import__` for Mage's modules: late, where the package is a late one and not loaded yet."""
    package = _package(name)
    holder = sys.modules.get((globals or {}).get("__name__", ""))
    # The code of a block has the builtins of Mage's module that executes it, but names of its own.
    if level or package not in PACKAGES or package in sys.modules or holder is None or vars(holder) is not globals:
        return builtins.__import__(name, globals, locals, fromlist or (), level)
    _holders[package].append(holder)
    return Late(name if fromlist else package, name)


def _settle(package: ModuleType, run: Run) -> None:
    """Load a late package, for whoever imports it, and put its real names into Mage's modules."""
    run(package)
    for module in _holders.pop(package.__name__, ()):
        tables = [value for value in vars(module).values() if type(value) is dict]
        for names in (vars(module), *tables):
            late = {key: value for key, value in names.items() if type(value) is Late}
            names.update({key: real(value) for key, value in late.items() if _is_of(value, package)})


def _parts(late: Late) -> tuple[str, str]:
    return object.__getattribute__(late, "_path"), object.__getattribute__(late, "_imported")


def _package(path: str) -> str:
    return path.partition(".")[0]


def _is_of(late: Late, package: ModuleType) -> bool:
    return _package(_parts(late)[0]) == package.__name__
