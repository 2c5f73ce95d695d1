"""Imports go one way: blocks, the library, and below it packages; nothing of the library knows Mage or this machine."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from local.paths import PROJECT

LIBRARY = {path.stem: path for path in (PROJECT / "utils" / "nyc_taxi").glob("*.py")}
BLOCKS = sorted(path for path in PROJECT.glob("*/*.py") if path.parent.name != "utils")
ABOVE = {"bench", "local", "mage_ai", "tests"}


def imported(path: Path) -> Iterator[str]:
    """The full names of the modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def of_the_library(path: Path) -> set[str]:
    """The modules of the library that a file imports."""
    names = {name.split(".")[1] for name in imported(path) if name.startswith("nyc_taxi.")}
    return names & set(LIBRARY)


@pytest.mark.parametrize("module", sorted(LIBRARY))
def test_the_library_knows_neither_mage_nor_this_machine(module: str) -> None:
    assert not ABOVE & {name.split(".")[0] for name in imported(LIBRARY[module])}


def test_no_two_modules_of_the_library_need_each_other() -> None:
    graph = {module: of_the_library(path) for module, path in LIBRARY.items()}
    assert sum(map(len, graph.values())) > 50
    order = list(TopologicalSorter(graph).static_order())  # CycleError names those that do
    assert order.index("errors") < order.index("services") < order.index("settings") < order.index("postgres")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_block_imports_the_library_and_never_another_block(block: Path) -> None:
    folders = {path.name for path in PROJECT.iterdir() if path.is_dir()}
    assert not (ABOVE - {"mage_ai"} | folders) & {name.split(".")[0] for name in imported(block)}
    assert "os.environ" not in block.read_text()
    assert "getenv" not in block.read_text()


@pytest.mark.parametrize(
    ("what", "only"),
    [("os.environ", {"settings"}), ("getenv(", set()), ("Client(", {"google_clients"})],
)
def test_the_environment_and_googles_clients_have_one_place_each(what: str, only: set[str]) -> None:
    assert {module for module, path in LIBRARY.items() if what in path.read_text()} == only
