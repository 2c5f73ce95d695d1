"""What a Postgres server's folder and the process table say of it: its processes, its port, its log."""

from contextlib import suppress
from pathlib import Path

import psutil

from ops.errors import LocalStackError
from ops.stack.process import wait_until_gone


def _pid_file(data: Path) -> list[str]:
    """Lines of postmaster.pid: pid, folder, start, port, socket folder, address, shared memory, status."""
    try:
        return [line.strip() for line in (data / "postmaster.pid").read_text().splitlines()]
    except FileNotFoundError:
        return []


def postmaster(data: Path) -> psutil.Process | None:
    """The main process. `pg_ctl status` believes the pid file even when the pid is another program's."""
    try:
        process = psutil.Process(int(_pid_file(data)[0]))
    except (IndexError, ValueError, psutil.Error):
        return None
    return process if _serves(process, data) else None


def processes(data: Path) -> list[psutil.Process]:
    """Every server process of the folder, children of a dead postmaster too."""
    return [process for process in psutil.process_iter() if _serves(process, data)]


def _serves(process: psutil.Process, data: Path) -> bool:
    # Each Postgres process works in its data folder, however that was spelled when it was started.
    try:
        return "postgres" in process.name() and process.cwd() == str(data)
    except (psutil.Error, OSError):  # gone, a zombie, ending just now, or another user's
        return False


def listening_port(data: Path) -> int | None:
    """The port of a server that accepts connections."""
    lines = _pid_file(data)
    ready = len(lines) >= 8 and lines[7] == "ready" and postmaster(data) is not None
    return int(lines[3]) if ready else None


def log_size(data: Path) -> int:
    """Bytes of server.log."""
    log = data / "server.log"
    return log.stat().st_size if log.exists() else 0


def log_tail(data: Path, since: int = 0) -> str:
    """The last 15 lines of server.log, of those written after `since` bytes."""
    if not log_size(data):
        return f"({data / 'server.log'} is empty)"
    lines = (data / "server.log").read_bytes()[since:].decode(errors="replace").splitlines()
    return "\n".join([f"End of {data / 'server.log'}:", *lines[-15:]])


def kill_orphans(data: Path) -> None:
    """End server processes whose postmaster is dead: a busy one would hold the shared memory for minutes."""
    orphans = processes(data)
    for process in orphans:
        with suppress(psutil.NoSuchProcess):
            process.kill()  # nothing is lost: the next start recovers from the write-ahead log anyway
    if not wait_until_gone(orphans, seconds=10):
        raise LocalStackError(f"Postgres processes of {data} do not end: {[process.pid for process in orphans]}")
