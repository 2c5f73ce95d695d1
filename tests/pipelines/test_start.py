"""The start of a run: what it does not load, and that the patches hold in every process of it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ops.mage.patches.late_imports import PACKAGES
from ops.paths import MAGE, PROJECT

pytestmark = pytest.mark.mage

# The program, and what is loaded at its end.
PROGRAM = """
import json, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as ended:
    assert not ended.code, ended.code
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
BLOCK = """
import multiprocessing

@custom
def where_patches_hold(*args, **kwargs):
    which = "__import__('mage_ai.shared.complex').shared.complex.is_model_sklearn.__module__"
    print("FOUND here", eval(which))
    for way in ("fork", "spawn"):
        with multiprocessing.get_context(way).Pool(1) as pool:
            print("FOUND", way, pool.apply(eval, (which,)))
"""


def test_a_run_loads_no_package_that_it_does_not_use(env: dict[str, str]) -> None:
    python, safe, program = MAGE
    command = [python, safe, "-c", PROGRAM, program, "run", PROJECT.name, "test_config", "--test"]
    done = subprocess.run(command, cwd=PROJECT.parent, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert {"mage_ai", "pandas", "sqlalchemy"} <= loaded
    assert not loaded & (PACKAGES | {"great_expectations", "dbt", "matplotlib", "db_dtypes", "pandas_gbq"})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("import polars\nfrom scipy import sparse", "import sklearn.utils\nimport joblib"),
        ("from IPython.display import display", "from memory_profiler import memory_usage"),
    ],
)
def test_blocks_side_by_side_import_what_is_late_in_mage(
    env: dict[str, str], tmp_path: Path, one: str, other: str
) -> None:
    project = tmp_path / PROJECT.name
    blocks = {"one": one, "other": other}
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name, imports in blocks.items():
        (project / "custom" / f"{name}.py").write_text(
            f"{imports}\n\n@custom\ndef {name}(**_):\n    print('FOUND', 1)\n"
        )
    pipeline_of(project, "imports", list(blocks))
    command = [*MAGE, "run", PROJECT.name, "imports", "--test"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("FOUND 1") == len(blocks)


def pipeline_of(project: Path, name: str, blocks: list[str]) -> None:
    """Make a pipeline of custom blocks that do not wait for each other."""
    folder = shutil.copytree(project / "pipelines" / "test_config", project / "pipelines" / name)
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text()) | {"name": name, "uuid": name}
    own = {"type": "custom", "language": "python", "configuration": {}}
    metadata["blocks"] = [metadata["blocks"][0] | own | {"name": block, "uuid": block} for block in blocks]
    (folder / "metadata.yaml").write_text(yaml.dump(metadata))


def test_patches_hold_in_the_run_and_in_what_it_forks_and_spawns(env: dict[str, str], tmp_path: Path) -> None:
    project = tmp_path / "beside" / PROJECT.name
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    (project / "custom" / "where_patches_hold.py").write_text(BLOCK)
    pipeline_of(project, "patched", ["where_patches_hold"])
    # A user's own folder beside the project, where Mage looks for modules.
    (project.parent / "ops").mkdir()
    (project.parent / "ops" / "__init__.py").write_text('raise RuntimeError("not this one")\n')
    command = [*MAGE, "run", PROJECT.name, "patched", "--test"]
    done = subprocess.run(command, cwd=project.parent, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = [line.partition("FOUND ")[2] for line in done.stdout.splitlines() if "FOUND " in line]
    assert found == [f"{way} ops.mage.patches.model_check" for way in ("here", "fork", "spawn")]
