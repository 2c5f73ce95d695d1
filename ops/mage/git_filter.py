"""
The project as git sees it while Mage works in it.

Mage writes into the metadata.yaml of each pipeline that it runs: where this machine keeps its outputs, and which blocks
ran. A git filter, which .gitattributes names, puts back what is committed. That is not enough for `git status`: it
takes a file of another size as changed without a look at its content, until it is told to look.
"""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

COMMITTED_DATA_DIR = "/home/src/mage_data/magic-zoomcamp"
PIPELINES = "pipelines/*/metadata.yaml"
LOOK_SECONDS = 1
# What sed does with one block, from its first key to its last: nothing has run, so that only the blocks without one
# above them have all of those executed. Blocks are kept in the hold space until their upstream_blocks are known.
_BLOCK = (
    "/^- all_upstream_blocks_executed:/,/^  uuid:/{H;/^  uuid:/!d;s/.*//;x;s/^\\n//;s/: [a-z]*/: false/;"
    "/\\n  upstream_blocks: \\[]/s/: false/: true/;}"
)
CLEAN_FILTER = (
    f"sed -e 's|^variables_dir: .*|variables_dir: {COMMITTED_DATA_DIR}|' "
    f"-e 's/^  status: .*/  status: not_executed/' -e '{_BLOCK}'"
)


def install_git_filter(project: Path) -> bool:
    """Tell this checkout's git about the filter that .gitattributes names; whether the project lies in a checkout."""
    inside = _git(project, "rev-parse").returncode == 0
    if inside:
        _git(project, "config", "--local", "filter.mage-paths.clean", CLEAN_FILTER).check_returncode()
    return inside


def look_again(project: Path) -> bool:
    """
    Make git look at the pipelines whose size changed, and see that their content did not; whether it could.

    What a person changed stays changed, and is not staged. It could not while another git has the index.
    """
    touched = _names(project, "diff-files")
    same = touched - _names(project, "diff") if touched else touched
    if not same:
        return True
    before = _staged(project, same)
    looked = _git(project, "update-index", "--", *sorted(same)).returncode == 0
    if _staged(project, same) == before:
        return looked
    # Mage writes a file in two steps, and git looked in between: what was staged is put back, and looked at later.
    _git(project, "update-index", "-z", "--index-info", stdin=before)
    return False


@contextmanager
def kept_clean(project: Path) -> Iterator[None]:
    """Hide what belongs to this machine from git, again whenever Mage has written it; no checkout is no error."""
    if not install_git_filter(project):
        yield
        return
    stop = threading.Event()
    watching = threading.Thread(target=_watch, args=(project, stop), daemon=True)
    watching.start()
    try:
        yield
    finally:
        stop.set()
        watching.join()
        look_again(project)


def _watch(project: Path, stop: threading.Event) -> None:
    """Look again in the second after a pipeline was written, and once for what was written before."""
    seen: dict[Path, int] = {}
    while not stop.wait(LOOK_SECONDS):
        now = _written(project)
        if now != seen and look_again(project):
            seen = now


def _written(project: Path) -> dict[Path, int]:
    """When each pipeline was written last."""
    written = {}
    for path in project.glob(PIPELINES):
        with suppress(FileNotFoundError):  # deleted just now
            written[path] = path.stat().st_mtime_ns
    return written


def _names(project: Path, command: str) -> set[str]:
    listed = _git(project, command, "--relative", "--name-only", "-z", "--", PIPELINES).stdout
    return {name for name in listed.split("\0") if name}


def _staged(project: Path, names: set[str]) -> str:
    """What the index has of the files, in the form that `git update-index --index-info` takes."""
    return _git(project, "ls-files", "--stage", "--full-name", "-z", "--", *sorted(names)).stdout


def _git(project: Path, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["git", *arguments], cwd=project, input=stdin, capture_output=True, text=True, check=False)
