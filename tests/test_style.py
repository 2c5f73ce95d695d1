"""Style and types: what `make lint` says, beside the other tests, for a type check takes as long as a start of Mage."""

import subprocess
import sys

import pytest

from ops.paths import ROOT


def test_make_lint_does_what_these_tests_do() -> None:
    told = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "lint"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert [line.partition(" -m ")[2] for line in told.splitlines()] == [" ".join(check) for check in CHECKS]


CHECKS = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",))


@pytest.mark.parametrize("check", CHECKS, ids=" ".join)
def test_style_and_types(check: tuple[str, ...]) -> None:
    ran = subprocess.run([sys.executable, "-m", *check], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
