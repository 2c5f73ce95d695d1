"""What Python itself may read and write for a request; tests/server/front_door/test_files.py has what people ask."""

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from ops.mage.access import paths
from ops.mage.front_door import HANDLED
from ops.mage.patches.front_door import files_outside_project


@pytest.fixture
def request_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A request at work, in a process whose programs are in tmp_path."""
    monkeypatch.syspath_prepend(tmp_path)
    programs = (str(tmp_path / "installed"), sys.prefix, sys.base_prefix)
    monkeypatch.setattr(paths, "allowed", lambda: ((), programs, frozenset()))
    request = SimpleNamespace(method="GET", path="/api/pipelines")
    sys.addaudithook(partial(files_outside_project._hear, os.getpid()))  # asks nothing once the request is over
    before = HANDLED.set(request)  # type: ignore[arg-type]
    yield request
    HANDLED.reset(before)


def test_a_module_that_is_imported_for_the_first_time_keeps_its_bytecode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_in: SimpleNamespace
) -> None:
    cached = tmp_path / "installed" / "__pycache__" / f"first_import.{sys.implementation.cache_tag}.pyc"
    with at_rest():
        cached.parent.parent.mkdir()
        (tmp_path / "installed" / "first_import.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path / "installed")
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    import first_import  # type: ignore[import-not-found]

    assert first_import.x == 1
    assert cached.exists()
    assert not hasattr(request_in, "led_outside")
    with pytest.raises(files_outside_project.OutsideProjectError):
        cached.write_bytes(b"")
    assert request_in.led_outside


def test_modules_and_packages_are_found_in_a_folder_that_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_in: SimpleNamespace
) -> None:
    """Python lists the folders of sys.path again when they changed; the name of a path hook is one of them."""
    monkeypatch.syspath_prepend("__editable__.mine.path_hook__")
    with at_rest():
        (tmp_path / "made_since.py").touch()
    assert importlib.util.find_spec("made_since")
    assert "pytest" in {found.name for found in importlib.metadata.distributions()}
    assert not hasattr(request_in, "led_outside")
    with pytest.raises(files_outside_project.OutsideProjectError):
        os.listdir(tmp_path)


def test_a_folder_of_the_project_is_removed_with_all_that_is_in_it_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_in: SimpleNamespace
) -> None:
    with at_rest():
        for name in ("project", "other"):
            (tmp_path / name / "folder").mkdir(parents=True)
            (tmp_path / name / "folder" / "metadata.yaml").touch()
    monkeypatch.setattr(paths, "allowed", lambda: ((str(tmp_path / "project"),), (), frozenset()))
    monkeypatch.setattr(shutil, "_use_fd_functions", shutil._use_fd_functions)  # type: ignore[attr-defined]
    files_outside_project._remove_by_whole_paths()
    shutil.rmtree(tmp_path / "project" / "folder")
    assert not hasattr(request_in, "led_outside")
    with pytest.raises(files_outside_project.OutsideProjectError):
        shutil.rmtree(tmp_path / "other")
    with at_rest():
        assert {path.name for path in tmp_path.rglob("*")} == {"project", "other", "folder", "metadata.yaml"}


@contextmanager
def at_rest() -> Iterator[None]:
    """No request."""
    before = HANDLED.set(None)
    yield
    HANDLED.reset(before)
