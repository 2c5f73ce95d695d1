"""What tests of commands share: an environment of their own, and one in which nothing may be started."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result

from ops.cli import taxi
from ops.paths import ROOT


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An environment like `env -i` with a folder of its own for the local stack."""
    folder = tmp_path_factory.mktemp("local")
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "NYC_TAXI_LOCAL_DIR": str(folder / "stack")}
    yield env
    run_taxi(env, "down")
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or ())]


def run_taxi(env: dict[str, str], *arguments: str, said: str = "") -> "subprocess.CompletedProcess[str]":
    """The command line in a process of its own; `said` is its standard input."""
    command = [sys.executable, "-m", "ops.cli", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False, input=said
    )


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What the command line says of arguments that it must refuse with exit code 2, before anything is started."""
    started: list[object] = []

    def starting(*command: object, **_: object) -> None:
        started.append(command)
        raise AssertionError(f"{command} was started")

    monkeypatch.setattr(subprocess, "Popen", starting)
    monkeypatch.setenv("NYC_TAXI_LOCAL_DIR", str(tmp_path / "stack"))
    monkeypatch.setenv("MAGE_HOST_PORT", "1")  # no Mage answers there

    def run(*arguments: str) -> str:
        result: Result = CliRunner().invoke(taxi, arguments, prog_name="taxi")
        assert (result.exit_code, started) == (2, []), result.output
        assert not (tmp_path / "stack").exists()
        return str(result.output)

    return run
