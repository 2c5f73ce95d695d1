"""
A scheduler that moves no more is started anew.

Fault: Mage's server starts its scheduler again when that has died. One that hangs, in a connection that never answers,
is alive: the web UI works, and no trigger fires any more.

Patch: at the end of each round the scheduler writes down when that was, into MAGE_DATA_DIR/scheduler.moved, which the
health check of the container reads too. When it has not for HUNG_SECONDS, the server ends it and all that it has
started, and starts another, which takes up what was at work.
"""

import inspect
import os
import time
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

UPSTREAM = "none filed"
MODULE = "mage_ai.server.scheduler_manager"
HUNG_SECONDS = 900
"""A round may fetch from git."""
NAME = "scheduler.moved"


def is_needed(manager: ModuleType) -> bool:
    """Whether only a dead scheduler is started anew."""
    return "not self.is_alive" in inspect.getsource(manager.SchedulerManager.get_status)


def apply(manager: ModuleType) -> None:
    """Change the scheduler's process, and how the server looks after it."""
    run, look = manager.run_scheduler, manager.check_scheduler_status

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
        scheduler = manager.scheduler_manager
        if scheduler.is_alive and still_for() > HUNG_SECONDS:
            manager.logger.error(f"The scheduler has not moved for {HUNG_SECONDS} s: it is started anew.")
            end(scheduler.get_scheduler_pid())
            scheduler.scheduler_process.join(10)
            say_moved()  # the new one has its time
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


def still_for() -> float:
    """Seconds since the scheduler has moved; 0 where nobody knows, as after a start of the machine."""
    try:
        moved = float(_path().read_text())
    except (FileNotFoundError, ValueError):
        return 0.0
    return max(0.0, time.monotonic() - moved)


def end(pid: int) -> None:
    """Kill a process and all that it has started."""
    import psutil

    family = [psutil.Process(pid)]
    family += family[0].children(recursive=True)
    for process in family:
        process.kill()
