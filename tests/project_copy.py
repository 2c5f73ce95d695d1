"""The project's files somewhere else, as they are here: what is not committed yet is tested too."""

import shutil
import subprocess
from pathlib import Path

import yaml

from ops.paths import ROOT


def copy_project(to: Path, *names: str) -> None:
    """Copy the files that git knows or would add, all or those below some names, to where they belong in `to`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *names]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():  # a deleted one is listed until that is committed
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, to / name)


def retry_at_once(project: Path) -> None:
    """In a copy of the project, leave out the seconds between a block's attempts: they are the same number."""
    settings = project / "metadata.yaml"
    settings.write_text(settings.read_text().replace("\n  delay: 5\n", "\n  delay: 0\n"))
    assert yaml.safe_load(settings.read_text())["retry_config"]["delay"] == 0
