"""What a container's start finds out before Mage needs it: a database that answers late, and folders it may write."""

import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Timer

import psycopg2
import pytest
from nyc_taxi.settings import PostgresSettings

from ops.container import database as asked
from ops.container import start
from ops.container.folders import choose_staging, writable_project
from ops.errors import StartRefused
from ops.ports import free_port
from tests.conftest import metadata_url_of
from tests.deploy.test_container_start import GOOD, container, environment, handed_over
from tests.deploy.test_terraform_environment import Connector

NOBODY = 65534


def by_socket(server: PostgresSettings, folder: Path, password: str = "") -> str:
    """The address that Terraform gives Mage: a socket in a folder of Cloud SQL's."""
    return f"postgresql+psycopg2://{server.user}:{password or server.password}@/{server.dbname}?host={folder}"


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, which writes everywhere."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_database_that_is_30_seconds_late_is_waited_for(server: PostgresSettings) -> None:
    with tempfile.TemporaryDirectory() as root, ExitStack() as running:
        folder = Path(root) / "my-project:us-central1:mage-0a1b2c"
        url = by_socket(server, folder)
        late = Timer(30, lambda: running.enter_context(Connector(folder, server.host, server.port)))
        began = time.monotonic()
        late.start()
        assert asked.metadata({"MAGE_DATABASE_CONNECTION_URL": url}, ask=True) == url
        assert 30 <= time.monotonic() - began < 45
        late.join()


def test_a_database_that_never_comes_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "SECONDS", 2)
    url = f"postgresql+psycopg2://mage:a-secret@127.0.0.1:{free_port()}/mage"
    with pytest.raises(
        StartRefused, match=r"^Postgres does not answer: .*Connection refused.*CONNECTION_URL$"
    ) as error:
        start.prepared(environment(tmp_path, **(GOOD | {"MAGE_DATABASE_CONNECTION_URL": url})), [])
    assert "a-secret" not in str(error.value)


def test_a_database_that_takes_a_connection_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "SECONDS", 1)
    monkeypatch.setattr(asked, "CONNECT_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://mage:a-secret@127.0.0.1:{silent.getsockname()[1]}/mage"
        with pytest.raises(StartRefused, match=r"Postgres does not answer: .*timeout expired"):
            asked.metadata({"MAGE_DATABASE_CONNECTION_URL": url}, ask=True)


def test_a_password_that_postgres_does_not_take_is_said_at_once(server: PostgresSettings) -> None:
    began = time.monotonic()
    wrong = metadata_url_of(server, server.dbname).replace(server.password, "another-one")
    with pytest.raises(StartRefused, match=r"^Postgres refuses user mage: .*Correct the password in") as error:
        asked.metadata({"MAGE_DATABASE_CONNECTION_URL": wrong}, ask=True)
    assert "another-one" not in str(error.value)
    assert time.monotonic() - began < 10


def test_a_database_that_goes_away_again_is_a_sentence_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise psycopg2.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(start, "prepared", gone)
    monkeypatch.setattr(sys, "argv", ["start"])
    assert start.main() == 1
    assert capsys.readouterr().err == "REFUSED  server closed the connection unexpectedly\n"


def test_a_command_beside_the_server_asks_no_database(tmp_path: Path) -> None:
    assert handed_over(container(tmp_path, "env", "-0", **GOOD))["ENV"] == "production"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MAGE_DATA_DIR", "/proc/mage", "MAGE_DATA_DIR /proc/mage cannot be written by user "),
        ("POSTGRES_PASSWORD_FILE", "/run/none", "POSTGRES_PASSWORD_FILE /run/none cannot be read: No such file"),
        ("MAGE_DATABASE_CONNECTION_URL", "postgresql://u:5%off@h/m", "MAGE_DATABASE_CONNECTION_URL is no address such"),
        ("MAGE_DATABASE_CONNECTION_URL", "nonsense", "MAGE_DATABASE_CONNECTION_URL is no address such"),
        ("GIT_REPO_LINK", "https://[::1", "GIT_REPO_LINK is no address such"),
    ],
)
def test_a_place_that_is_none_is_one_line(tmp_path: Path, name: str, value: str, said: str) -> None:
    result = container(tmp_path, "--job", "true", **(GOOD | {name: value}))
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith(f"REFUSED  {said}")
    assert "off" not in line


def test_a_command_that_is_none_is_one_line(tmp_path: Path) -> None:
    result = container(tmp_path, "no-such-program", **GOOD)
    assert (result.returncode, result.stderr) == (1, "REFUSED  no-such-program: there is no such program here\n")


def test_a_staging_folder_that_may_not_be_written_gives_way(capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        volume, data = Path(root) / "staging", Path(root) / "data"
        volume.mkdir(mode=0o555)
        data.mkdir()
        data.chmod(0o777)
        env = {"STAGING_DIR": str(volume), "REPORTS_DIR": str(volume / "reports")}
        with as_nobody():
            choose_staging(env, data)
        assert env == {"STAGING_DIR": str(data / "staging")}
    said = capsys.readouterr().out
    assert said.startswith(f"WARNING STAGING_DIR {volume} cannot be written by user ")
    assert f"(Permission denied): {data / 'staging'}, on the container's own disk, takes its place" in said


def test_a_project_that_may_not_even_be_read_is_a_line_with_what_to_do() -> None:
    with tempfile.TemporaryDirectory() as root:
        project = Path(root) / "magic-zoomcamp"
        project.mkdir()
        project.chmod(0o700 if not os.geteuid() else 0)
        Path(root).chmod(0o755)
        with as_nobody(), pytest.raises(StartRefused, match=r"cannot be read by user \d+: put MAGE_UID=.* chcon -R"):
            writable_project(project, Path(root) / "data", anew=True)
        project.chmod(0o700)


def test_without_any_staging_folder_nothing_starts(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "staging").touch()
    with pytest.raises(StartRefused, match=r"^STAGING_DIR .*/file/staging cannot be written: "):
        choose_staging({"STAGING_DIR": str(tmp_path / "file" / "staging")}, tmp_path / "data")


def test_a_staging_folder_that_may_be_written_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = {"STAGING_DIR": str(tmp_path / "disk" / "staging")}
    choose_staging(env, tmp_path / "data")
    assert env == {"STAGING_DIR": str(tmp_path / "disk" / "staging")}
    assert list((tmp_path / "disk" / "staging").iterdir()) == []
    assert capsys.readouterr().out == ""


def test_a_line_break_at_the_end_of_a_secret_is_taken_off_and_said(tmp_path: Path) -> None:
    secret = {"JWT_SECRET": GOOD["JWT_SECRET"] + "\n", "SLACK_WEBHOOK_URL": "https://hooks.example.org/a-path\r\n"}
    secret["SMTP_USER"] = "me@example.org\n"  # whatever its name: it may be one of secret_env
    result = container(tmp_path, "env", "-0", **(GOOD | secret))
    got = handed_over(result)
    assert (got["JWT_SECRET"], got["SLACK_WEBHOOK_URL"]) == (GOOD["JWT_SECRET"], "https://hooks.example.org/a-path")
    assert got["SMTP_USER"] == "me@example.org"
    for name in secret:
        assert f"WARNING {name} ends with a line break, which is taken off: store it with printf '%s'" in result.stdout
