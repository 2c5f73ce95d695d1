"""The environments: made from the locks whatever the shell says, and what is said when they cannot be."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ops.paths import ROOT
from ops.set_up import LOCKS, MAIN, UV
from tests.project_copy import copy_project

NOWHERE = dict.fromkeys(("UV_DEFAULT_INDEX", "PIP_INDEX_URL"), "http://127.0.0.1:9/simple") | {"UV_HTTP_RETRIES": "0"}
EMULATORS = ".venv-emulators"


def lock_of(*names: str) -> str:
    """A lock of a few small packages, with the versions and hashes of the project's own."""
    blocks = re.split(r"\n(?=\S)", (ROOT / "requirements-dev.txt").read_text())
    found = [next(block for block in blocks if block.startswith(f"{name}==")) for name in names]
    return "\n".join(found) + "\n"


def test_windows_itself_is_refused_in_a_line(tmp_path: Path) -> None:
    command = ["sh", "ops/set_up.sh", str(tmp_path / "venv")]
    env = {"PATH": os.environ["PATH"], "OS": "Windows_NT"}  # as in Git Bash
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "FAILED  Windows lacks what Mage and this project call: run the same in WSL 2, or use Docker" in done.stderr
    assert not (tmp_path / "venv").exists()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose locks hold a handful of small packages."""
    folder = tmp_path / "checkout"
    copy_project(folder, "ops", "pyproject.toml", *(lock for locks in LOCKS.values() for lock in locks))
    (folder / "magic-zoomcamp" / "utils" / "nyc_taxi").mkdir(parents=True)
    (folder / LOCKS[MAIN][0]).write_text(lock_of("setuptools", "wheel", "packaging", "six"))
    (folder / LOCKS[EMULATORS][0]).write_text(lock_of("six"))
    return folder


@pytest.fixture
def with_uv(checkout: Path) -> Path:
    """The same, with the uv of this checkout, which then need not be fetched."""
    if not (ROOT / UV / ".ready").exists():
        subprocess.run(["sh", str(ROOT / "ops" / "set_up.sh"), UV], check=True)
    (checkout / UV).symlink_to(ROOT / UV)
    return checkout


def set_up(checkout: Path, *names: str, before: str = "", **env: str) -> "subprocess.CompletedProcess[str]":
    """Run the set-up, after the shell's commands `before`, where the checkout is the working folder."""
    script = f"set -e; cd {checkout}; {before or ':'}; exec sh ops/set_up.sh {' '.join(names)}"
    command = ["unshare", "--user", "--map-root-user", "--mount"] if "mount" in before else []
    usual = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PYTHON": sys.executable}
    return subprocess.run(
        [*command, "sh", "-c", script], env={**usual, **env}, capture_output=True, text=True, check=False, timeout=300
    )


def refused(ran: "subprocess.CompletedProcess[str]") -> str:
    """The one line of a set-up that failed."""
    assert ran.returncode == 1, ran.stdout + ran.stderr
    [line] = ran.stderr.splitlines()
    assert line.startswith("FAILED  ")
    return line


def runs(checkout: Path, name: str, code: str) -> bool:
    return subprocess.run([str(checkout / name / "bin" / "python"), "-c", code], check=False).returncode == 0


needs_mounts = pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.run(
        ["unshare", "-Urm", "mount", "-t", "tmpfs", "x", "/mnt"], capture_output=True, check=False
    ).returncode
    != 0,
    reason="no file system can be mounted here",
)

# --- Made -------------------------------------------------------------------------------------------------------------


def test_pip_brings_uv_which_does_the_rest_with_the_bytecode(checkout: Path) -> None:
    ran = set_up(checkout, MAIN, EMULATORS)
    assert ran.returncode == 0, ran.stderr
    assert runs(
        checkout, MAIN, "import six, ops.paths; assert six.__cached__ and __import__('os').path.exists(six.__cached__)"
    )
    assert runs(checkout, EMULATORS, "import six")
    pinned = re.search(r"^uv==(\S+)", (ROOT / LOCKS[UV][0]).read_text(), re.MULTILINE)
    assert pinned
    asked = subprocess.run([str(checkout / UV / "bin" / "uv"), "--version"], capture_output=True, text=True, check=True)
    assert asked.stdout.split()[1] == pinned[1]


def test_one_version_of_uv_makes_the_environments_and_the_locks() -> None:
    found = [re.findall(r"^uv==(\S+)", (ROOT / lock).read_text(), re.MULTILINE) for lock in (*LOCKS[UV], *LOCKS[MAIN])]
    assert found[0] == found[1]
    assert len(found[0]) == 1


def test_the_shells_own_settings_of_python_pip_and_uv_mislead_nobody(with_uv: Path, tmp_path: Path) -> None:
    elsewhere = str(tmp_path / "elsewhere")
    shell = {
        "VIRTUAL_ENV": elsewhere,
        "CONDA_PREFIX": elsewhere,
        "PYTHONPATH": elsewhere,
        "PYTHONHOME": elsewhere,
        "PIP_TARGET": elsewhere,
        "PIP_USER": "1",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "UV_TARGET": elsewhere,
        "UV_PYTHON": "3.9",
        "UV_SYSTEM_PYTHON": "1",
        "UV_NO_BINARY": "1",
        "UV_PROJECT_ENVIRONMENT": elsewhere,
    }
    ran = set_up(with_uv, MAIN, **shell)
    assert ran.returncode == 0, ran.stderr
    assert runs(with_uv, MAIN, f"import six, sys; assert sys.version_info[:2] == {sys.version_info[:2]}")
    assert not Path(elsewhere).exists()


def test_a_finished_environment_is_left_alone_and_a_new_lock_is_installed(with_uv: Path) -> None:
    assert set_up(with_uv, EMULATORS).returncode == 0
    mark = with_uv / EMULATORS / "mark"
    mark.touch()
    assert set_up(with_uv, EMULATORS, **NOWHERE).returncode == 0, "nothing is to be fetched"
    (with_uv / LOCKS[EMULATORS][0]).write_text(lock_of("six", "wheel"))
    assert set_up(with_uv, EMULATORS).returncode == 0
    assert runs(with_uv, EMULATORS, "import six, wheel")
    assert mark.exists()


def test_of_another_python_an_environment_is_made_anew_only_where_that_is_asked_for(with_uv: Path) -> None:
    assert set_up(with_uv, EMULATORS).returncode == 0
    mark, config = with_uv / EMULATORS / "mark", with_uv / EMULATORS / "pyvenv.cfg"
    mark.touch()
    said = config.read_text()
    config.write_text(re.sub(r"version_info = [\d.]+", "version_info = 3.10.4", said))
    assert said != config.read_text()
    assert set_up(with_uv, EMULATORS, PYTHON="").returncode == 0
    assert mark.exists()
    assert set_up(with_uv, EMULATORS, PYTHON=sys.executable).returncode == 0
    assert (mark.exists(), config.read_text()) == (False, said)
    assert runs(with_uv, EMULATORS, "import six")


def test_an_interrupted_environment_is_made_anew(with_uv: Path) -> None:
    # Something large enough to be met on the way.
    (with_uv / LOCKS[EMULATORS][0]).write_text(lock_of("six", "pyarrow", "scipy", "numpy"))
    environment = with_uv / EMULATORS
    command = ["sh", str(with_uv / "ops" / "set_up.sh"), EMULATORS]
    running = subprocess.Popen(command, env={**os.environ, "PYTHON": sys.executable}, start_new_session=True)
    until(lambda: environment.joinpath("pyvenv.cfg").exists())
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (environment / ".ready").exists()
    (environment / "half").touch()
    ran = set_up(with_uv, EMULATORS)
    assert ran.returncode == 0, ran.stderr
    assert not (environment / "half").exists()
    assert runs(with_uv, EMULATORS, "import six, pyarrow.parquet, scipy")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_at_once_make_one_environment(with_uv: Path) -> None:
    command = ["sh", str(with_uv / "ops" / "set_up.sh"), EMULATORS]
    running = [
        subprocess.Popen(command, env={**os.environ, "PYTHON": sys.executable}, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert sum("Installing" in text for text in told) == 1


# --- Refused ----------------------------------------------------------------------------------------------------------


def programs(folder: Path, **scripts: str) -> Mapping[str, str]:
    """A PATH with these programs alone."""
    folder.mkdir()
    for name, script in scripts.items():
        path = folder / name.replace("_", ".")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    for needed in ("sh", "dirname"):
        (folder / needed).symlink_to(str(shutil.which(needed)))
    return {"PATH": str(folder), "PYTHON": ""}


def test_no_python_is_one_line_that_says_how_to_get_one(checkout: Path, tmp_path: Path) -> None:
    line = refused(set_up(checkout, MAIN, **programs(tmp_path / "bin", python3="exit 1", python3_11="exit 127")))
    assert "No Python here is 3.11 or 3.12" in line
    for way in ("apt-get install python3.11-venv", "brew install python@3.11", "uv python install 3.11", "PYTHON="):
        assert way in line


def test_the_first_python_that_fits_is_taken(with_uv: Path, tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", python3_11="exit 127", python3_12="exit 1", python3=f'exec {sys.executable} "$@"')
    ran = set_up(with_uv, EMULATORS, **path)
    assert ran.returncode == 0, ran.stderr


def test_a_python_that_does_not_fit_is_not_taken_for_another(checkout: Path) -> None:
    assert "/no/such/python is not 3.11 or 3.12" in refused(set_up(checkout, MAIN, PYTHON="/no/such/python"))


def test_a_python_without_venv_is_named(checkout: Path, tmp_path: Path) -> None:
    bare = f'case "$*" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"'
    line = refused(set_up(checkout, MAIN, **programs(tmp_path / "bin", python3_11=bare)))
    assert "python3.11 comes without venv: apt-get install" in line


def test_without_network_one_line_says_so_and_the_next_run_goes_on(with_uv: Path, tmp_path: Path) -> None:
    line = refused(set_up(with_uv, EMULATORS, UV_CACHE_DIR=str(tmp_path / "cache"), **NOWHERE))
    assert "the package index does not answer: check network and proxy" in line
    assert not (with_uv / EMULATORS / ".ready").exists()
    assert "127.0.0.1" in (with_uv / ".local" / "set-up.log").read_text()
    ran = set_up(with_uv, EMULATORS)
    assert ran.returncode == 0, ran.stderr
    assert runs(with_uv, EMULATORS, "import six")


def test_without_network_pip_that_brings_uv_says_the_same(checkout: Path, tmp_path: Path) -> None:
    line = refused(set_up(checkout, EMULATORS, PIP_CACHE_DIR=str(tmp_path / "cache"), **NOWHERE))
    assert "the package index does not answer: check network and proxy" in line
    assert not (checkout / UV / ".ready").exists()


def test_uv_asks_the_index_that_pip_is_told_to_ask(with_uv: Path, tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = http://127.0.0.1:9/mirror\n")
    env = {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "UV_CACHE_DIR": str(tmp_path / "cache")}
    refused(set_up(with_uv, EMULATORS, UV_HTTP_RETRIES="0", **env))
    assert "http://127.0.0.1:9/mirror" in (with_uv / ".local" / "set-up.log").read_text()


def small_disk(folder: str) -> str:
    """The shell's commands that give a folder of the checkout a disk of 6 MB."""
    return f"mkdir {folder}; mount -t tmpfs -o size=6m x {folder}"


@needs_mounts
def test_a_full_disk_is_one_line_and_the_next_run_goes_on(with_uv: Path) -> None:
    (with_uv / LOCKS[EMULATORS][0]).write_text(lock_of("numpy"))
    assert "the disk is full: some 3 GB are needed" in refused(set_up(with_uv, EMULATORS, before=small_disk(EMULATORS)))
    assert not (with_uv / EMULATORS / ".ready").exists()
    ran = set_up(with_uv, EMULATORS)
    assert ran.returncode == 0, ran.stderr
    assert runs(with_uv, EMULATORS, "import numpy")


@needs_mounts
def test_a_full_disk_before_there_is_uv_is_the_same_line(checkout: Path) -> None:
    assert "the disk is full: some 3 GB are needed" in refused(set_up(checkout, EMULATORS, before=small_disk(UV)))


@needs_mounts
def test_a_checkout_that_may_only_be_read_is_one_line(with_uv: Path) -> None:
    read_only = f"mount --bind {with_uv} {with_uv}; mount -o remount,ro,bind {with_uv}; cd {with_uv}"
    line = refused(set_up(with_uv, EMULATORS, before=read_only))
    assert f"{with_uv} cannot be written: make a checkout where you may write" in line


def test_a_package_without_a_wheel_for_this_machine_is_one_line(with_uv: Path) -> None:
    (with_uv / LOCKS[EMULATORS][0]).write_text("newrelic==7.10.0.175 --hash=sha256:" + "0" * 64 + "\n")
    assert "a package has no wheel for this machine" in refused(set_up(with_uv, EMULATORS))
