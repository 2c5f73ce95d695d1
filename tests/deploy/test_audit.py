"""`make audit`: which faults it refuses and which it tells, and that no audit is never a clean one."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from ops.paths import ROOT
from ops.ports import free_port

PROGRAM = ROOT / ".github" / "audit.py"
LIFT = "into override-dependencies of pyproject.toml, then make lock UPGRADE="


def audit() -> ModuleType:
    """.github/audit.py, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("audit", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fault(package: str, version: str, *fixed: str) -> dict[str, Any]:
    """A package with one known fault, as pip-audit writes it."""
    return {"name": package, "version": version, "vulns": [{"id": "GHSA-x", "fix_versions": list(fixed)}]}


def test_a_fault_that_has_a_fix_is_refused_whoever_pins_its_package() -> None:
    asks = {
        "terminado": {"mage-ai 0.9.80": SpecifierSet("==0.17.1"), "notebook 7.5.8": SpecifierSet(">=0.8")},
        "tornado": {"override-dependencies": SpecifierSet("==6.6.1")},
        "urllib3": {"requests 2.31.0": SpecifierSet("<3,>=1.21.1")},
    }
    found = [
        fault("terminado", "0.17.1", "0.18.2", "0.19.0"),
        fault("tornado", "6.6.1", "6.5.11", "6.6.2"),
        fault("urllib3", "2.0.0", "2.5.0", "3.1.0"),
        fault("left_alone", "1.0"),
        {"name": "fine", "version": "1.0", "vulns": []},
    ]
    fixable, told = audit().judged(found, asks)
    assert fixable == [
        "terminado 0.17.1 GHSA-x: fixed in 0.18.2, 0.19.0, which mage-ai 0.9.80 does not allow: "
        f'put "terminado==0.18.2" or a later one {LIFT}',
        "tornado 6.6.1 GHSA-x: fixed in 6.5.11, 6.6.2, which override-dependencies does not allow: "
        f'put "tornado==6.6.2" or a later one {LIFT}',
        "urllib3 2.0.0 GHSA-x: fixed in 2.5.0, 3.1.0: run make lock",
    ]
    assert told == ["left_alone 1.0 GHSA-x: no version is without it yet"]


def test_what_mage_pins_is_read_from_mage_itself_and_an_override_stands_above_it() -> None:
    asks = audit().allowed()
    [mage] = [versions for who, versions in asks["terminado"].items() if who.startswith("mage-ai ")]
    assert str(mage).startswith("==")
    assert list(asks["tornado"]) == ["override-dependencies"]


def run(lock: Path, **environment: str) -> tuple[int, list[str]]:
    """How the audit of a lock ends, and the lines that it prints."""
    if not audit().PIP_AUDIT.exists():
        pytest.skip(".venv-scanners is not there: `make test-deploy` makes it")
    env = {**os.environ, "NO_PROXY": "127.0.0.1", **environment}
    done = subprocess.run([sys.executable, PROGRAM, lock], env=env, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """Two packages, of which mage-ai pins one."""
    written = tmp_path / "lock.txt"
    written.write_text("terminado==0.17.1\nsix==1.17.0\n")
    return written


def osv(server: HTTPServer, faulty: Sequence[str], fixed: str = "0.18.2") -> dict[str, str]:
    """A service of OSV's protocol that knows these packages to be faulty, as the environment names it."""

    def answer(request: Request) -> Response:
        name = json.loads(request.data)["package"]["name"]
        package = {"name": name, "ecosystem": "PyPI"}
        ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, *([{"fixed": fixed}] if fixed else [])]}]
        known = {"id": f"GHSA-{name}", "summary": "", "affected": [{"package": package, "ranges": ranges}]}
        return Response(json.dumps({"vulns": [known]} if name in faulty else {}), content_type="application/json")

    server.expect_request("/query", method="POST").respond_with_handler(answer)
    return {"PIP_AUDIT_VULNERABILITY_SERVICE": "osv", "PIP_AUDIT_OSV_URL": server.url_for("/query")}


def test_a_lock_without_known_faults_passes(lock: Path, httpserver: HTTPServer) -> None:
    assert run(lock, **osv(httpserver, ["tornado"])) == (0, ["2 packages: 0 faults can be fixed here, 0 cannot"])


def test_a_fault_that_an_override_would_lift_does_not_pass(lock: Path, httpserver: HTTPServer) -> None:
    ends, said = run(lock, **osv(httpserver, ["tornado", "terminado"]))
    assert ends == 1
    assert said[0].startswith("REFUSED  terminado 0.17.1 GHSA-terminado: fixed in 0.18.2, which mage-ai ")
    assert said[0].endswith(f'put "terminado==0.18.2" or a later one {LIFT}')
    assert said[1] == "2 packages: 1 faults can be fixed here, 0 cannot"


def test_a_fault_that_no_version_is_without_is_told_and_passes(lock: Path, httpserver: HTTPServer) -> None:
    ends, said = run(lock, **osv(httpserver, ["tornado", "six"], fixed=""))
    assert (ends, said[0]) == (0, "known    six 1.17.0 GHSA-six: no version is without it yet")


def test_a_service_that_knows_no_faults_at_all_is_no_clean_bill(lock: Path, httpserver: HTTPServer) -> None:
    ends, said = run(lock, **osv(httpserver, []))
    assert ends == 2
    known = "nothing is known of tornado==6.4.2, which has faults"
    assert said[0] == f"NOT AUDITED  {known}: the service has no data of faults"


def test_a_service_that_cannot_be_reached_is_no_clean_bill(lock: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/query"
    ends, said = run(lock, PIP_AUDIT_VULNERABILITY_SERVICE="osv", PIP_AUDIT_OSV_URL=nobody)
    assert ends == 2
    assert said[0].startswith("NOT AUDITED  pip-audit failed: ")
    assert "Connection refused" in said[0]
    assert said[1].startswith("This is no clean bill")


def test_a_package_that_was_not_looked_up_is_no_clean_bill(monkeypatch: pytest.MonkeyPatch) -> None:
    module = audit()
    skipped = {"name": "six", "skip_reason": "not on the index"}
    answers = iter([[fault("tornado", "6.4.2", "6.5")], [{"name": "fine", "version": "1", "vulns": []}, skipped]])
    monkeypatch.setattr(module, "audited", lambda requirements: next(answers))
    with pytest.raises(module.NotAudited, match=r"1 of 2 packages were not looked up: six \(not on the index\)"):
        module.faults_of(Path("lock.txt"))
