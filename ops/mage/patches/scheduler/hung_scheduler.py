"""
A scheduler that moves no more is started anew.

Fault: Mage's server starts its scheduler again when that has died. One that hangs, in a connection that never answers,
is alive: the web UI works, and no trigger fires any more.

Patch: at the end of each round the scheduler writes down when that was, into MAGE_DATA_DIR/scheduler.moved, which the
health check of the container reads too. When it says the same at each of so many looks of the server, one every 20
seconds, the server ends the scheduler and all that it has started, and starts another, which takes up what was at work.
Looks are counted, and no clock is read: a server that is paused or sleeps does not look, and what an earlier container
wrote down is no sign of this scheduler.
"""

import inspect
import os
import time
from contextlib import suppress
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

UPSTREAM = "none filed"
MODULE = "mage_ai.server.scheduler_manager"
LOOKS = 45
"""A quarter of an hour: a round may fetch from git."""
NAME = "scheduler.moved"


def is_needed(manager: ModuleType) -> bool:
    """Whether only a dead scheduler is started anew."""
    return "not self.is_alive" in inspect.getsource(manager.SchedulerManager.get_status)


def apply(manager: ModuleType) -> None:
    """Change the scheduler's process, and how the server looks after it."""
    run, look = manager.run_scheduler, manager.check_scheduler_status
    seen, same = "", 0

    @wraps(run)
    def run_and_say() -> None:
        from mage_ai.orchestration.triggers.time_trigger import TimeTrigger

        go_round = TimeTrigger.run

        def go_round_and_say(trigger: Any) -> None:
            go_round(trigger)
            say_moved()

        TimeTrigger.run = go_round_and_say
        run()

    @wraps(look)
    def look_and_end() -> None:
        nonlocal seen, same
        scheduler, before = manager.scheduler_manager, seen
        seen = f"{scheduler.get_scheduler_pid()} {moved()}"
        same = same + 1 if seen == before else 0
        if scheduler.is_alive and same >= LOOKS:
            manager.logger.error(f"The scheduler has not moved at {LOOKS} looks in a row: it is started anew.")
            end(scheduler.get_scheduler_pid())
            scheduler.scheduler_process.join(10)
        look()

    manager.run_scheduler, manager.check_scheduler_status = run_and_say, look_and_end  # type: ignore[attr-defined]


def _path() -> Path:
    return Path(os.environ.get("MAGE_DATA_DIR") or Path.home() / ".mage_data") / NAME  # as Mage has it


def say_moved() -> None:
    """Write down the time since this machine began, which nobody sets."""
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{NAME}.{os.getpid()}")
    new.write_text(str(time.monotonic()))
    new.replace(path)


def moved() -> str:
    """What was written down last; empty before the first round."""
    with suppress(FileNotFoundError):
        return _path().read_text()
    return ""


def end(pid: int) -> None:
    """Kill a process and all that it has started; one that ends by itself meanwhile is no error."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        family = [psutil.Process(pid)]
        family += family[0].children(recursive=True)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
