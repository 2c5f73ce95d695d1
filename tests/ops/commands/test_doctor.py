"""The doctor says what is in order, and what to do where something is not."""

import base64
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from nyc_taxi.settings import GoogleSettings, PostgresSettings
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from ops.commands.doctor import cloud, command, front_door, machine, project
from ops.commands.doctor.finding import Check, Finding, Settled
from ops.mage.api import Json
from ops.paths import ROOT
from ops.stack import broker
from ops.stack.environment import configured
from ops.stack.google import GoogleServer
from tests.conftest import environment_of, process_environment, sql
from tests.deploy.git_host import TOKEN, GitHost


def said(check: Check, env: Settled) -> tuple[str, str]:
    finding = Finding.of("it", check, env)
    return finding.state, finding.text


@pytest.fixture(autouse=True)
def stack_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NYC_TAXI_LOCAL_DIR", str(tmp_path))


def test_every_check_is_a_line_and_a_fault_is_the_exit_code(tmp_path: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        env = {**process_environment(), "NYC_TAXI_LOCAL_DIR": str(tmp_path), "MAGE_HOST_PORT": str(port)}
        line = [sys.executable, "-W", "ignore", "-m", "ops.cli", "doctor"]
        ran = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    lines = ran.stdout.splitlines()
    assert [line[5:17].strip() for line in lines[:-1]] == [
        *machine.CHECKS,
        *project.CHECKS,
        *front_door.CHECKS,
        *cloud.CHECKS,
    ]
    assert lines[0] == f"ok    python      {sys.version.split()[0]}"
    taken_line = f"{port} is taken by another program: end it, or set MAGE_HOST_PORT in .env"
    assert f"FAIL  ports       {taken_line}" in lines
    assert (ran.returncode, lines[-1]) == (1, "1 to fix")


def test_settings_that_cannot_be_read_are_a_line(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("POSTGRES_PASSWORD=pa$$word\n")
    [finding] = command.findings(lambda: configured({}, file))
    assert (finding.name, finding.state) == ("settings", "FAIL")
    assert finding.text.startswith(".env line 1: POSTGRES_PASSWORD: $ begins a variable")


def test_an_error_that_no_check_expects_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Settled) -> str:
        raise KeyError("what")

    monkeypatch.setattr(machine, "CHECKS", {"broken": broken})
    with pytest.raises(KeyError):
        list(command.findings(dict))


def test_little_room_is_said_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, text = said(machine.disk, {"STAGING_DIR": str(tmp_path / "not" / "there" / "yet")})
    assert (state, text.endswith("GB free at " + str(tmp_path / "not" / "there" / "yet"))) == ("ok", True)
    monkeypatch.setattr(machine, "DISK_BYTES", 1 << 60)
    state, text = said(machine.disk, {"STAGING_DIR": str(tmp_path)})
    assert (state, text.endswith("make room, or set STAGING_DIR to a larger disk")) == ("FAIL", True)
    monkeypatch.setattr(machine, "MEMORY_BYTES", 1 << 60)
    assert said(machine.memory, {})[0] == "FAIL"


class _Late(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response_only(200)
        self.send_header("Date", "Tue, 05 Jan 2021 10:00:00 GMT")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def late_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Late)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_wrong_clock_is_said_and_one_without_a_peer_is_not_judged(late_server: str) -> None:
    state, text = said(machine.clock, {"TLC_PARQUET_BASE_URL": late_server})
    assert (state, "turn on time synchronisation" in text) == ("FAIL", True)
    assert said(machine.clock, {"TLC_PARQUET_BASE_URL": "http://127.0.0.1:1"})[0] == "skip"


def test_a_broker_is_asked_for_its_streams_where_one_is_meant() -> None:
    state, text = said(project.broker, {})
    assert (state, text[:9]) == ("skip", "none runs")
    own = broker.start()
    try:
        answers = f"NATS at {own.url} answers, with JetStream; streams there: 0"
        assert said(project.broker, {}) == said(project.broker, {"NATS_URL": own.url}) == ("ok", answers)
    finally:
        broker.stop()
    state, text = said(project.broker, {"NATS_URL": own.url})
    assert state == "FAIL"
    assert text.startswith(f"NATS at {own.url}: nothing listens there")
    assert said(project.broker, {"NATS_URL": "here"})[0] == "FAIL"


def test_a_configured_postgres_is_asked_for_the_right_to_load(database: PostgresSettings) -> None:
    assert said(project.postgres, {})[0] == "ok"
    env = environment_of(database)
    state, text = said(project.postgres, env)
    assert (state, text) == ("ok", f"mage may load into {database.where}, schema ny_taxi")
    state, text = said(project.postgres, {**env, "POSTGRES_PASSWORD": "wrong"})
    assert (state, "check POSTGRES_USER and POSTGRES_PASSWORD" in text) == ("FAIL", True)
    sql(database, "DROP ROLE IF EXISTS guest")
    sql(database, "CREATE ROLE guest LOGIN PASSWORD 'guest'")
    state, text = said(project.postgres, {**env, "POSTGRES_USER": "guest", "POSTGRES_PASSWORD": "guest"})
    assert (state, text.endswith("GRANT CREATE ON DATABASE mage TO guest")) == ("FAIL", True)
    sql(database, "DROP ROLE guest")


@pytest.mark.parametrize(
    ("session", "item", "state", "begins"),
    [
        ({"error": {"code": 401}}, {"error": {"message": "not in the project"}}, "ok", "{url} gives no session"),
        ({"session": {"token": "a.b.c"}}, {}, "FAIL", "{url} gives me@example.org's session to anybody"),
        ({"error": {"code": 401}}, {"browser_item": {"content": "root:x"}}, "FAIL", "{url} reads any file"),
    ],
)
def test_a_mage_that_lets_strangers_in_is_said_with_what_to_do(
    session: Json, item: Json, state: str, begins: str, httpserver: HTTPServer
) -> None:
    def sign_in(request: Request) -> Response:
        known = "password" in json.loads(request.data)["session"]
        token = base64.urlsafe_b64encode(b'{"token": "mine"}').decode().rstrip("=")
        return Response(json.dumps({"session": {"token": f"a.{token}.c"}} if known else session))

    httpserver.expect_request("/api/sessions", method="POST").respond_with_handler(sign_in)
    httpserver.expect_request("/api/browser_items/%2Fetc%2Fpasswd").respond_with_json(item)
    httpserver.expect_request("/api/browser_items//etc/passwd").respond_with_json(item)
    statuses = {"statuses": [{"scheduler_status": "running"}]}
    httpserver.expect_request("/api/statuses").respond_with_json(statuses)
    url = httpserver.url_for("").rstrip("/")
    env = {"MAGE_URL": url, "MAGE_EMAIL": "me@example.org", "MAGE_PASSWORD": "x"}
    found = said(front_door.CHECKS["front door"], env)
    assert (found[0], found[1].startswith(begins.format(url=url))) == (state, True), found
    assert ("taxi ui" in found[1]) == (state == "FAIL")


def test_the_git_remote_is_read_as_an_instance_reads_it(tmp_path: Path) -> None:
    with GitHost(tmp_path / "host") as host:
        env = {"GIT_REPO_LINK": host.url, "GIT_ACCESS_TOKEN": TOKEN}
        state, text = said(project.git_remote, env)
        assert (state, text.startswith(f"{host.url}: it has no refs/heads/main; check")) == ("FAIL", True)
        host.push("first")
        assert said(project.git_remote, env) == ("ok", f"{host.url} answers")
        state, text = said(project.git_remote, {**env, "GIT_ACCESS_TOKEN": "a-wrong-one"})
        assert (state, "Authentication failed" in text, "a-wrong-one" in text) == ("FAIL", True, False)
    state, text = said(project.git_remote, {"GIT_REPO_LINK": "https://me:a-word@example.org/x.git"})
    assert (state, "a-word" in text, "put it into GIT_ACCESS_TOKEN" in text) == ("FAIL", False, True)


def test_without_a_repository_to_follow_that_of_the_checkout_is_asked_and_no_password_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for git in (["init", "-q"], ["remote", "add", "origin", "file://user:a-word@localhost/not-there.git"]):
        subprocess.run(["git", "-C", str(tmp_path), *git], check=True)
    monkeypatch.setattr(project, "ROOT", tmp_path)
    state, text = said(project.git_remote, {})
    assert (state, text.startswith("localhost/not-there.git: "), "a-word" in text) == ("FAIL", True, False)


def emulator_bucket(google_server: GoogleServer, google: GoogleSettings) -> dict[str, str]:
    return {**google_server.environment(), "GCS_BUCKET": google.bucket}


def test_bucket_and_data_set_must_be_in_one_place(google_server: GoogleServer, google: GoogleSettings) -> None:
    env = emulator_bucket(google_server, google)
    assert said(cloud.location, env) == (
        "ok",
        f"bucket {google.bucket} and data set {google.dataset} are in US",
    )
    state, text = said(cloud.location, {**env, "GOOGLE_LOCATION": "EU"})
    assert (state, "all three must be the same" in text or "one place" in text) == ("FAIL", True)
    state, text = said(cloud.location, {**env, "GCS_BUCKET": "not-there"})
    assert (state, "gcloud storage buckets create gs://not-there" in text) == ("FAIL", True), text
    assert said(cloud.location, {})[0] == "skip"


def test_a_key_file_that_is_a_folder_is_said(tmp_path: Path) -> None:
    env = {"GCS_BUCKET": "some-bucket", "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path)}
    state, text = said(cloud.key_file, env)
    assert (state, f"{tmp_path} is a folder: name a service account's key file" in text) == ("FAIL", True)
