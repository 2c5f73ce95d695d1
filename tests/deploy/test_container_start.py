"""The start of a container, without one: what it refuses, what it hands to Mage, and a server that follows git."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import psutil
import pytest
from nyc_taxi.settings import PostgresSettings

from ops.container import start
from ops.container.git_remote import remote_of
from ops.container.git_sync import Checkout
from ops.container.start import prepared
from ops.mage import triggers_on
from ops.mage.api import MageApi, MageApiError
from ops.mage.owner import EMAIL as OWNER_EMAIL
from ops.mage.server import scheduler_runs
from ops.paths import MAGE, PROJECT, ROOT
from ops.ports import free_port
from ops.wait import wait_until
from tests.conftest import environment_of, image_environment, metadata_url_of, sql
from tests.deploy.git_host import SMALL, TOKEN, GitHost
from tests.deploy.processes import CommandLines
from tests.server.conftest import wait

GOOD = {
    "ENV": "production",
    "DEFAULT_OWNER_EMAIL": "me@example.org",
    "DEFAULT_OWNER_PASSWORD": "a-long-owner-password",
    "JWT_SECRET": "a-long-secret-of-sessions",
    "MAGE_DATABASE_CONNECTION_URL": "postgresql+psycopg2://mage:pw@127.0.0.1:1/mage",
}
"""A production environment that nothing is wrong with, but for the database that is not there."""


def container(folder: Path, *command: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Start as the image does, with a command in the place of the server."""
    return subprocess.run(
        [sys.executable, "-m", "ops.container.start", *command],
        cwd=ROOT,
        env=environment(folder, **env),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def environment(folder: Path, **env: str) -> dict[str, str]:
    """What the image says of itself, in folders of the test's own."""
    own = image_environment()
    return {**own, "MAGE_DATA_DIR": str(folder / "data"), "NYC_TAXI_LOCAL_DIR": str(folder / "local"), **env}


def handed_over(result: "subprocess.CompletedProcess[str]") -> dict[str, str]:
    """The environment that the command `env -0` got."""
    assert result.returncode == 0, result.stderr
    lines = result.stdout.rpartition("\n")[2] if "\n" in result.stdout.split("\0", 1)[0] else result.stdout
    return dict(line.split("=", 1) for line in lines.split("\0") if line)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"DEFAULT_OWNER_EMAIL": ""}, "DEFAULT_OWNER_EMAIL is empty: set it to"),
        ({"DEFAULT_OWNER_EMAIL": "admin@admin.com"}, "DEFAULT_OWNER_EMAIL is 'admin@admin.com', a default: set it to"),
        ({"DEFAULT_OWNER_EMAIL": OWNER_EMAIL}, f"DEFAULT_OWNER_EMAIL is '{OWNER_EMAIL}', a default: set it to"),
        ({"DEFAULT_OWNER_PASSWORD": ""}, "DEFAULT_OWNER_PASSWORD is empty: set one"),
        (
            {"DEFAULT_OWNER_PASSWORD": "admin"},
            "DEFAULT_OWNER_PASSWORD is a default or placeholder that everybody knows",
        ),
        ({"DEFAULT_OWNER_PASSWORD": "too-short"}, "DEFAULT_OWNER_PASSWORD is shorter than 12 characters: set one"),
        ({"JWT_SECRET": ""}, "JWT_SECRET is empty: set one"),
        ({"JWT_SECRET": "materia"}, "JWT_SECRET is a default or placeholder that everybody knows: set one"),
        ({"JWT_SECRET": "fifteen-letters"}, "JWT_SECRET is shorter than 16 characters: set one"),
        ({"JWT_SECRET": "<your secret, sixteen letters>"}, "JWT_SECRET is a default or placeholder"),
        ({"REQUIRE_USER_AUTHENTICATION": "0"}, "REQUIRE_USER_AUTHENTICATION turns sign-in off: leave it out"),
        ({"REQUIRE_USER_PERMISSIONS": "1"}, "REQUIRE_USER_PERMISSIONS locks out everybody, the owner too"),
        ({"MAGE_DATABASE_CONNECTION_URL": ""}, "MAGE_DATABASE_CONNECTION_URL is empty: users, triggers and runs would"),
        ({"POSTGRES_PASSWORD": "mage"}, "POSTGRES_PASSWORD is a default or placeholder that everybody knows"),
        ({"ENV": "prod", "JWT_SECRET": ""}, "JWT_SECRET is empty: set one"),
    ],
)
def test_production_refuses_to_start_and_says_why(tmp_path: Path, change: dict[str, str], line: str) -> None:
    result = container(tmp_path, "true", **(GOOD | change))
    assert result.returncode == 1
    assert result.stdout == ""
    [said] = result.stderr.splitlines()
    assert said.startswith(f"REFUSED  {line}")
    assert "too-short" not in said
    assert "fifteen-letters" not in said


def test_production_refuses_dev_env_as_it_is_with_a_line_per_mend(tmp_path: Path) -> None:
    as_it_is = dict(
        line.split("=", 1) for line in (ROOT / "dev.env").read_text().splitlines() if "=" in line and line[0] != "#"
    )
    result = container(tmp_path, "true", **(as_it_is | {"ENV": "production"}))
    assert result.returncode == 1
    names = [line.split()[1] for line in result.stderr.splitlines()]
    assert names == [
        "DEFAULT_OWNER_EMAIL",
        "DEFAULT_OWNER_PASSWORD",
        "JWT_SECRET",
        "MAGE_DATABASE_CONNECTION_URL",
    ]


def test_without_sign_in_nothing_starts_here_either(tmp_path: Path) -> None:
    assert "turns sign-in off" in container(tmp_path, "true", REQUIRE_USER_AUTHENTICATION="false").stderr


def test_production_locks_what_is_for_development(tmp_path: Path) -> None:
    got = handed_over(container(tmp_path, "env", "-0", **(GOOD | {"DEFAULT_OWNER_USERNAME": ""})))
    locks = ("DISABLE_NOTEBOOK_EDIT_ACCESS", "DISABLE_TERMINAL", "HIDE_API_TRIGGER_TOKEN")
    assert [got[name] for name in (*locks, "REQUIRE_USER_AUTHENTICATION")] == ["1"] * 4
    assert got["MAGE_DATABASE_CONNECTION_URL"] == GOOD["MAGE_DATABASE_CONNECTION_URL"]
    assert "DEFAULT_OWNER_USERNAME" not in got  # what is empty is not set
    assert not (tmp_path / "local").exists()  # no secret is made up


def test_here_the_first_start_makes_the_secrets_and_says_them_once(tmp_path: Path) -> None:
    first = container(tmp_path, "env", "-0", DEFAULT_OWNER_PASSWORD="", JWT_SECRET="", MAGE_HOST_PORT="6790")
    got = handed_over(first)
    path = tmp_path / "local" / "owner.password"
    password = path.read_text()
    assert first.stdout.splitlines()[0] == f"http://localhost:6790  sign in as {OWNER_EMAIL} with {password}"
    assert len(password) >= 16
    assert password not in got.values()
    assert len(got["JWT_SECRET"]) >= 16
    assert got["JWT_SECRET"] not in first.stdout.splitlines()[0]
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    again = container(tmp_path, "env", "-0")
    assert path.read_text() == password
    assert again.stdout.splitlines()[0] == (
        f"http://localhost:6789  sign in as {OWNER_EMAIL} with the password of {path}"
    )


def test_settings_that_mage_could_not_read_are_refused(tmp_path: Path) -> None:
    result = container(tmp_path, SMTP_PASSWORD="secret \U0001f695", SMTP_HOST="h", SMTP_MAIL_FROM="f", ALERT_TO="t")
    assert result.returncode == 1
    [said] = result.stderr.splitlines()
    assert said.startswith("REFUSED  magic-zoomcamp/metadata.yaml: SMTP_PASSWORD holds a character beyond U+FFFF")
    assert "secret" not in said


def test_a_password_of_ones_own_is_named_and_not_said(tmp_path: Path) -> None:
    started = container(tmp_path, "env", "-0", DEFAULT_OWNER_PASSWORD="a-word-of-ones-own", MAGE_PASSWORD="theirs")
    assert not {"DEFAULT_OWNER_PASSWORD", "MAGE_PASSWORD"} & handed_over(started).keys()
    told = f"http://localhost:6789  sign in as {OWNER_EMAIL} with DEFAULT_OWNER_PASSWORD"
    assert started.stdout.splitlines()[0] == told
    assert not (tmp_path / "local" / "owner.password").exists()


def test_without_postgres_mage_keeps_a_file_beside_its_data(tmp_path: Path) -> None:
    got = handed_over(container(tmp_path, "env", "-0"))
    assert got["MAGE_DATABASE_CONNECTION_URL"] == f"sqlite:///{tmp_path}/data/mage-ai.db"
    assert got["HOME"] == str(tmp_path / "data" / "home")


def test_a_password_in_a_file_opens_postgres(tmp_path: Path, server: PostgresSettings) -> None:
    (tmp_path / "password").write_text(server.password + "\n")
    named = environment_of(server) | {"POSTGRES_PASSWORD": "", "POSTGRES_PASSWORD_FILE": str(tmp_path / "password")}
    got = handed_over(container(tmp_path, "env", "-0", **named))
    assert got["POSTGRES_PASSWORD"] == server.password
    assert got["MAGE_DATABASE_CONNECTION_URL"].endswith(f"@{server.host}:{server.port}/mage_metadata")


def test_a_password_that_postgres_does_not_take_is_said_so(tmp_path: Path, server: PostgresSettings) -> None:
    result = container(tmp_path, "true", **(environment_of(server) | {"POSTGRES_PASSWORD": "another-one"}))
    assert result.returncode == 1
    assert result.stderr.startswith("REFUSED  Postgres refuses user mage: ")
    assert "set POSTGRES_PASSWORD to that one again" in result.stderr
    assert "another-one" not in result.stderr


@pytest.mark.parametrize("job", [False, True])
def test_mage_beside_the_server_and_in_a_job_is_the_patched_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: bool
) -> None:
    monkeypatch.setenv("NYC_TAXI_LOCAL_DIR", str(tmp_path / "local"))
    start = prepared(environment(tmp_path), ["mage", "run", PROJECT.name, "test_config"], job=job)
    assert start.command == [*MAGE, "run", PROJECT.name, "test_config"]
    assert prepared(environment(tmp_path), ["env", "mage"], job=job).command == ["env", "mage"]


@pytest.mark.parametrize(("where", "counts"), [("production", "in-the-web-ui"), ("dev", "a-long-owner-password")])
def test_a_password_changed_in_the_web_ui_survives_a_start_in_production_and_gives_way_to_env_here(
    tmp_path: Path, database: PostgresSettings, monkeypatch: pytest.MonkeyPatch, where: str, counts: str
) -> None:
    monkeypatch.setenv("NYC_TAXI_LOCAL_DIR", str(tmp_path / "local"))
    env = environment(
        tmp_path, **(GOOD | {"MAGE_DATABASE_CONNECTION_URL": metadata_url_of(database, database.dbname), "ENV": where})
    )
    changed = bcrypt.hashpw(b"in-the-web-ui", bcrypt.gensalt(4)).decode()
    sql(database, 'CREATE TABLE "user" (email text, password_hash text, password_salt text)')
    try:
        sql(database, f"INSERT INTO \"user\" VALUES ('{GOOD['DEFAULT_OWNER_EMAIL']}', '{changed}', '')")
        prepared(env, [])
        [(kept,)] = sql(database, 'SELECT password_hash FROM "user"')
    finally:
        sql(database, 'DROP TABLE "user"')
    assert bcrypt.checkpw(counts.encode(), str(kept).encode())


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("", None),
        (os.devnull, None),
        (str(ROOT / "ops" / "container" / "no_key.json"), None),
        ("{}", "GOOGLE_APPLICATION_CREDENTIALS is a folder"),
        ("{}/absent.json", "GOOGLE_APPLICATION_CREDENTIALS names {}/absent.json, which is not there"),
    ],
)
def test_a_key_file_is_optional_and_must_be_a_file(tmp_path: Path, path: str, line: str | None) -> None:
    result = container(tmp_path, "env", "-0", GOOGLE_APPLICATION_CREDENTIALS=path.format(tmp_path))
    if line:
        assert result.stderr.startswith(f"REFUSED  {line.format(tmp_path)}")
    else:
        assert "GOOGLE_APPLICATION_CREDENTIALS" not in handed_over(result)


def test_emulators_that_do_not_run_are_not_waited_for(tmp_path: Path) -> None:
    began = time.monotonic()
    emulators = {"GCS_EMULATOR": "http://gcs.invalid:4443", "BIGQUERY_EMULATOR": "http://bigquery.invalid:9050"}
    assert "GCS_BUCKET" not in handed_over(container(tmp_path, "env", "-0", **emulators))
    assert time.monotonic() - began < 30


@pytest.fixture(scope="module")
def small_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHost]:
    """A git host with a part of this project."""
    with GitHost(tmp_path_factory.mktemp("host") / "host") as running:
        running.add_project(*SMALL)
        yield running


def test_a_job_of_its_own_gets_the_project_itself(tmp_path: Path, small_host: GitHost) -> None:
    git = {"GIT_REPO_LINK": small_host.url, "GIT_ACCESS_TOKEN": TOKEN}
    beside = container(tmp_path, "cat", "magic-zoomcamp/metadata.yaml", **git)
    assert "start the server first, which clones it" in beside.stderr
    alone = container(tmp_path, "--job", "cat", "magic-zoomcamp/metadata.yaml", **git)
    assert alone.returncode == 0, alone.stderr
    assert (small_host.work / PROJECT.name / "metadata.yaml").read_text() in alone.stdout
    assert container(tmp_path, "cat", "magic-zoomcamp/metadata.yaml", **git).returncode == 0
    # With a disk that the server shares, the checkout is the server's: nobody moves it under its feet.
    again = container(tmp_path, "--job", "true", **git)
    assert (again.returncode, "git:" in again.stdout) == (0, False)


def test_only_on_cloud_run_the_images_project_stands_in_for_a_remote_that_is_away(tmp_path: Path) -> None:
    away = {"GIT_REPO_LINK": f"http://127.0.0.1:{free_port()}/taxi.git", "GIT_ACCESS_TOKEN": TOKEN}
    refused = container(tmp_path, "--job", "ls", "magic-zoomcamp/pipelines", **away)
    assert refused.returncode == 1
    assert "Nothing was cloned before" in refused.stderr
    runs = container(tmp_path, "--job", "ls", "magic-zoomcamp/pipelines", **away, K_SERVICE="mage")
    assert runs.returncode == 0, runs.stderr
    assert "WARNING git: the last good commit runs instead" in runs.stdout
    assert set(runs.stdout.split()) >= {path.parent.name for path in PROJECT.glob("pipelines/*/metadata.yaml")}


@pytest.mark.parametrize(("where", "serves", "probed"), [("K_SERVICE", True, True), ("CLOUD_RUN_JOB", False, False)])
def test_only_a_server_on_cloud_run_has_a_probe_that_waits_for_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, serves: bool, probed: bool
) -> None:
    made: list[Checkout] = []
    monkeypatch.setattr(Checkout, "sync", lambda checkout, _: made.append(checkout))
    monkeypatch.setattr(start, "install_git_filter", lambda _: True)
    remote = remote_of(env := {"GIT_REPO_LINK": "https://example.org/taxi.git", where: "mage"})
    assert remote is not None
    start._from_git(remote, env, tmp_path / "home", serves=serves, alone=not serves)
    assert [(checkout.probed, checkout.spare) for checkout in made] == [(probed, PROJECT)]


# --- A server that follows git ----------------------------------------------------------------------------------------

SAYS = {
    f"{PROJECT.name}/custom/says.py": """\
import os

from nyc_taxi.said import WORD

if 'custom' not in globals():
    from mage_ai.data_preparation.decorators import custom


@custom
def says(**_: object) -> str:
    with open(os.environ['SAID_FILE'], 'w') as file:
        file.write(WORD)
    return WORD
""",
    f"{PROJECT.name}/pipelines/says/metadata.yaml": """\
blocks:
- configuration: {}
  downstream_blocks: []
  executor_type: local_python
  language: python
  name: says
  type: custom
  upstream_blocks: []
  uuid: says
name: says
run_pipeline_in_one_process: true
type: python
uuid: says
""",
}
WORD = f"{PROJECT.name}/utils/nyc_taxi/said.py"


@dataclass
class Following:
    """A running server, the host that it follows, and what it leaves behind."""

    process: "subprocess.Popen[bytes]"
    api: MageApi
    host: GitHost
    folder: Path
    database: str
    lines: CommandLines

    @property
    def checkout(self) -> Path:
        return self.folder / "data" / "repository"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def head(self) -> str:
        command = ["git", "-C", str(self.checkout), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def push(self, word: str, *, rewrite: bool = False) -> str:
        """Push another word for the library to say, or a history that begins with it; the commit."""
        (self.host.work / WORD).write_text(f"WORD = {word!r}\n" if word else "WORD = (\n")
        return (self.host.rewrite if rewrite else self.host.push)(f"Says {word}")

    def run(self, name: str) -> str:
        """What the pipeline says in a run of a time trigger."""
        (said := self.folder / "said").unlink(missing_ok=True)
        once = {"schedule_type": "time", "schedule_interval": "@once", "status": "inactive"}
        made = self.api.create("pipelines/says/pipeline_schedules", name=name, **once)
        self.api.update("pipeline_schedules", made["id"], status="active")
        return wait(lambda: said.read_text() if said.exists() else None, 120, f"the run of {name}") or ""


@pytest.fixture(scope="module")
def following(server: PostgresSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Following]:
    """A server started as the image starts it, with a database and a repository of its own."""
    folder = tmp_path_factory.mktemp("following")
    sql(server, "CREATE DATABASE of_the_container")
    database = metadata_url_of(server, "of_the_container")
    port = free_port()
    with GitHost(folder / "host") as host, CommandLines() as lines:
        for name, text in SAYS.items():
            (host.work / name).parent.mkdir(parents=True)
            (host.work / name).write_text(text)
        (host.work / WORD).parent.mkdir(parents=True)
        (host.work / WORD).write_text("WORD = 'one'\n")
        host.add_project()
        env = environment(
            folder,
            **(GOOD | {"MAGE_DATABASE_CONNECTION_URL": database}),
            GIT_REPO_LINK=host.url,
            GIT_ACCESS_TOKEN=TOKEN,
            GIT_BRANCH="main",
            SCHEDULER_TRIGGER_INTERVAL="1",
            SAID_FILE=str(folder / "said"),
            PORT=str(port),
        )
        with (folder / "log").open("wb") as log:
            command = [sys.executable, "-m", "ops.container.start"]
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            url = f"http://127.0.0.1:{port}"
            wait(lambda: scheduler_runs(url) or process.poll() is not None or None, 180, "the server")
            assert process.poll() is None, (folder / "log").read_text()
            api = MageApi(url, GOOD["DEFAULT_OWNER_EMAIL"], GOOD["DEFAULT_OWNER_PASSWORD"])
            yield Following(process, api, host, folder, database, lines)
        finally:
            for left in group(process.pid):
                left.kill()
            process.wait()


def group(pid: int) -> list[psutil.Process]:
    """What runs of a process group; the dead that nobody has buried are not counted."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == pid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.Error):
            continue
    return found


@pytest.mark.mage
def test_the_first_start_serves_every_pipeline_of_the_repository(following: Following) -> None:
    first = following.head()
    assert first == following.host.git("rev-parse", "HEAD")
    assert f"git: {following.host.url} main at {first[:7]}" in following.log.splitlines()[0]
    listed = {pipeline["uuid"] for pipeline in following.api.list("pipelines")}
    assert listed == {path.parent.name for path in PROJECT.glob("pipelines/*/metadata.yaml")} | {"says"}


@pytest.mark.mage
def test_a_scheduled_run_works_with_what_was_pushed_a_moment_ago(following: Following) -> None:
    pushed = following.push("two")
    # The library's word: it is the checkout's library that blocks import, and not that of the image.
    assert following.run("second") == "two"
    assert following.head() == pushed


@pytest.mark.mage
def test_a_broken_push_leaves_the_last_good_commit_at_work(following: Following) -> None:
    good = following.head()
    following.push("")
    assert following.run("third") == "two"
    assert following.head() == good
    with pytest.raises(MageApiError, match="ref updates aborted by hook"):
        following.api.update("syncs", "git", action_type="sync_data")
    assert "is broken and is not put to work: utils/nyc_taxi/said.py, line 1" in following.log
    assert following.head() == good


@pytest.mark.mage
def test_the_sync_of_the_web_ui_fetches_what_was_fixed(following: Following) -> None:
    fixed = following.push("four")
    following.api.update("syncs", "git", action_type="sync_data")
    assert following.head() == fixed
    branches = following.api.list("git_branches", include_remote_branches=1)
    assert [branch["name"] for branch in branches] == ["main", "mage-repo/main"]


@pytest.mark.mage
def test_a_rewritten_history_is_followed_by_a_server_that_runs(following: Following) -> None:
    rewritten = following.push("five", rewrite=True)
    assert following.run("fifth") == "five"
    assert following.head() == rewritten


@pytest.mark.mage
def test_no_package_is_installed_by_a_sync(following: Following) -> None:
    asked = following.lines.with_text("pip3 install -r")
    assert asked != []  # Mage does call pip
    assert "Successfully installed" not in following.log
    assert "Requirement already satisfied" not in following.log


@pytest.mark.mage
def test_the_token_is_nowhere_to_be_read(following: Following) -> None:
    assert following.lines.with_text("git-remote-http") + following.lines.with_text("git remote-http") != []
    assert following.lines.with_text(TOKEN) == []
    assert TOKEN not in following.log
    holding = [
        path
        for path in (following.folder / "data").rglob("*")
        if path.is_file() and TOKEN.encode() in path.read_bytes()
    ]
    assert holding == []
    assert GOOD["DEFAULT_OWNER_PASSWORD"] not in following.log
    environments = []
    for process in group(following.process.pid):
        with suppress(psutil.NoSuchProcess):  # one that ended just now
            environments.append(process.environ())
    assert len(environments) >= 2
    for environment_seen in environments:
        assert environment_seen["JWT_SECRET"] == GOOD["JWT_SECRET"]
        assert GOOD["DEFAULT_OWNER_PASSWORD"] not in environment_seen.values()


@pytest.mark.mage
def test_a_trigger_that_a_start_turns_off_is_named(following: Following) -> None:
    as_in_git = following.host.work / PROJECT.name
    [daily] = following.api.list("pipelines/green_taxi_etl/pipeline_schedules")
    assert triggers_on.lost(following.database, as_in_git) == []
    following.api.update("pipeline_schedules", daily["id"], status="active")
    assert triggers_on.lost(following.database, as_in_git) == [
        "trigger green_taxi_daily of green_taxi_etl was on and is off from now: its triggers.yaml says so. "
        "Set status: active there, and push"
    ]


@pytest.mark.mage
def test_without_the_remote_the_old_code_goes_on_and_the_run_says_so(following: Following) -> None:
    before = following.head()
    following.host.take_down()
    assert following.run("sixth") == "five"
    assert following.head() == before
    logs = following.folder / "data" / PROJECT.name / "pipelines" / "says"
    said = "".join(path.read_text() for path in logs.rglob("*.log"))
    assert f"Failed to sync data from git repo: {following.host.url}" in said
    assert TOKEN not in said


@pytest.mark.mage
def test_the_end_comes_within_five_seconds_and_leaves_nothing(following: Following) -> None:
    assert len(group(following.process.pid)) >= 2  # the scheduler is a process of its own
    os.killpg(following.process.pid, signal.SIGTERM)  # as `tini -g` does in the image
    # The question takes the ended process off the table too.
    assert wait_until(lambda: following.process.poll() is not None and not group(following.process.pid), 5)
