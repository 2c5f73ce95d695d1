"""Folders that a container writes into: tried before Mage needs them, with another in their place where they fail."""

import os
import shutil
import tempfile
from pathlib import Path

from ops.container.say import say
from ops.errors import StartRefused


def make_data(data: Path) -> Path:
    """Mage's folder and a home in it, whoever we are; the home. StartRefused where it cannot be written."""
    home = data / "home"
    if why := _unwritable(home):
        raise StartRefused(
            f"MAGE_DATA_DIR {data} cannot be written by user {os.geteuid()}: {why}. Give it to that user, or name a "
            "folder of theirs"
        )
    return home


def choose_staging(env: dict[str, str], data: Path) -> None:
    """
    Try STAGING_DIR. Where it cannot be written, a folder beside Mage's data takes its place, and the log says so.

    On Cloud Run a volume may belong to root: the server would come up, and load no month.
    """
    own = data / "staging"
    wanted = Path(env.get("STAGING_DIR") or own)
    env["STAGING_DIR"] = str(wanted)
    if why := _unwritable(wanted):
        if wanted == own or (worse := _unwritable(own)):
            raise StartRefused(f"STAGING_DIR {wanted} cannot be written: {why if wanted == own else worse}")
        env["STAGING_DIR"] = str(own)
        if Path(env.get("REPORTS_DIR") or own).is_relative_to(wanted):
            env.pop("REPORTS_DIR", None)
        say(
            f"WARNING STAGING_DIR {wanted} cannot be written by user {os.geteuid()} ({why}): {own}, on the container's "
            "own disk, takes its place"
        )


def _unwritable(folder: Path) -> str | None:
    """Why a folder cannot be made or written; None when it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def writable_project(project: Path, data: Path, *, anew: bool) -> Path:
    """The project, or a copy of one that may only be read: Mage does not start without writing into its project."""
    if os.access(project, os.W_OK, effective_ids=True):
        return project
    if not os.access(project, os.R_OK | os.X_OK, effective_ids=True):
        raise StartRefused(
            f"{project} cannot be read by user {os.geteuid()}: put MAGE_UID=<the owner's id> into .env; where SELinux "
            "keeps it, chcon -R -t container_file_t magic-zoomcamp"
        )
    copy = data / "project" / project.name
    if anew or not copy.exists():
        shutil.rmtree(copy, ignore_errors=True)
        # A file that may not be written there may be here: modes are not taken over.
        shutil.copytree(project, copy, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copyfile)
        copy.chmod(0o755)
        say(
            f"WARNING {project} is of user {project.stat().st_uid} and cannot be written by user {os.getuid()}: Mage "
            "works on a copy, and what its web UI saves is gone with the next start. Put MAGE_UID=<the owner's id> "
            "into .env"
        )
    return copy
