"""Every patch of Mage: still needed, with its issue, applied by the program; and a new file is all that one takes."""

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ops.mage.program import patches
from ops.paths import MAGE, ROOT
from tests.conftest import process_environment

# Which patches are asked of the Mage that is installed, or which the program applies when it imports what they change.
SCRIPT = """
import json, sys
from importlib import import_module
from ops.mage import program

patches, found = program.patches(), []
if sys.argv[1] == "needed":
    found = [name for name, patch in patches.items() if patch.is_needed(import_module(patch.MODULE))]
else:
    def listed(name, patch):
        return lambda module: found.append(name if module.__name__ == patch.MODULE else "wrong module")

    for name, patch in patches.items():
        patch.apply = listed(name, patch)
    program.install()
    for patch in patches.values():
        import_module(patch.MODULE)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The names of the patches that are needed, that are applied, and that are on Cloud Run."""
    data = tmp_path_factory.mktemp("data")
    own = {
        **process_environment(),
        "MAGE_DATA_DIR": str(data),
        "MAGE_DATABASE_CONNECTION_URL": f"sqlite:///{data / 'mage.db'}",
    }
    found: dict[str, list[str]] = {}
    for question, more in (("needed", {}), ("applied", {}), ("on Cloud Run", {"K_SERVICE": "mage"})):
        command = [sys.executable, "-c", SCRIPT, question]
        done = subprocess.run(command, cwd=ROOT, env=own | more, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found[question] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.mage
@pytest.mark.parametrize(("name", "patch"), patches().items(), ids=patches())
def test_a_patch_is_needed_tells_its_issue_and_is_applied(
    name: str, patch: ModuleType, answers: dict[str, list[str]]
) -> None:
    assert name in answers["needed"], f"Mage has fixed this: delete {patch.__file__}"
    assert patch.UPSTREAM == "none filed" or patch.UPSTREAM.startswith("https://")
    assert patch.__doc__
    assert "\nFault: " in patch.__doc__
    assert "\nPatch: " in patch.__doc__
    assert answers["on Cloud Run"].count(name) == 1
    assert answers["applied"].count(name) == (0 if hasattr(patch, "WHEN_SET") else 1)


def new_patch(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A copy of `ops` with one patch more, and beside it a user's own folder called `ops`."""
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "ops", copy / "ops", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "ops" / "mage" / "patches" / "greeting.py").write_text(
        'MODULE = "mage_ai.cli.utils"\n\n\ndef apply(utils):\n    print("patched", utils.__name__)\n'
    )
    theirs = tmp_path / "user" / "ops"
    theirs.mkdir(parents=True)
    (theirs / "__init__.py").write_text('raise RuntimeError("this is not the ops that was asked for")\n')
    return copy, process_environment() | {"PYTHONPATH": str(theirs.parent), "MAGE_DATA_DIR": str(tmp_path / "data")}


@pytest.mark.mage
def test_to_add_a_patch_is_to_add_a_file_and_a_users_folder_ops_does_not_shadow_ours(tmp_path: Path) -> None:
    copy, env = new_patch(tmp_path)
    command = [*MAGE[:-1], str(copy / Path(MAGE[-1]).relative_to(ROOT)), "run", "--help"]
    done = subprocess.run(command, cwd=tmp_path / "user", env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "patched mage_ai.cli.utils" in done.stdout
    assert "Usage: mage run" in done.stdout


def test_what_was_imported_too_early_to_be_patched_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from ops.mage.program import install

    monkeypatch.setitem(sys.modules, "mage_ai.shared.complex", ModuleType("mage_ai.shared.complex"))
    with pytest.raises(RuntimeError, match=r"before it could be patched: .*mage_ai\.shared\.complex"):
        install()


def bearer(**claims: str) -> str:
    """A value of Authorization with a JSON web token of these claims."""
    parts = (json.dumps(part).encode() for part in ({"alg": "RS256"}, claims))
    return "Bearer " + ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), "gone"])


@pytest.mark.parametrize(
    ("token", "seen"),
    [
        (bearer(iss="https://accounts.google.com", email="me@example.org"), None),
        (bearer(iss="https://example.org"), bearer(iss="https://example.org")),
        ("Bearer a-token-of-mages", "Bearer a-token-of-mages"),
    ],
    ids=["Google's", "somebody else's", "Mage's"],
)
def test_mage_does_not_see_googles_identity_token_and_sees_all_others(token: str, seen: str | None) -> None:
    class Middleware:
        """As Mage's: it looks into the headers."""

        def __init__(self, headers: dict[str, str]):
            self.request = SimpleNamespace(headers=headers)

        def prepare(self) -> str | None:
            found: str | None = self.request.headers.get("Authorization")
            return found

    patches()["google_identity_token"].apply(SimpleNamespace(OAuthMiddleware=Middleware))
    assert Middleware({"Authorization": token, "X-API-KEY": "key"}).prepare() == seen
    assert Middleware({"X-API-KEY": "key"}).prepare() is None


class Classifier:
    """As other packages than scikit-learn have it."""

    _estimator_type = "classifier"


@pytest.mark.parametrize(("output", "asked"), [({"rows": 1}, 0), (3, 0), ([Classifier], 0), (Classifier(), 1)])
def test_only_what_says_that_it_is_a_model_is_asked_about(
    output: Any, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    questions: list[Any] = []
    module = ModuleType("mage_ai.shared.complex")
    module.is_model_sklearn = lambda data: bool(questions.append(data)) or True  # type: ignore[attr-defined, func-returns-value]
    patches()["model_check"].apply(module)
    assert module.is_model_sklearn(output) is bool(asked)
    assert len(questions) == asked
