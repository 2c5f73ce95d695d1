"""A run that has done its work ends well, whatever a thread of pyarrow still holds."""

import subprocess
import sys
from pathlib import Path

import pytest

from ops.paths import MAGE, ROOT
from tests.conftest import process_environment

# Mage reads its blocks' outputs so: a Python file, which a thread of pyarrow may be the last to let go of.
READ = """
import os, runpy, sys, threading, time
import pyarrow, pyarrow.parquet

class File:
    closed = False
    def __init__(self): self.inner = open("outputs.parquet", "rb")
    def __getattr__(self, name): return getattr(self.inner, name)
    def __del__(self):
        if threading.current_thread() is not threading.main_thread():
            held.set()
            time.sleep(1)

def read():
    while not held.is_set():
        pyarrow.parquet.read_table(pyarrow.PythonFile(File(), mode="r"))
    print("all done")

held = threading.Event()
pyarrow.parquet.write_table(pyarrow.table({"rows": [1]}), "outputs.parquet")
"""
# In place of Mage's command line.
BY_MAGE = f"""
class CommandLine:
    @staticmethod
    def app():
        read()
        sys.exit(code)

sys.modules["mage_ai.cli.main"] = CommandLine
sys.argv = ["program.py"]
runpy.run_path({MAGE[-1]!r}, run_name="__main__")
"""


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A program of its own, run in the folder."""
    env = process_environment() | {"PYTHONPATH": str(ROOT), "MAGE_DATA_DIR": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' C++ says it in other words")
def test_pyarrow_still_aborts_a_process_that_ends_as_python_does(tmp_path: Path) -> None:
    ended = python(f"{READ}\nread()", tmp_path)
    # "without an active exception", or "recursively" where two threads end at once.
    assert "terminate called" in ended.stderr, "upstream mends it: ending.py may go"
    assert ended.returncode == -6


@pytest.mark.parametrize("code", [0, 3])
def test_mage_ends_with_the_code_of_its_command(code: int, tmp_path: Path) -> None:
    ended = python(f"{READ}\ncode = {code}\n{BY_MAGE}", tmp_path)
    assert (ended.returncode, ended.stdout.split("\n")[-2:]) == (code, ["all done", ""]), ended.stderr


def test_an_error_that_nobody_caught_is_told(tmp_path: Path) -> None:
    ended = python("from ops.mage import ending\n\n@ending.run\ndef fail():\n    1 / 0", tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_what_was_registered_after_it_still_runs(tmp_path: Path) -> None:
    late = "import atexit\nfrom ops.mage import ending\nending.run(lambda: atexit.register(print, 'bye'))"
    ended = python(late, tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "bye\n")
