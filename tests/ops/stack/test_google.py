"""The pair of emulators of Google's services as processes: started, killed, restarted in a folder of their own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from google.cloud import bigquery, storage

from ops.errors import LocalStackError
from ops.paths import ROOT
from ops.stack import google
from ops.stack import process as service
from ops.stack.google import GoogleServer
from ops.stack.process import wait_until_gone
from ops.wait import wait_until

START = (
    "import sys, pathlib; from ops.stack import google; print(google.start(pathlib.Path(sys.argv[1])).environment())"
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="gc-"))
    yield made / "google"
    google.stop(made / "google")
    assert processes_of(made) == []
    shutil.rmtree(made)


@pytest.fixture
def server(folder: Path) -> GoogleServer:
    return google.start(folder)


def processes_of(folder: Path) -> list[list[str]]:
    found = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [line for line in found if any(str(folder) in word for word in line)]


def objects_of(server: GoogleServer, monkeypatch: pytest.MonkeyPatch) -> storage.Bucket:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return storage.Client().bucket(server.bucket)


def test_bucket_and_data_set_are_there_at_once_for_googles_own_clients(
    server: GoogleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = objects_of(server, monkeypatch)
    bucket.reload()
    assert bucket.location == "US"
    client = bigquery.Client()
    assert (client.project, client.get_dataset("ny_taxi").location) == ("nyc-taxi-local", "US")


def test_the_environment_names_everything_and_the_key_is_private(server: GoogleServer) -> None:
    assert server.environment() == {
        "GOOGLE_APPLICATION_CREDENTIALS": str(server.credentials),
        "GOOGLE_CLOUD_PROJECT": "nyc-taxi-local",
        "GOOGLE_LOCATION": "US",
        "GCS_BUCKET": "nyc-taxi-local",
        "BIGQUERY_DATASET": "ny_taxi",
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{server.gcs_port}",
        "CLOUD_STORAGE_EMULATOR_ENDPOINT": f"http://127.0.0.1:{server.gcs_port}",
        "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{server.bigquery_port}",
    }
    assert server.credentials.stat().st_mode & 0o777 == 0o600
    key = json.loads(server.credentials.read_text())
    assert key["token_uri"] == f"{server.gcs_url}/token"
    assert key["private_key"] not in " ".join(word for line in processes_of(server.credentials.parent) for word in line)


def test_both_listen_on_127_0_0_1_only(server: GoogleServer) -> None:
    listening = {
        tuple(connection.laddr)
        for pid in (server.gcs_pid, server.bigquery_pid)
        for connection in psutil.Process(pid).connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {("127.0.0.1", server.gcs_port), ("127.0.0.1", server.bigquery_port)} <= listening
    assert {host.removeprefix("::ffff:") for host, _ in listening} == {"127.0.0.1"}


def test_starting_again_returns_the_running_pair(server: GoogleServer, folder: Path) -> None:
    key = server.credentials.read_text()
    began = time.monotonic()
    assert google.start(folder) == server == google.running(folder)
    assert time.monotonic() - began < 0.5
    assert server.credentials.read_text() == key


def test_a_restart_keeps_ports_key_and_data(
    server: GoogleServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects_of(server, monkeypatch).blob("kept").upload_from_string("content")
    bigquery.Client().query("CREATE OR REPLACE TABLE ny_taxi.kept AS SELECT 7 AS n").result(timeout=20)
    key = server.credentials.read_text()
    google.stop(folder)
    assert google.running(folder) is None
    assert processes_of(folder) == []
    google.stop(folder)
    again = google.start(folder)
    assert (again.gcs_port, again.bigquery_port) == (server.gcs_port, server.bigquery_port)
    assert again.credentials.read_text() == key
    assert objects_of(again, monkeypatch).blob("kept").download_as_bytes() == b"content"
    [row] = bigquery.Client().query("SELECT n FROM ny_taxi.kept").result(timeout=20)
    assert row.n == 7


def test_kill_9_of_both_heals_with_the_data_kept(
    server: GoogleServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects_of(server, monkeypatch).blob("survivor").upload_from_string("content")
    bigquery.Client().query("CREATE OR REPLACE TABLE ny_taxi.survivor AS SELECT 8 AS n").result(timeout=20)
    for pid in (server.gcs_pid, server.bigquery_pid):
        os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not processes_of(folder), 20)
    assert google.running(folder) is None
    again = google.start(folder)
    assert objects_of(again, monkeypatch).blob("survivor").download_as_bytes() == b"content"
    assert [row.n for row in bigquery.Client().query("SELECT n FROM ny_taxi.survivor").result(timeout=20)] == [8]


def test_one_that_died_is_started_and_the_other_kept(server: GoogleServer, folder: Path) -> None:
    os.kill(server.gcs_pid, signal.SIGKILL)
    assert wait_until_gone([psutil.Process(server.gcs_pid)], seconds=20)
    again = google.start(folder)
    assert again.gcs_pid != server.gcs_pid
    assert again.bigquery_pid == server.bigquery_pid


def test_a_port_taken_meanwhile_is_replaced_and_the_key_follows(server: GoogleServer, folder: Path) -> None:
    google.stop(folder)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", server.gcs_port))
        other.listen()
        moved = google.start(folder)
    assert moved.gcs_port != server.gcs_port
    assert moved.bigquery_port == server.bigquery_port
    assert json.loads(moved.credentials.read_text())["token_uri"] == f"{moved.gcs_url}/token"


def test_two_first_starts_at_once_give_one_pair_that_outlives_them() -> None:
    folder = Path(tempfile.mkdtemp(prefix="gc-"))
    line = [sys.executable, "-c", START, str(folder / "google")]
    try:
        starts = [subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        printed = [start.communicate(timeout=40)[0] for start in starts]
        assert [start.returncode for start in starts] == [0, 0]
        assert printed[0] == printed[1] != ""
        assert len(processes_of(folder)) == 2
        assert google.running(folder / "google") is not None
    finally:
        google.stop(folder / "google")
        assert processes_of(folder) == []
        shutil.rmtree(folder)


def test_a_start_killed_half_way_is_found_again() -> None:
    folder = Path(tempfile.mkdtemp(prefix="gc-"))
    try:
        killed = subprocess.Popen([sys.executable, "-c", START, str(folder / "google")], cwd=ROOT)
        assert wait_until(
            lambda: len([line for line in processes_of(folder) if "-m" in line]) == 2,
            40,
            0.005,
            unless=lambda: killed.poll() is not None,
        )
        killed.kill()
        killed.wait()
        server = google.start(folder / "google")
        assert len(processes_of(folder)) == 2
        assert google.running(folder / "google") == server
    finally:
        google.stop(folder / "google")
        assert processes_of(folder) == []
        shutil.rmtree(folder)


def test_a_process_of_which_no_pid_was_recorded_is_found_by_its_command_line(
    server: GoogleServer, folder: Path
) -> None:
    record = folder / "gcs_emulator.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"pid": 0}))
    assert google.running(folder) == server
    assert google.start(folder) == server


def test_a_recorded_pid_of_another_program_is_not_killed(server: GoogleServer, folder: Path) -> None:
    google.stop(folder)
    record = folder / "bigquery_emulator.json"
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        record.write_text(json.dumps(json.loads(record.read_text()) | {"pid": bystander.pid}))
        assert google.running(folder) is None
        google.stop(folder)
        google.start(folder)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_failed_start_shows_the_end_of_the_log_and_leaves_no_process(
    server: GoogleServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    google.stop(folder)
    monkeypatch.setattr(google, "emulator_python", lambda: Path(sys.executable))  # without the emulators' packages
    with pytest.raises(LocalStackError, match=r"did not start(.|\n)*End of (.|\n)*No module named"):
        google.start(folder)
    google.stop(folder)
    assert processes_of(folder) == []
    monkeypatch.setattr(google, "emulator_python", lambda: folder / "absent")
    with pytest.raises(LocalStackError, match="run `make setup`"):
        google.start(folder)


def test_a_busy_one_is_waited_for_and_not_taken_for_dead(server: GoogleServer) -> None:
    os.kill(server.bigquery_pid, signal.SIGSTOP)
    try:
        assert not service.healthy(server.bigquery_port, patience=0.2)
        subprocess.Popen(["sh", "-c", f"sleep 3; kill -CONT {server.bigquery_pid}"]).poll()
        assert google.running(server.credentials.parent) == server
    finally:
        os.kill(server.bigquery_pid, signal.SIGCONT)
