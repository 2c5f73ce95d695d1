"""The local Postgres server, on the real thing: started, killed, restarted in a folder of its own."""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest

from ops.errors import LocalStackError
from ops.paths import ROOT
from ops.ports import free_port
from ops.stack import postgres
from ops.stack.postgres import PostgresServer
from ops.stack.postgres_programs import is_root
from ops.stack.process import wait_until_gone
from ops.wait import wait_until


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    yield folder / "postgres"
    postgres.stop(folder / "postgres")
    shutil.rmtree(folder)


@pytest.fixture
def server(data: Path) -> PostgresServer:
    return postgres.start(data)


def query(server: PostgresServer, statement: str, password: str | None = None) -> Any:
    with closing(
        psycopg2.connect(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password if password is None else password,
            dbname=server.dbname,
        )
    ) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else None


def server_processes(data: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(data.resolve()):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def postmaster(data: Path) -> psutil.Process:
    return psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))


def kill(data: Path) -> None:
    process = postmaster(data)
    process.kill()
    assert wait_until_gone([process], seconds=5)


def test_starts_with_the_settings_and_runs_sql(server: PostgresServer) -> None:
    expected = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "fsync": "on",
        "full_page_writes": "on",
        "password_encryption": "scram-sha-256",
        "max_wal_size": "4GB",
        "shared_buffers": "256MB",
        "TimeZone": "UTC",
        "server_encoding": "UTF8",
    }
    assert {name: query(server, f"SHOW {name}")[0][0] for name in expected} == expected
    assert query(server, "SELECT current_database(), current_user, sum(i) FROM generate_series(1, 100) i") == [
        ("mage", "mage", 5050)
    ]


@pytest.mark.parametrize("password", ["", "mage", "postgres"])
def test_a_wrong_password_is_refused(server: PostgresServer, password: str) -> None:
    with pytest.raises(psycopg2.OperationalError, match=r"password|fe_sendauth"):
        query(server, "SELECT 1", password=password)


def test_the_password_is_random_private_and_on_no_command_line(server: PostgresServer) -> None:
    kept = server.data.parent / "postgres.password"
    assert kept.read_text() == server.password
    assert len(server.password) == 32
    assert kept.stat().st_mode & 0o777 == 0o600
    assert server.data.stat().st_mode & 0o777 == 0o700
    assert server.password not in repr(server)
    for process in server_processes(server.data):
        with suppress(psutil.NoSuchProcess):  # a worker of the server's that ended just now
            assert server.password not in str(process.cmdline())
    assert server.password not in (server.data / "server.log").read_text()


def test_listens_on_127_0_0_1_only(server: PostgresServer) -> None:
    sockets = [
        tuple(connection.laddr)
        for process in [postmaster(server.data)]
        for connection in psutil.Process(getattr(process, "pid", process)).connections("all")
        if connection.status == psutil.CONN_LISTEN or connection.family.name == "AF_UNIX"
    ]
    assert set(sockets) == {("127.0.0.1", server.port)}


def test_starting_again_returns_the_running_server(server: PostgresServer) -> None:
    before = postmaster(server.data)
    began = time.monotonic()
    assert postgres.start(server.data) == server == postgres.running(server.data)
    assert time.monotonic() - began < 0.5
    assert postmaster(server.data) == before


def test_a_dropped_database_is_made_again(server: PostgresServer) -> None:
    admin = PostgresServer(server.host, server.port, server.user, server.password, "postgres", server.data)
    query(admin, "DROP DATABASE mage")
    postgres.start(server.data)
    assert query(server, "SELECT count(*) FROM pg_class WHERE relname = 'never'") == [(0,)]


def test_a_restart_takes_under_3_s_and_keeps_port_password_and_table(server: PostgresServer) -> None:
    query(server, "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT generate_series(1, 1000) AS i")
    postgres.stop(server.data)
    assert postgres.running(server.data) is None
    began = time.monotonic()
    assert postgres.start(server.data) == server
    assert time.monotonic() - began < 3
    assert query(server, "SELECT count(*), sum(i) FROM kept") == [(1000, 500_500)]


def test_stop_leaves_no_process_and_twice_is_no_error(server: PostgresServer) -> None:
    assert len(server_processes(server.data)) >= 5
    postgres.stop(server.data)
    assert server_processes(server.data) == []
    postgres.stop(server.data)
    postgres.stop(server.data.parent / "never" / "made")


def test_kill_9_heals_with_the_data_kept(server: PostgresServer) -> None:
    query(server, "DROP TABLE IF EXISTS survivor; CREATE TABLE survivor AS SELECT generate_series(1, 5000) AS i")
    kill(server.data)
    assert (server.data / "postmaster.pid").exists()
    assert postgres.running(server.data) is None
    assert postgres.start(server.data) == server
    assert query(server, "SELECT count(*), sum(i) FROM survivor") == [(5000, 12_502_500)]


def test_a_query_that_outlives_the_killed_postmaster_does_not_block_the_next_start(
    server: PostgresServer,
) -> None:
    with ThreadPoolExecutor() as pool:
        busy = pool.submit(query, server, "SELECT count(*) FROM generate_series(1, 2000000000)")
        active = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%2000000000)' AND state = 'active'"
        assert wait_until(lambda: query(server, active), 20)
        kill(server.data)
        assert server_processes(server.data) != []
        assert postgres.start(server.data) == server
        with pytest.raises(psycopg2.Error):
            busy.result(timeout=10)


def test_stop_after_kill_9_leaves_no_process(server: PostgresServer) -> None:
    kill(server.data)
    postgres.stop(server.data)
    assert server_processes(server.data) == []


def test_a_pid_file_that_names_another_program_heals(server: PostgresServer) -> None:
    postgres.stop(server.data)
    lines = [
        str(psutil.Process().pid),
        str(server.data),
        "1",
        str(server.port),
        "",
        "127.0.0.1",
        "1 1",
        "ready",
    ]
    (server.data / "postmaster.pid").write_text("\n".join(lines) + "\n")
    assert postgres.running(server.data) is None
    assert postgres.start(server.data) == server


def test_a_port_taken_meanwhile_is_replaced(server: PostgresServer) -> None:
    postgres.stop(server.data)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", server.port))
        other.listen()
        with pytest.raises(LocalStackError, match=f"Port {server.port} is taken"):
            postgres.start(server.data, server.port)
        moved = postgres.start(server.data)
    assert moved.port != server.port
    assert query(moved, "SELECT 1") == [(1,)]
    assert (server.data.parent / "postgres.port").read_text() == str(moved.port)


def test_a_port_can_be_chosen(server: PostgresServer) -> None:
    chosen = free_port()
    with pytest.raises(LocalStackError, match=f"already runs on port {server.port}"):
        postgres.start(server.data, chosen)
    postgres.stop(server.data)
    assert postgres.start(server.data, chosen).port == chosen


def test_it_survives_the_program_that_started_it(server: PostgresServer) -> None:
    postgres.stop(server.data)
    code = "import sys, pathlib; from ops.stack import postgres; postgres.start(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(server.data)], cwd=ROOT, check=True, timeout=30)
    assert postgres.running(server.data) == server


def test_a_failed_start_shows_the_end_of_the_log(server: PostgresServer) -> None:
    postgres.stop(server.data)
    configuration = server.data / "postgresql.conf"
    good = configuration.read_text()
    configuration.write_text(good + "no_such_setting = 1\n")
    try:
        with pytest.raises(LocalStackError, match=r"did not start(.|\n)*server\.log(.|\n)*no_such_setting"):
            postgres.start(server.data)
    finally:
        configuration.write_text(good)
    assert postgres.start(server.data) == server


def test_two_first_starts_at_once_give_one_server_after_a_killed_initdb() -> None:
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    data = folder / "postgres"
    code = "import sys, pathlib; from ops.stack.postgres import start; print(start(pathlib.Path(sys.argv[1])).port)"
    command = [sys.executable, "-c", code, str(data)]
    try:
        killed = subprocess.Popen(command, cwd=ROOT)
        begun = wait_until(
            lambda: list(folder.glob("postgres.initdb-*/data/PG_VERSION")),
            20,
            0.005,
            unless=lambda: killed.poll() is not None,
        )
        assert begun
        for process in [*psutil.Process(killed.pid).children(recursive=True), killed]:
            process.kill()
        killed.wait()
        assert not data.exists()

        starts = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        ports = [start.communicate(timeout=40)[0] for start in starts]
        assert [start.returncode for start in starts] == [0, 0]
        assert ports[0] == ports[1] != ""
        masters = [process for process in server_processes(data) if str(data) in process.cmdline()]
        assert len(masters) == 1
        assert list(folder.glob("postgres.initdb-*")) == []
    finally:
        postgres.stop(data)
        shutil.rmtree(folder)


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "thesis.txt").write_text("mine")
    with pytest.raises(LocalStackError, match="holds files but no Postgres server"):
        postgres.start(tmp_path / "postgres")
    assert (tmp_path / "postgres" / "thesis.txt").read_text() == "mine"


def test_a_lost_password_is_said_so(server: PostgresServer) -> None:
    kept = server.data.parent / "postgres.password"
    kept.unlink()
    try:
        with pytest.raises(LocalStackError, match=r"postgres\.password is missing"):
            postgres.start(server.data)
    finally:
        kept.write_text(server.password)
        kept.chmod(0o600)


@pytest.mark.skipif(not is_root(), reason="only root needs another user")
def test_root_without_user_namespaces_runs_the_server_as_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "can_unshare", lambda: False)
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o755)  # nobody must reach the data folder
    data = folder / "postgres"
    try:
        server = postgres.start(data)
        assert query(server, "SELECT 7") == [(7,)]
        assert postmaster(data).username() == "nobody"
        assert (folder / "postgres.password").stat().st_uid == 0
        postgres.stop(data)
        assert postgres.start(data) == server
    finally:
        postgres.stop(data)
        assert server_processes(data) == []
        shutil.rmtree(folder)
