"""Names that Mage's modules have of packages not loaded yet: real when touched, and never in anybody else's way."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from ops.mage.patches.late_imports import PACKAGES
from ops.paths import ROOT
from tests.conftest import process_environment

[FOLDER] = [Path(place) for place in (find_spec("mage_ai") or pytest.fail("no Mage")).submodule_search_locations or ()]
SOURCES = sorted(
    path for path in FOLDER.rglob("*.py") if not {"tests", "templates"} & {*path.relative_to(FOLDER).parts}
)
START = """
import sys
from ops.mage import program
program.install()
import mage_ai.data_preparation.executors.block_executor
from mage_ai.data_preparation.models import utils
from mage_ai.data_preparation.models.block.dynamic import utils as dynamic
from mage_ai.shared import parsers

def loaded():
    heavy = {"scipy", "polars", "sklearn", "joblib", "aiohttp", "dbt"}
    return sorted(heavy & sys.modules.keys())
assert loaded() == [], loaded()
"""
SETTLED = """
import polars, scipy.sparse, sklearn.utils
assert parsers.pl is utils.pl is polars
assert utils.POLARS_CAST_TYPE_COLUMN_TYPES == {"Float64": polars.Float64, "Int64": polars.Int64}
assert dynamic.csr_matrix is parsers.scipy.sparse.csr_matrix is scipy.sparse.csr_matrix
assert utils.estimator_html_repr is sklearn.utils.estimator_html_repr
"""
ASKED = {
    "asking whether something is an instance loads nothing": """
assert not isinstance([], (dict, parsers.pl.DataFrame)) and not isinstance([], dynamic.csr_matrix)
assert not issubclass(list, parsers.pl.DataFrame)
import pandas
kinds = [utils.infer_variable_type(output)[0] for output in ({"rows": 1}, "text", pandas.DataFrame({"a": [1]}))]
assert [kind and kind.value for kind in kinds] == [None, None, "dataframe"], kinds
assert loaded() == [], loaded()
import polars
assert isinstance(polars.DataFrame({"a": [1]}), dynamic.pl.DataFrame)
""",
    "calling a name loads it": """
frame = parsers.pl.DataFrame({"a": [1, 2]})
assert type(frame).__module__.startswith("polars") and frame.height == 2
assert loaded() == ["polars"], loaded()
""",
    "a name that came from an import of its own": """
assert dynamic.csr_matrix([[0, 1]]).nnz == 1
""",
    "a class on top of a late one": """
from mage_ai.data_cleaner.estimators import base
import sklearn.base
assert issubclass(base.BaseEstimator, sklearn.base.BaseEstimator)
""",
    "what it is called and where it is from": """
assert (parsers.pl.Series.__module__, parsers.pl.Series.__name__) == ("polars.series.series", "Series")
""",
    "a package inside a package": """
from mage_ai.services import newrelic
import newrelic.agent, newrelic.api.exceptions
assert sys.modules["mage_ai.services.newrelic"].newrelic is newrelic
""",
    "memory as Mage measures it": """
from mage_ai.system.memory.utils import current_memory_usage
assert current_memory_usage() > 10_000_000
""",
    "every form of import in a block": """
import importlib, io, pickle
import polars as frames, scipy.stats, sklearn.linear_model as linear
from scipy import optimize
from IPython.display import display
from sklearn.utils import estimator_html_repr
import joblib
assert importlib.import_module("scipy.stats").norm.cdf(0) == 0.5 == scipy.stats.norm.cdf(0)
assert optimize.brentq(lambda x: x - 1, 0, 3) == 1
model = linear.LinearRegression().fit([[0], [1]], [0, 2])
kept = io.BytesIO()
joblib.dump(model, kept)
kept.seek(0)
again = joblib.load(kept)
assert type(again) is linear.LinearRegression and round(again.predict([[2]])[0]) == 4
assert type(pickle.loads(pickle.dumps(frames.DataFrame({"a": [1]})))) is frames.DataFrame
assert callable(display) and callable(estimator_html_repr)
from mage_ai.shared.complex import is_model_sklearn
assert is_model_sklearn(model) and not is_model_sklearn({})
""",
    "an error says which name was wanted": """
sys.modules["polars.series"] = None
try:
    parsers.pl.DataFrame({"a": [1]})
except ImportError as error:
    assert "polars.DataFrame was to be loaded at its first use" in error.__notes__[0]
    sys.exit(0)
sys.exit("no error")
""",
}


@pytest.mark.mage
@pytest.mark.parametrize("touch", ASKED.values(), ids=ASKED)
def test_a_late_name_is_the_real_one_when_touched(touch: str, tmp_path: Path) -> None:
    env = {
        **process_environment(),
        "MAGE_DATA_DIR": str(tmp_path),
        "MAGE_DATABASE_CONNECTION_URL": f"sqlite:///{tmp_path / 'mage.db'}",
    }
    command = [sys.executable, "-c", START + touch + SETTLED]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def late_names(tree: ast.Module) -> set[str]:
    """What a module of Mage calls the late packages, and what it takes from them."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            late = [name for name in node.names if name.name.split(".")[0] in PACKAGES]
            names |= {name.asname or name.name.split(".")[0] for name in late}
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] in PACKAGES:
            names |= {name.asname or name.name for name in node.names}
    return names


def doubtful_uses(tree: ast.Module) -> Iterator[str]:
    """Uses of late names that are no call, no annotation, no base class and no question for an instance."""
    names = late_names(tree)
    parent = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Name) and node.id in names and isinstance(node.ctx, ast.Load)):
            continue
        use: ast.AST = node
        while isinstance(parent[use], ast.Attribute):
            use = parent[use]
        inner, above, user = use, parent[use], use
        while isinstance(above, (ast.Subscript, ast.Tuple, ast.List, ast.BinOp)):
            inner, above = above, parent[above]
        user = above
        called = isinstance(user, ast.Call) and (
            user.func is inner or (isinstance(user.func, ast.Name) and user.func.id in {"isinstance", "issubclass"})
        )
        annotates = isinstance(user, ast.arg | ast.AnnAssign) or (
            isinstance(user, ast.FunctionDef | ast.AsyncFunctionDef) and user.returns is inner
        )
        alias = isinstance(user, ast.Assign) and isinstance(inner, ast.Subscript)
        table = isinstance(user, ast.Dict) and isinstance(parent[user], ast.Assign) and parent[parent[user]] is tree
        if not (called or annotates or alias or table or isinstance(user, ast.ClassDef)):
            yield ast.unparse(use)


def test_mage_uses_late_names_in_no_way_that_they_do_not_bear() -> None:
    found = {
        (str(path.relative_to(FOLDER)), use)
        for path in SOURCES
        if any(package in (text := path.read_text()) for package in PACKAGES)
        for use in doubtful_uses(ast.parse(text))
    }
    assert found == {
        ("data/tabular/reader.py", "pl.Series"),  # asked for __module__ and __name__
        ("data/tabular/utils.py", "pl.Series"),  # the same
        ("data_preparation/models/block/dbt/dbt_adapter.py", "RelationType.Table"),  # a default of what nobody calls
        ("data_preparation/models/block/dbt/dbt_adapter.py", "generate_runtime_macro_context"),  # after dbt's own calls
        ("data/tabular/writer.py", "pl.Int32"),  # after a call of the same package in the same line
        ("services/newrelic/__init__.py", "newrelic.api.exceptions.ConfigurationError"),  # raised by the package itself
    }
