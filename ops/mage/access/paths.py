"""
Which files a request to Mage's server may have it open: the project and Mage's own data, and programs to read.

What is git's, and the file of Google's key, no request may: its patch, files_outside_project, asks here.
"""

import os
import sys
import tempfile
from functools import cache
from pathlib import Path

from ops.paths import PROJECT, ROOT

SYSTEM = ("/etc/mime.types", "/etc/ssl", "/usr/lib", "/usr/local/lib", "/usr/share", "/dev/urandom")
KEYS = ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACC_KEY_FILEPATH")
"""Settings that name the file of a key: logs and outputs may be in a bucket."""


def is_inside(path: str, project: Path) -> bool:
    """Whether a path, as the server would open it, is the project or in it, symbolic links followed."""
    if not path or "\0" in path:
        return False
    real = os.path.realpath(path)
    return not (is_of_git(real) or is_key(real)) and _is_below(real, (os.path.realpath(project),))


def may_open(path: str, write: bool) -> bool:
    """Whether what a request asks for may lead to this file."""
    real = os.path.realpath(path)
    if is_of_git(real) or is_key(real):
        return False
    to_write, to_read, files = allowed()
    return real in files or _is_below(real, to_write) or (not write and _is_below(real, to_read))


def _is_below(real: str, roots: tuple[str, ...]) -> bool:
    """Whether a path without symbolic links is one of the folders, or in one."""
    return any(real == root or real.startswith(root + os.sep) for root in roots)


@cache
def allowed() -> tuple[tuple[str, ...], tuple[str, ...], frozenset[str]]:
    """The folders to write to, those to read only, and single files, all without symbolic links."""
    from jupyter_core.paths import jupyter_runtime_dir
    from mage_ai.settings.repo import get_data_dir, get_variables_dir
    from mage_ai.settings.utils import base_repo_path

    own: tuple[str | Path, ...] = (
        base_repo_path(),
        get_data_dir(),
        get_variables_dir(),
        tempfile.gettempdir(),
        jupyter_runtime_dir(),
    )
    programs: tuple[str | Path, ...] = (sys.prefix, sys.base_prefix, ROOT / "ops", PROJECT / "utils", *SYSTEM)
    return tuple(map(_real, own)), tuple(map(_real, programs)), frozenset({os.devnull})


def is_of_git(real: str) -> bool:
    """Whether a path without symbolic links is git's own: a remote's address in there may hold a password."""
    return ".git" in Path(real).parts or real.startswith(os.path.join(Path.home(), ".gitconfig"))


def is_key(real: str) -> bool:
    """Whether a path without symbolic links is the file of Google's key."""
    return real in _keys()


@cache
def _keys() -> frozenset[str]:
    return frozenset(_real(os.environ[name]) for name in KEYS if os.environ.get(name))


def _real(path: str | os.PathLike[str]) -> str:
    return os.path.realpath(os.path.expanduser(path))
