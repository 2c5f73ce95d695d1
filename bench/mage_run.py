"""The commands that run a pipeline with its tests: the project's, and those of an introduction to Mage."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.ours.variables import variables
from ops.paths import MAGE, PROJECT, ROOT

COURSE = ROOT / "bench" / "peers" / "course"


def ours(pipeline: str, month: str) -> list[str]:
    """A pipeline of the project, by the program that all of its runs go through."""
    return _run(MAGE, PROJECT, pipeline, variables(month))


def course(pipeline: str, url: str) -> list[str]:
    """A pipeline of the introduction, by Mage as it is."""
    return _run([str(Path(sys.executable).with_name("mage"))], COURSE, pipeline, {"url": url})


def _run(program: Sequence[str], project: Path, pipeline: str, given: dict[str, str]) -> list[str]:
    return [*program, "run", str(project), pipeline, "--runtime-vars", json.dumps(given), "--test"]
