"""Machines that cannot run this: each is told in one line, before anything crashes or lies open."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from ops import cpu, set_up
from ops.commands.doctor import machine
from ops.commands.doctor.finding import Finding
from ops.container.start import prepared
from ops.errors import LocalStackError
from ops.paths import PROJECT, ROOT, write_private
from ops.stack import postgres
from ops.stack.environment import environment

CPUINFO = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu sse4_2 avx {avx2} xsave\nbugs\t\t:\n"
NEW, OLD = CPUINFO.format(avx2="avx2"), CPUINFO.format(avx2="f16c")


@pytest.fixture
def old_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "processor_features", lambda: OLD)


@pytest.mark.parametrize("features", [NEW, "", "FPU AVX1.0 \nRDWRFSGS AVX2 BMI2"], ids=["linux", "arm", "mac"])
def test_a_processor_that_does_or_may_do_is_let_through(features: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "processor_features", lambda: features)
    cpu.refuse_old_cpu()


@pytest.mark.usefixtures("old_cpu")
def test_no_start_of_mage_on_a_processor_without_avx2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NYC_TAXI_LOCAL_DIR", str(tmp_path))
    for start in (environment, lambda: prepared({}, [])):
        with pytest.raises(LocalStackError, match=r"has no AVX2, without which Mage ends with `Illegal instruction`"):
            start()
    assert list(tmp_path.iterdir()) == []
    found = Finding.of("processor", machine.processor, {})
    assert (found.state, "no AVX2" in found.text) == ("FAIL", True)


def test_this_processor_is_asked_about_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    if platform.machine() == "x86_64" and sys.platform == "linux":
        assert cpu.processor_features() == Path("/proc/cpuinfo").read_text()
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert cpu.processor_features() == ""


def test_polars_is_what_needs_it() -> None:
    code = (
        "import sys; from ops.stack import environment; from ops.container import start; print('polars' in sys.modules)"
    )
    asked = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert asked.stdout == "False\n"


@pytest.fixture
def no_permissions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is everybody's, as on a Windows drive under WSL: a mode is asked for, and forgotten."""
    fstat = os.fstat

    def forgetful(handle: int) -> os.stat_result:
        mode, *others = fstat(handle)
        return os.stat_result((int(mode) | 0o777, *others))

    monkeypatch.setattr(os, "fstat", forgetful)


@pytest.mark.usefixtures("no_permissions")
def test_a_folder_without_permissions_is_refused_and_another_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        LocalStackError, match=r"without Unix permissions.* set NYC_TAXI_LOCAL_DIR to a folder of"
    ) as said:
        postgres.start(tmp_path / "postgres")
    assert str(said.value).startswith(f"{tmp_path} ")
    assert not list(tmp_path.glob("*password*"))
    assert not (tmp_path / "postgres").exists()


def test_a_folder_with_permissions_keeps_a_secret(tmp_path: Path) -> None:
    write_private(tmp_path / "secret", "1234")
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


# --- macOS, where New Relic's agent has no wheel ----------------------------------------------------------------------

ABSENT = ROOT / "ops" / "mage" / "newrelic_absent"


def python(code: str, **env: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_where_new_relic_is_installed_it_is_what_is_imported() -> None:
    assert "site-packages" in python("import newrelic.agent; print(newrelic.agent.__file__)")


def test_where_it_is_not_its_place_is_taken() -> None:
    hidden = (
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "class Hides(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        "        return None if name == 'newrelic' else super().find_spec(name, path, target)\n"
        "sys.meta_path[sys.meta_path.index(PathFinder)] = Hides\n"
        "import newrelic.agent; print(newrelic.agent.__file__)"
    )
    assert python(hidden) == f"{ABSENT / 'newrelic' / 'agent.py'}\n"


@pytest.mark.mage
@pytest.mark.parametrize("wanted", ["", "1"])
def test_mage_runs_a_pipeline_without_new_relic_and_says_so_when_it_is_wanted(wanted: str, tmp_path: Path) -> None:
    code = f"import sys; sys.argv = ['mage', 'run', {str(PROJECT)!r}, 'example_pipeline', '--test']\n"
    code += "from mage_ai.cli.main import app; app()"
    told = python(code, PYTHONPATH=str(ABSENT), ENABLE_NEW_RELIC=wanted, MAGE_DATA_DIR=str(tmp_path))
    assert "Pipeline run completed." in told
    assert ("New Relic's agent has no package for this system" in told) == bool(wanted)


def test_a_disk_that_knows_no_links_is_told_by_the_set_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(set_up, "LOG", tmp_path / "log")
    monkeypatch.setitem(set_up.LOCKS, "tests/none", ("requirements-uv.txt",))
    monkeypatch.setattr(set_up, "_fill", refuse)
    with pytest.raises(set_up.SetUpFailed, match="is on a file system without links and permissions"):
        set_up.make("tests/none")
