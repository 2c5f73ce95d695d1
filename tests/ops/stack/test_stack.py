"""The local services together: `up`, `down`, `status`, on real processes in a folder of their own."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ops.errors import LocalStackError
from ops.paths import ROOT, local_dir
from ops.ports import free_port
from ops.stack import broker, stack
from ops.wait import wait_until


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="st-"))
    os.environ["NYC_TAXI_LOCAL_DIR"] = str(folder / "local")
    (folder / "trips").mkdir()
    yield folder
    stack.down()
    del os.environ["NYC_TAXI_LOCAL_DIR"]
    shutil.rmtree(folder)


def processes_of(home: Path) -> list[list[str]]:
    """Command lines of all processes that work in the folder or name it."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(str(home)) or str(home) in " ".join(process.cmdline()):
                found.append(process.cmdline())
        except (psutil.Error, OSError):
            continue
    return found


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def health(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/healthz", headers={"Connection": "close"})
    response = connection.getresponse()
    response.read()
    return response.status


def test_two_ups_at_once_start_one_of_each_and_outlive_their_programs(home: Path) -> None:
    line = [sys.executable, "-m", "ops.cli", "up", "--trips", str(home / "trips")]
    ups = [subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [up.communicate(timeout=50)[0] for up in ups]
    assert [up.returncode for up in ups] == [0, 0]
    assert printed[0] == printed[1]
    running = processes_of(home)
    for program in ("ops.stack.trip_server", "ops.emulators.gcs", "ops.emulators.bigquery", "-D"):
        assert len([line for line in running if program in line]) == 1
    now = stack.status()
    assert now.postgres is not None
    assert now.google is not None
    assert now.trips is not None
    assert [health(port) for port in (now.trips.port, now.google.gcs_port, now.google.bigquery_port)] == [200] * 3
    assert now.trips.folder == str(home / "trips")


def test_up_again_changes_nothing_and_takes_under_a_second(home: Path) -> None:
    before = stack.up(home / "trips")
    began = time.monotonic()
    assert stack.up(home / "trips") == before == stack.up(None) == stack.status()
    assert time.monotonic() - began < 1


def test_status_prints_a_line_per_service_and_no_password(home: Path) -> None:
    now = stack.up(home / "trips")
    assert now.postgres is not None
    assert now.google is not None
    assert now.trips is not None
    result = command("status")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith(f"postgres     running at 127.0.0.1:{now.postgres.port}, database mage, user mage")
    assert lines[1] == f"storage      running at {now.google.gcs_url}, bucket nyc-taxi-local"
    assert lines[2] == f"bigquery     running at {now.google.bigquery_url}, project nyc-taxi-local, data set ny_taxi"
    assert lines[3] == f"trip server  running at http://127.0.0.1:{now.trips.port}, serves {home / 'trips'}"
    assert lines[4] == "broker       stopped"
    assert lines[5] == "web UI       stopped"
    assert now.postgres.password not in result.stdout + result.stderr


def test_status_knows_a_broker_and_down_ends_it(home: Path) -> None:
    stack.down()
    running = broker.start()
    assert stack.status() == stack.Stack(None, None, None, running)
    assert f"\nbroker       running at {running.url}\n" in command("status").stdout
    stack.down()
    assert stack.status().broker is None
    assert processes_of(home) == []


def test_another_folder_replaces_the_trip_server_on_the_same_port(home: Path) -> None:
    first = stack.up(home / "trips").trips
    (home / "others").mkdir()
    second = stack.up(home / "others").trips
    assert first is not None
    assert second is not None
    assert (second.folder, second.port) == (str(home / "others"), first.port)
    assert len([line for line in processes_of(home) if "ops.stack.trip_server" in line]) == 1


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_or_hung_trip_server_is_replaced(home: Path, blow: signal.Signals) -> None:
    first = stack.up(home / "trips").trips
    assert first is not None
    os.kill(first.pid, blow)
    assert wait_until(lambda: stack.status().trips is None, 20)
    second = stack.up(home / "trips").trips
    assert second is not None
    assert second.pid != first.pid
    assert health(second.port) == 200
    assert len([line for line in processes_of(home) if "ops.stack.trip_server" in line]) == 1


def test_a_recorded_pid_of_another_program_is_not_killed(home: Path) -> None:
    stack.down()
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        command = [sys.executable, "-m", "ops.stack.trip_server", str(home / "trips"), str(port := free_port())]
        record = {"pid": bystander.pid, "port": port, "command": command}
        (local_dir() / "trip_server.json").write_text(json.dumps(record))
        assert stack.status().trips is None
        stack.down()
        assert bystander.poll() is None
        server = stack.up(home / "trips").trips
        assert server is not None
        assert server.pid != bystander.pid
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_trip_server_that_does_not_start_shows_its_log(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.down()
    monkeypatch.setattr(stack, "MODULE", "ops.no_such_server")
    with pytest.raises(LocalStackError, match=r"did not start(.|\n)*No module named ops\.no_such_server"):
        stack.up(home / "trips")


def test_what_is_not_asked_for_is_not_started(home: Path) -> None:
    stack.down()
    assert stack.up(with_postgres=False, with_google=False) == stack.Stack(None, None, None, None)
    assert processes_of(home) == []


def test_a_missing_folder_is_said_so(home: Path) -> None:
    result = command("up", "--trips", str(home / "absent"))
    assert result.returncode == 1
    assert processes_of(home) == []
    assert (
        result.stderr == f"FAILED  {home / 'absent'} is no folder of trip files: make it first, or leave --trips out.\n"
    )


def test_down_leaves_no_process_and_twice_is_no_error(home: Path) -> None:
    stack.up(home / "trips")
    assert len(processes_of(home)) >= 8
    assert command("down").returncode == 0
    assert processes_of(home) == []
    assert command("down").returncode == 0
    result = command("status")
    assert result.returncode == 0
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["postgres", "stopped"],
        ["storage", "stopped"],
        ["bigquery", "stopped"],
        ["trip", "server", "stopped"],
        ["broker", "stopped"],
        ["web", "UI", "stopped"],
    ]
