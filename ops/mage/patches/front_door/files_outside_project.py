"""
What a request has Mage read or write stays in the project.

Fault: many of Mage's resources make a path of what a request says, in its address, its query or its body. Some check
it, by its letters and not by where symbolic links lead; `browser_items` takes any path of the machine: /etc/passwd, the
environment of the server with its secrets, files outside the project to write.

Patch: Python itself is asked, by an audit hook. While a request is handled, a file that is opened, listed, made, moved
or removed must be in the project or in Mage's own data, or, to be read, belong to the installed programs, symbolic
links followed. Anything else is refused with 403, whichever resource it was and however the path was written. What a
block does when it is executed is its own affair. Resources that show files show those of the project only.
"""

import asyncio
import importlib.metadata
import inspect
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextvars import copy_context
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from ops.mage.front_door import HANDLED
from ops.paths import PROJECT, ROOT

UPSTREAM = "https://github.com/mage-ai/mage-ai/issues/6134"
MODULE = "mage_ai.server.server"
MESSAGE = "That file is not in the project"
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
LISTS = frozenset({"os.listdir", "os.scandir"})
CHANGES = {
    "os.chmod": 1,
    "os.link": 2,
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rename": 2,
    "os.rmdir": 1,
    "os.symlink": 2,
    "os.truncate": 1,
}
"""Python's audit events of changes, and how many of their arguments are paths."""
SYSTEM = ("/etc/mime.types", "/etc/ssl", "/usr/lib", "/usr/local/lib", "/usr/share", "/dev/urandom")
KEYS = ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACC_KEY_FILEPATH")
"""Settings that name the file of a key, which Google's clients read: logs and outputs may be in a bucket."""
IMPORT = "<frozen importlib._bootstrap_external>"
INSTALLED = importlib.metadata.__file__


class OutsideProjectError(PermissionError):
    """A request led to a file that is not the project's."""

    code = 403
    message = MESSAGE


def is_needed(_: ModuleType) -> bool:
    """Whether the resource that takes any path asks nothing of it."""
    from mage_ai.api.resources import BrowserItemResource

    return "ensure_file_is_in_project" not in inspect.getsource(BrowserItemResource)


def apply(server: Any) -> None:
    """Watch this process, and none that it starts."""
    from mage_ai.data_preparation.models.block import Block

    sys.addaudithook(partial(_hear, os.getpid()))
    _remove_by_whole_paths()
    _keep_request_in_threads()
    _answer_refusals(server.BaseHandler)
    _show_project_only()
    execute = Block.execute_sync

    def execute_unwatched(self: Any, *args: Any, **given: Any) -> Any:
        before = HANDLED.set(None)
        try:
            return execute(self, *args, **given)
        finally:
            HANDLED.reset(before)

    Block.execute_sync = execute_unwatched


def is_inside(path: str, project: Path) -> bool:
    """Whether a path, as the server would open it, is the project or in it, symbolic links followed."""
    if not path or "\0" in path:
        return False
    return _is_below(os.path.realpath(path), (os.path.realpath(project),))


def may_open(path: str, write: bool) -> bool:
    """Whether what a request asks for may lead to this file."""
    real = os.path.realpath(path)
    to_write, to_read, files = _allowed()
    return real in files or _is_below(real, to_write) or (not write and _is_below(real, to_read))


def _is_below(real: str, roots: tuple[str, ...]) -> bool:
    """Whether a path without symbolic links is one of the folders, or in one."""
    return any(real == root or real.startswith(root + os.sep) for root in roots)


@cache
def _allowed() -> tuple[tuple[str, ...], tuple[str, ...], frozenset[str]]:
    """The folders to write to, those to read only, and single files, all without symbolic links."""
    from jupyter_core.paths import jupyter_runtime_dir
    from mage_ai.settings.repo import get_data_dir, get_variables_dir
    from mage_ai.settings.utils import base_repo_path

    project, home = Path(base_repo_path()), Path.home()
    git = next((folder / ".git" for folder in (project, *project.parents) if (folder / ".git").exists()), project)
    own: tuple[str | Path, ...] = (
        project,
        git,
        get_data_dir(),
        get_variables_dir(),
        tempfile.gettempdir(),
        jupyter_runtime_dir(),
    )
    programs: tuple[str | Path, ...] = (sys.prefix, sys.base_prefix, ROOT / "ops", PROJECT / "utils", *SYSTEM)
    google = [os.environ[name] for name in KEYS if os.environ.get(name)]
    files: tuple[str | Path, ...] = (os.devnull, home / ".gitconfig", home / ".gitconfig.lock", *google)
    return tuple(map(_real, own)), tuple(map(_real, programs)), frozenset(map(_real, files))


def _real(path: str | os.PathLike[str]) -> str:
    return os.path.realpath(os.path.expanduser(path))


def _hear(pid: int, event: str, args: tuple[Any, ...]) -> None:
    """Refuse what a request may not do; called for everything that Python does in this process."""
    if event == "open":
        paths, write = args[:1], bool((args[2] or 0) & WRITING)
    elif event in CHANGES:
        paths, write = args[: CHANGES[event]], True
    elif event in LISTS:
        paths, write = args[:1], False
    else:
        return
    request: Any = HANDLED.get()
    if request is None or os.getpid() != pid:
        return
    for path in paths:
        if path is None or isinstance(path, int):  # the folder where the server runs, or what is open already
            continue
        name = os.fsdecode(path)
        if (
            may_open(name, write)
            or (event == "os.mkdir" and os.path.isdir(name))
            or _is_pythons_own(event, name, write)
        ):
            continue
        print(f"{request.method} {request.path} refused: {event} of {name!r} outside the project", flush=True)
        # A search through folders goes on without the one that it may not list.
        request.led_outside = getattr(request, "led_outside", False) or event not in LISTS
        raise OutsideProjectError(MESSAGE)


def _is_pythons_own(event: str, name: str, write: bool) -> bool:
    """Whether Python itself asks: to find a module and keep what it compiled of it, or which packages are installed."""
    caller = sys._getframe(2)
    by_import = caller.f_code.co_filename == IMPORT
    if write:
        return by_import and "__pycache__" in Path(name).parts and may_open(name, write=False)
    if by_import and event in LISTS:  # a folder that it may not list would be an empty one to it from then on
        return True
    callers = (frame.f_code.co_filename for frame, _ in traceback.walk_stack(caller))
    return name in sys.path and INSTALLED in callers


def _remove_by_whole_paths() -> None:
    """Have a folder removed by the paths of what is in it: names below an open folder do not say where they are."""
    shutil._use_fd_functions = False  # type: ignore[attr-defined]


def _keep_request_in_threads() -> None:
    """Let what a request gives to another thread be known as the request's."""
    run = asyncio.BaseEventLoop.run_in_executor

    def run_in_context(self: Any, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        return run(self, executor, partial(copy_context().run, func), *args)

    asyncio.BaseEventLoop.run_in_executor = run_in_context  # type: ignore[method-assign, assignment]


def _answer_refusals(handler: Any) -> None:
    """Answer 403 where Mage has swallowed the refusal and goes on with an empty file."""
    write = handler.write

    def write_refusal(self: Any, chunk: Any) -> None:
        if getattr(self.request, "led_outside", False):
            self.set_status(403)
            chunk = {"error": {"code": 403, "message": MESSAGE}}
            self.write = lambda _: None
        write(self, chunk)

    handler.write = write_refusal


def _show_project_only() -> None:
    """Of resources whose business is files, take what is in the project, and nothing of Mage's data."""
    from mage_ai.api.errors import ApiError
    from mage_ai.api.resources import BrowserItemResource, FileContentResource, FileResource, FolderResource
    from mage_ai.settings.utils import base_repo_path

    def refuse_outside(path: str) -> None:
        if not is_inside(path, Path(base_repo_path())):
            raise ApiError({"code": 403, "message": MESSAGE, "type": "outside_project"})

    find_file, load, collect = (
        FileResource.FileResource.get_model.__func__,
        BrowserItemResource.Item.load,
        BrowserItemResource.get_absolute_paths_from_all_files,
    )

    def find_inside(cls: Any, /, pk: str, **given: Any) -> Any:
        file = find_file(cls, pk, **given)
        refuse_outside(file.file_path)
        return file

    def load_inside(*args: Any, **given: Any) -> Any:
        item = load(*args, **given)
        refuse_outside(item.path)
        if item.name and os.path.basename(item.name) != item.name:
            refuse_outside(item.name)  # a new name may be a path too
        return item

    def collect_inside(starting_full_path_directory: str, *args: Any, **given: Any) -> Any:
        refuse_outside(starting_full_path_directory)
        return collect(starting_full_path_directory, *args, **given)

    for resource in (FileContentResource, FileResource, FolderResource):
        resource.ensure_file_is_in_project = refuse_outside
    FileResource.FileResource.get_model = classmethod(find_inside)
    BrowserItemResource.Item = type("Item", (BrowserItemResource.Item,), {"load": staticmethod(load_inside)})
    BrowserItemResource.get_absolute_paths_from_all_files = collect_inside
