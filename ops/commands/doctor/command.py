"""`taxi doctor`: whether everything that a run needs is in order, one line per check, with what to do."""

from collections.abc import Callable, Iterable

import click

from ops.commands.arguments import examples
from ops.commands.doctor.finding import Finding, Settled
from ops.errors import CommandFailed

COLOURS = {"ok": "green", "skip": "dim", "FAIL": "bold red"}


def findings(settings: Callable[[], Settled]) -> Iterable[Finding]:
    """Every check in turn, the machine's first: what comes later rests on it. Without settings there are no others."""
    from ops.commands.doctor import cloud, front_door, machine, project

    try:
        env = settings()
    except CommandFailed as unreadable:
        yield Finding("settings", "FAIL", str(unreadable))
        return
    for checks in (machine.CHECKS, project.CHECKS, front_door.CHECKS, cloud.CHECKS):
        for name, check in checks.items():
            yield Finding.of(name, check, env)


@click.command("doctor", epilog=examples("taxi doctor"))
def command() -> int:
    """Check this machine, the settings and the cloud, a line each, with what to do; exit code 1 if one check failed."""
    from rich.console import Console
    from rich.text import Text

    from ops.stack.environment import configured

    console, failed = Console(highlight=False, soft_wrap=True), 0
    for finding in findings(configured):
        failed += finding.state == "FAIL"
        console.print(Text(f"{finding.state:<5}", COLOURS[finding.state]), f"{finding.name:<12}{finding.text}")
    if failed:
        console.print(f"{failed} to fix")
    return 1 if failed else 0
