"""Which web UIs run from here: known by a record that neither a stale file nor another program can stand for."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from ops.errors import LocalStackError
from ops.paths import ROOT
from ops.stack import web_ui
from ops.stack.process import Running, Service, wait_until_gone
from ops.wait import wait_until

SERVING = """
import os, signal, subprocess, sys, time
from ops.stack import web_ui
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0) if sys.argv[2] == "gentle" else None)
scheduler = "import time; time.sleep(600)"
mage = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
with subprocess.Popen([sys.executable, "-c", mage, scheduler], stdout=-3, start_new_session=True) as server:
    try:
        with web_ui.recorded(int(sys.argv[1]), server.pid):
            print("recorded", flush=True)
            while True: time.sleep(0.1)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
"""
"""In the place of `taxi ui`: it has a Mage, which has a scheduler, in a group of their own."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NYC_TAXI_LOCAL_DIR", str(tmp_path / "stack"))
    return tmp_path / "stack"


@pytest.fixture
def serving() -> "Iterator[list[subprocess.Popen[str]]]":
    """A list for processes that are killed at the end, with all that they have started and left."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.communicate()


def serve(serving: "list[subprocess.Popen[str]]", port: int, kind: str = "gentle") -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", SERVING, str(port), kind]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    serving.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "recorded\n"
    return process


def test_each_that_runs_is_known_and_ended_in_order(folder: Path, serving: "list[subprocess.Popen[str]]") -> None:
    assert web_ui.running() == []
    second, first = serve(serving, 6790), serve(serving, 6789)
    assert [(ui.port, ui.pid) for ui in web_ui.running()] == [(6789, first.pid), (6790, second.pid)]
    web_ui.stop()
    assert (first.wait(5), second.wait(5)) == (0, 0)
    assert web_ui.running() == []
    assert list(folder.iterdir()) == []


def test_one_that_sleeps_is_woken_to_end(serving: "list[subprocess.Popen[str]]") -> None:
    process = serve(serving, 6789)
    process.send_signal(signal.SIGSTOP)
    web_ui.stop()
    assert process.wait(5) == 0


def family(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Its Mage and the scheduler of that, once both run."""
    command = psutil.Process(process.pid)
    assert wait_until(lambda: len(command.children(recursive=True)) == 2, 10)
    return list(command.children(recursive=True))


def test_of_a_command_that_was_killed_the_mage_that_it_left_is_known_and_ended(
    serving: "list[subprocess.Popen[str]]", folder: Path
) -> None:
    process = serve(serving, 6789)
    mage, scheduler = family(process)
    process.kill()
    process.wait()
    assert [(ui.port, ui.pid) for ui in web_ui.running()] == [(6789, mage.pid)]
    web_ui.stop()
    assert wait_until_gone([mage, scheduler], 0.1)
    assert web_ui.running() == []
    assert (folder / "ui-6789.json").exists()
    web_ui.stop()  # what a stale record names is nobody


@pytest.mark.parametrize("change", [{"created": -60.0}, {"command": ["python", "another.py"]}])
def test_another_program_with_its_pid_is_left_alone(
    change: dict[str, object], serving: "list[subprocess.Popen[str]]", folder: Path
) -> None:
    process = serve(serving, 6789)
    for name in ("ui-6789.json", "mage-6789.json"):
        record = json.loads((folder / name).read_text())
        shifted = {"created": record["created"] - 60} if "created" in change else change
        (folder / name).write_text(json.dumps(record | shifted))
    assert web_ui.running() == []
    web_ui.stop()
    assert process.poll() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "null"])
def test_a_broken_record_is_none(text: str, folder: Path) -> None:
    folder.mkdir()
    for name in ("ui-6789.json", "mage-6789.json"):
        (folder / name).write_text(text)
    assert web_ui.running() == []


def test_one_that_does_not_end_is_named_with_what_to_do(
    serving: "list[subprocess.Popen[str]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    process = serve(serving, 6789, "stubborn")
    monkeypatch.setattr(web_ui, "STOP_SECONDS", 0.3)
    with pytest.raises(
        LocalStackError, match=f"http://localhost:6789, process {process.pid}, does not end: press Ctrl"
    ):
        web_ui.stop()


def test_the_record_of_one_that_took_its_place_stays(folder: Path) -> None:
    other = Running(os.getppid(), 6789, psutil.Process(os.getppid()).cmdline())
    with web_ui.recorded(6789, os.getpid()):
        Service("ui-6789", folder).keep(other)
    assert [ui.pid for ui in web_ui.running()] == [os.getppid()]
