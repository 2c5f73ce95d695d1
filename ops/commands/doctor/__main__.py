"""
Whether everything that a run needs is in order: one line per check, with what to do where it is not.

Usage: python -m ops.commands.doctor
"""

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from ops.commands.doctor import cloud, machine, project
from ops.commands.doctor.finding import Finding, Settled
from ops.stack.environment import configured

COLOURS = {"ok": "green", "skip": "dim", "FAIL": "bold red"}


def findings(env: Settled) -> Iterable[Finding]:
    """Every check in turn, the machine's first: what comes later rests on it."""
    for checks in (machine.CHECKS, project.CHECKS, cloud.CHECKS):
        for name, check in checks.items():
            yield Finding.of(name, check, env)


def main() -> int:
    """Print a line per check; the exit code is 1 if one failed."""
    console, failed = Console(highlight=False, soft_wrap=True), 0
    for finding in findings(configured()):
        failed += finding.state == "FAIL"
        console.print(Text(f"{finding.state:<5}", COLOURS[finding.state]), f"{finding.name:<12}{finding.text}")
    if failed:
        console.print(f"{failed} to fix")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
