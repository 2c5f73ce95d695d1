"""Every lock installs from wheels alone on every platform that the project is for, and by every Python."""

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import pytest

from ops.paths import ROOT
from ops.set_up import LOCKS, MAIN

PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin")
PYTHONS = ("3.11", "3.12")
WRITTEN = sorted({lock for locks in LOCKS.values() for lock in locks} | {"requirements.txt"})
UV = str(ROOT / MAIN / "bin" / "uv")


def dry_run(lock: Path, folder: Path, platform: str, python: str) -> str:
    """What keeps a lock from being installed on a platform; empty when nothing does. Only the index is asked."""
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--python-platform", platform]
    command = [UV, "pip", "install", "--dry-run", "--system-certs", "--quiet", *options, "--python-version", python]
    target = folder / f"{platform} {python}"
    # Elsewhere: what pyproject.toml says of versions must not come on top.
    ran = subprocess.run(
        [*command, "--target", target, "-r", lock], cwd=folder, capture_output=True, text=True, check=False
    )
    if re.search("error sending request|dns error", ran.stderr):
        pytest.skip("the package index cannot be reached")
    return f"{platform}, Python {python}: {ran.stderr}" if ran.returncode else ""


def faults(lock: Path, folder: Path) -> list[str]:
    """The same for every platform and Python."""
    with ThreadPoolExecutor(6) as workers:
        found = workers.map(lambda where: dry_run(lock, folder, *where), product(PLATFORMS, PYTHONS))
        return [fault for fault in found if fault]


def test_every_lock_is_looked_at() -> None:
    listed = subprocess.run(["git", "ls-files", "*.txt"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert sorted(name for name in listed.split() if "--hash=" in (ROOT / name).read_text()) == WRITTEN


@pytest.mark.parametrize("lock", WRITTEN)
def test_a_lock_has_a_wheel_of_every_package_for_every_platform(lock: str, tmp_path: Path) -> None:
    assert faults(ROOT / lock, tmp_path) == []


def test_a_package_without_such_a_wheel_is_found(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("psutil==5.9.8 --hash=sha256:7be9c3eba38beccb6495ea33afd982a44074b78f28c434a1f51cc07fd315c47d\n")
    found = faults(lock, tmp_path)
    assert [fault.split(",")[0] for fault in found] == ["aarch64-manylinux_2_28"] * 2
    assert all("psutil==5.9.8 has no usable wheels" in fault for fault in found)


def test_make_lock_writes_every_lock(tmp_path: Path) -> None:
    told = subprocess.run(["make", "--dry-run", "lock"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for lock in set(WRITTEN) - {"tests/deploy/provider/requirements.txt"}:  # one wheel that is only read
        assert lock.removesuffix(".txt") in told
    assert told.count("--universal") == 5


def pins(lock: str) -> dict[str, str]:
    """The version of every package."""
    return dict(re.findall(r"^([\w.-]+)(?:\[\S+\])?==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))


def test_requirements_txt_is_part_of_the_developers_lock() -> None:
    assert pins("requirements.txt").items() <= pins("requirements-dev.txt").items()


def test_dlt_changes_no_version_of_another_package() -> None:
    project, with_dlt = pins("requirements.txt"), pins("tests/pipelines/dlt.txt")
    assert "dlt" in with_dlt
    assert {name: version for name, version in with_dlt.items() if project.get(name, version) != version} == {}
