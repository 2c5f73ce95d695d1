"""
Where things are, and who may import whom: docs/architecture.md says it, these tests hold it.

Imports go down the floors only. Blocks import the library; `ops` imports the library; the library knows neither Mage
nor `ops`. Folders and modules stay small enough to be taken in at a glance.
"""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.paths import PROJECT, ROOT

LIBRARY = PROJECT / "utils" / "nyc_taxi"
FLOORS = (
    {"errors", "files", "months", "space", "streams"},
    {"catalog"},
    {"manifest", "settings"},
    {"google", "transform"},
    {"run"},
    {"extract", "load"},
    {"live", "operate", "report", "course"},
)
"""The rooms of the library, the lowest floor first. Those of one floor do not know each other."""
BESIDE = {(room, "errors") for room in ("files", "months", "space", "streams")} | {("manifest", "settings")}
"""But for these, which rest on the other in one direction."""
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
TARGETS = sorted(path.name for path in (LIBRARY / "load").iterdir() if (path / "__init__.py").exists())
MODULES = sorted(path for path in LIBRARY.rglob("*.py") if path.name != "__init__.py")
BLOCKS = sorted(path for path in PROJECT.rglob("*.py") if not path.is_relative_to(PROJECT / "utils"))
CODE = [path for top in (PROJECT, ROOT / "ops", ROOT / "bench") for path in sorted(top.rglob("*.py"))]
ABOVE = {"bench", "ops", "mage_ai", "tests"}
MOST_MODULES, MOST_LINES = 12, 250


def imported(path: Path) -> Iterator[str]:
    """The full names of the modules that a file imports, wherever in it. Relative imports are not used here."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}: line {node.lineno} imports relatively"
            assert node.level == 0, f"{path}: line {node.lineno} imports relatively"
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def shown(path: Path) -> str:
    return str(path.relative_to(LIBRARY if path.is_relative_to(LIBRARY) else ROOT))


def room(path: Path) -> str:
    """The folder of the library that a module is in, or its own name where it is in none."""
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


def test_every_room_of_the_library_has_its_floor() -> None:
    assert {room(path) for path in MODULES} == set(FLOOR)


@pytest.mark.parametrize("module", MODULES, ids=shown)
def test_the_library_imports_down_its_floors_and_knows_neither_mage_nor_ops(module: Path) -> None:
    own = room(module)
    names = set(imported(module))
    assert not ABOVE & {name.split(".")[0] for name in names}
    for other in {name.split(".")[1] for name in names if name.startswith("nyc_taxi.")} - {own}:
        assert FLOOR[other] < FLOOR[own] or (own, other) in BESIDE, f"{own} imports {other}"


def targets_known(*paths: Path) -> set[str]:
    """The targets that modules import from."""
    parts = (name.split(".") for path in paths for name in imported(path))
    return {name[2] for name in parts if name[:2] == ["nyc_taxi", "load"] and len(name) > 2} & set(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_knows_no_other_target(target: str) -> None:
    assert targets_known(*(LIBRARY / "load" / target).glob("*.py")) <= {target}


def test_what_two_targets_share_knows_neither() -> None:
    assert TARGETS == ["bigquery", "bucket", "postgres"]
    assert not targets_known(LIBRARY / "google.py")


@pytest.mark.parametrize("block", BLOCKS, ids=shown)
def test_a_block_imports_the_library_and_never_another_block(block: Path) -> None:
    folders = {path.name for path in PROJECT.iterdir() if path.is_dir()}
    assert not (ABOVE - {"mage_ai"} | folders) & {name.split(".")[0] for name in imported(block)}
    assert "os.environ" not in block.read_text()
    assert "getenv" not in block.read_text()


@pytest.mark.parametrize(
    ("what", "only"),
    [("os.environ", {"settings.py"}), ("from os import", set()), ("getenv(", set()), ("Client(", {"google.py"})],
)
def test_the_environment_and_googles_clients_have_one_place_each(what: str, only: set[str]) -> None:
    assert {shown(path) for path in MODULES if what in path.read_text()} == only


def test_no_package_hides_logic_in_its_init() -> None:
    for path in (path for path in CODE if path.name == "__init__.py" and path.is_relative_to(ROOT)):
        body = ast.parse(path.read_text()).body
        assert all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body), shown(path)


@pytest.mark.parametrize("folder", sorted({path.parent for path in CODE}), ids=shown)
def test_a_folder_has_at_most_twelve_modules(folder: Path) -> None:
    assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= MOST_MODULES


@pytest.mark.parametrize("module", CODE, ids=shown)
def test_a_module_has_at_most_250_lines(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= MOST_LINES


def test_the_tests_of_library_and_ops_have_the_tree_of_what_they_test() -> None:
    for tests, tested in ((ROOT / "tests" / "nyc_taxi", LIBRARY), (ROOT / "tests" / "ops", ROOT / "ops")):
        folders = {path.parent.relative_to(tests) for path in tests.rglob("test_*.py")}
        assert not [folder for folder in folders if not (tested / folder).is_dir()]


def test_no_path_of_a_machine_and_no_secret_is_committed() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert "magic-zoomcamp/pipelines/api_to_postgres/metadata.yaml" in tracked
    assert not [name for name in tracked if Path(name).name in {".env", "postgres.password"}]
