"""
What a request has Mage read or write stays in the project.

Fault: many of Mage's resources make a path of what a request says, in its address, its query or its body. Some check
it, by its letters and not by where symbolic links lead; `browser_items` takes any path of the machine: /etc/passwd, the
environment of the server with its secrets, files outside the project to write.

Patch: Python itself is asked, by an audit hook. While a request is handled, a file that is opened, listed, made, moved
or removed must be in the project or in Mage's own data, or, to be read, belong to the installed programs, symbolic
links followed. What is git's, and the file of Google's key, are opened by their own packages and by no resource.
Anything else is refused with 403, whichever resource it was and however the path was written. What a block does when it
is executed is its own affair. Resources that show files show those of the project only.
"""

import asyncio
import importlib.metadata
import inspect
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from ops.mage.access.paths import is_inside, is_key, is_of_git, may_open
from ops.mage.front_door import HANDLED

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
PACKAGES = {
    "git": f"{os.sep}site-packages{os.sep}git{os.sep}",
    "google": f"{os.sep}site-packages{os.sep}google{os.sep}",
}
"""The packages that may open what is git's, and the file of a key, by a part of their files' paths."""
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
        made = event == "os.mkdir" and os.path.isdir(name)
        if may_open(name, write) or made or _is_pythons_own(event, name, write) or _is_packages_own(name, write):
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


def _is_packages_own(name: str, write: bool) -> bool:
    """Whether the package asks whose file it is: GitPython for git's, Google's clients for the key."""
    real = os.path.realpath(name)
    owner = "git" if is_of_git(real) else "google" if is_key(real) and not write else None
    callers = traceback.walk_stack(sys._getframe(2))
    return owner is not None and any(PACKAGES[owner] in frame.f_code.co_filename for frame, _ in callers)


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
