"""Where things are: the project, Mage's program, and the files of the local stack."""

import os
import sys
import tempfile
from pathlib import Path

from ops.errors import LocalStackError

HOST = "127.0.0.1"
"""Where everything of this machine listens: on the loopback only."""
ROOT = Path(__file__).resolve().parent.parent
PROJECT = ROOT / "magic-zoomcamp"
MAGE = (sys.executable, "-P", str(ROOT / "ops" / "mage" / "program.py"))
"""The command of Mage, patched: before `run ...` or `start ...`, in place of the script `mage`."""


def local_dir() -> Path:
    """Folder of everything the local stack writes: NYC_TAXI_LOCAL_DIR, else `.local` in the repository."""
    return Path(os.environ.get("NYC_TAXI_LOCAL_DIR") or ROOT / ".local").resolve()


def emulator_python() -> Path:
    """The Python that has the emulators' packages: they would not fit mage-ai's pins. Made by `make setup`."""
    return ROOT / ".venv-emulators" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def write_private(path: Path, text: str) -> None:
    """
    Write `text` so that a reader sees the old file or the whole new one; readable by its owner only.

    LocalStackError where nothing can be kept from others: Postgres would refuse its data there, too.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")  # mkstemp's mode is 600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            if sys.platform != "win32" and os.fstat(handle).st_mode & 0o077:
                raise LocalStackError(
                    f"{path.parent} is on a file system without Unix permissions, such as a Windows drive or exFAT: "
                    "set NYC_TAXI_LOCAL_DIR to a folder of this system's own disk, such as $HOME/nyc-taxi"
                )
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
