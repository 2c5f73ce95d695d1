"""The containers, for real: built, started, used, killed and started again. Skipped where no engine runs."""

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from local.generate import generate
from local.mage_api import Json, MageApi, MageApiError
from local.owner import EMAIL
from local.paths import PROJECT, ROOT
from local.ports import free_port
from tests.conftest import REAL_FILES
from tests.deploy.git_host import AS_IT_IS
from tests.server.conftest import wait

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3000)]

MAGE_IMAGE, EMULATORS_IMAGE = "nyc-taxi-mage", "nyc-taxi-emulators"
LARGEST_IMAGE = 1_500_000_000  # bytes
MONTH_ROWS = 1_369_765  # as many as yellow 2021-01 really has
GREEN_ROWS = 100_000
MAGE_UID = 1234 if os.getuid() == 0 else os.getuid()
"""Whose the project's files are; not the image's own user, wherever the test may choose."""
RUN_SECONDS = 400
TRIPS = """\
services:
  trips: # the trip files, at 127.0.0.1:8000 of Mage's own network
    image: nyc-taxi-mage
    network_mode: service:magic
    entrypoint: ["python", "-m", "local.trip_server", "/trips", "8000"]
    volumes: ["./trips:/trips:ro"]
"""


@dataclass
class Stack:
    """A copy of the project with a .env of its own, and the containers made from it."""

    folder: Path
    port: int
    password: str = field(default="", repr=False)

    def compose(self, *arguments: str, check: bool = True, **env: str) -> "subprocess.CompletedProcess[str]":
        files = ["-f", "docker-compose.yml", "-f", "docker-compose.trips.yml"]
        ran = docker("compose", *files, *arguments, cwd=self.folder, **env)
        assert ran.returncode == 0 or not check, f"docker compose {' '.join(arguments)}\n{ran.stdout}\n{ran.stderr}"
        return ran

    def up(self, *profile: str) -> None:
        self.compose(*profile, "up", "--detach", "--wait")

    @property
    def api(self) -> MageApi:
        return MageApi(f"http://127.0.0.1:{self.port}", EMAIL, self.password)

    def log(self, service: str) -> str:
        return docker("logs", self.container(service)["Id"]).stdout

    def signing_in(self) -> str:
        """The line of Mage's log that says how to sign in."""
        return next(line for line in self.log("magic").splitlines() if "sign in as" in line)

    def container(self, service: str) -> Json:
        """What the engine says of a service's container."""
        name = self.compose("ps", "--all", "--quiet", service).stdout.strip()
        found: list[Json] = json.loads(docker("inspect", name).stdout)
        return found[0]

    def users(self, service: str) -> list[str]:
        """The user id of each process of a service's container."""
        top = docker("top", self.container(service)["Id"], "-eo", "uid,pid").stdout.splitlines()[1:]
        return [line.split()[0] for line in top]

    def sql(self, statement: str, database: str = "mage") -> list[list[str]]:
        """Rows of a statement, as text, asked inside Postgres' own container."""
        command = ("exec", "-T", "postgres", "psql", "-U", "mage", "-d", database, "-AtX", "-c", statement)
        return [line.split("|") for line in self.compose(*command).stdout.splitlines()]

    def rows(self, table: str, month: str) -> int:
        """Rows of a month; 0 when the table is not there yet."""
        if self.sql(f"SELECT to_regclass('ny_taxi.{table}')") == [[""]]:
            return 0
        return int(self.sql(f"SELECT count(*) FROM ny_taxi.{table} WHERE file_month = '{month}-01'")[0][0])

    def start_run(self, pipeline: str, **variables: str) -> int:
        """Start a run by an API trigger; its number."""
        name = uuid.uuid4().hex
        trigger = self.api.create(f"pipelines/{pipeline}/pipeline_schedules", name=name, schedule_type="api")
        self.api.update("pipeline_schedules", trigger["id"], status="active")
        return int(self.api.create(f"pipeline_schedules/{trigger['id']}/pipeline_runs", variables=variables)["id"])

    def ended(self, number: int) -> str:
        """The status of a run, once it has ended."""
        api = self.api

        def status() -> str | None:
            found = str(api.get("pipeline_runs", number)["status"])
            return found if found in ("completed", "failed", "cancelled") else None

        return wait(status, RUN_SECONDS, f"the end of run {number}")

    def run(self, pipeline: str, **variables: str) -> str:
        """Start a run and wait for its end; its status."""
        return self.ended(self.start_run(pipeline, **variables))

    def killed_for_memory(self) -> int:
        """How many of Mage's processes the kernel has killed at the memory limit; cgroups of either version."""
        files = "cat /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control 2>/dev/null"
        said = self.compose("exec", "-T", "magic", "sh", "-c", files, check=False).stdout
        return next(int(line.split()[1]) for line in said.splitlines() if line.startswith("oom_kill "))


def docker(*arguments: str, cwd: Path = ROOT, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["docker", *arguments],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=2400,
        check=False,
    )


@pytest.fixture(scope="module")
def engine() -> None:
    """A container engine with Compose, or a skip that says what is missing."""
    if shutil.which("docker") is None:
        pytest.skip("no docker on this machine")
    if (asked := docker("info")).returncode:
        pytest.skip(f"no container engine runs: {asked.stderr.strip()}")
    if docker("compose", "version").returncode:
        pytest.skip("docker has no plugin compose")


@pytest.fixture(scope="module")
def stack(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The images built and the containers up, as the README says; nothing of them is left but the images."""
    stack = Stack(copy_of_the_project(tmp_path_factory.mktemp("compose")), free_port())
    settings = {
        "COMPOSE_PROJECT_NAME": f"test{uuid.uuid4().hex[:8]}",
        "MAGE_HOST_PORT": str(stack.port),
        "MAGE_UID": str(MAGE_UID),
        "POSTGRES_HOST_PORT": str(free_port()),
        "SCHEDULER_TRIGGER_INTERVAL": "1",  # seconds
        "TLC_DTC_BASE_URL": "http://127.0.0.1:8000/dtc",
        "TLC_PARQUET_BASE_URL": "http://127.0.0.1:8000/trip-data",
    }
    kept = [line for line in (ROOT / "dev.env").read_text().splitlines() if line.split("=")[0] not in settings]
    written = [*kept, *(f"{name}={value}" for name, value in settings.items())]
    (stack.folder / ".env").write_text("\n".join(written) + "\n")
    try:
        stack.compose("--profile", "emulators", "build")
        stack.up()
        stack.password = stack.signing_in().split()[-1]
        yield stack
    finally:
        stack.compose("--profile", "emulators", "down", "--volumes", "--timeout", "5", check=False)


def copy_of_the_project(folder: Path) -> Path:
    listed = subprocess.run(["git", "ls-files", "-z", *AS_IT_IS], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "docker-compose.trips.yml").write_text(TRIPS)
    generate("yellow", "2021-01", "dtc", MONTH_ROWS, folder / "trips")
    for path in (folder / PROJECT.name, *(folder / PROJECT.name).rglob("*")):
        if os.getuid() == 0:
            os.chown(path, MAGE_UID, MAGE_UID)
    for path in (folder, *folder.parents):
        if path.stat().st_uid == os.getuid() and path.stat().st_mode & 0o005 != 0o005:
            path.chmod(path.stat().st_mode | 0o055)  # pytest's folders are for their owner alone
    return folder


# --- Before anything runs ---------------------------------------------------------------------------------------------


def test_dev_env_copied_is_all_that_compose_needs(engine: None, tmp_path: Path) -> None:
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    shutil.copy(ROOT / "dev.env", tmp_path / ".env")
    plain = docker("compose", "config", "--format", "json", cwd=tmp_path)
    assert plain.returncode == 0, plain.stderr
    assert plain.stderr == ""
    services = json.loads(plain.stdout)["services"]
    assert set(services) == {"magic", "postgres"}
    ports = [port for service in services.values() for port in service["ports"]]
    assert [port["host_ip"] for port in ports] == ["127.0.0.1"] * 2
    assert [(port["target"], port["published"]) for port in ports] == [(6789, "6789"), (5432, "5432")]
    assert services["magic"]["mem_limit"] == str(2 * 1024**3)
    assert services["postgres"]["image"].startswith("postgres:16")
    with_stand_ins = docker("compose", "--profile", "emulators", "config", "--services", cwd=tmp_path)
    assert set(with_stand_ins.stdout.split()) == {"magic", "postgres", "gcs", "bigquery"}


def test_compose_gives_every_service_a_health_check_or_its_image_does() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert {name for name, service in services.items() if "healthcheck" not in service} == {"magic"}
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text().rpartition("FROM")[2]


# --- The images -------------------------------------------------------------------------------------------------------


def image(name: str) -> Json:
    found: list[Json] = json.loads(docker("image", "inspect", name).stdout)
    return found[0]


def in_image(name: str, *command: str, **options: str) -> "subprocess.CompletedProcess[str]":
    given = [part for option, value in options.items() for part in (f"--{option}", value)]
    return docker("run", "--rm", *given, "--entrypoint", command[0], name, *command[1:])


def test_the_image_is_small_labelled_and_nobodys_root(stack: Stack) -> None:
    made = image(MAGE_IMAGE)
    assert made["Size"] < LARGEST_IMAGE
    assert made["Config"]["User"] == "1000:0"
    assert made["Config"]["Healthcheck"]["Test"] == ["CMD", "python", "-m", "local.container_health"]
    assert made["Config"]["Labels"]["org.opencontainers.image.title"] == MAGE_IMAGE
    assert image(EMULATORS_IMAGE)["Size"] < made["Size"]


def test_the_image_has_git_and_ssh_and_no_compiler(stack: Stack) -> None:
    code = "import shutil, sys; print([name for name in sys.argv[1:] if shutil.which(name)])"
    found = in_image(MAGE_IMAGE, "python", "-c", code, "git", "ssh", "tini", "gcc", "g++", "cc", "c++", "make")
    assert found.stdout == "['git', 'ssh', 'tini']\n"


def test_the_image_holds_compiled_code_and_no_secret(stack: Stack) -> None:
    listed = in_image(
        MAGE_IMAGE, "sh", "-c", "find /home/src -name '.env*' -o -name dev.env -o -name .git -o -name tests"
    )
    assert listed.stdout == ""
    code = (
        "import importlib.util as u, mage_ai, nyc_taxi.lake as lake, pathlib;"
        "print([pathlib.Path(u.cache_from_source(m.__file__)).exists() for m in (mage_ai, lake)])"
    )
    assert in_image(MAGE_IMAGE, "python", "-c", code).stdout == "[True, True]\n"


def test_the_image_believes_no_ssh_host_but_the_pinned_ones(stack: Stack) -> None:
    # Mage calls ssh with a key and nothing else.
    settings = in_image(MAGE_IMAGE, "ssh", "-G", "git@github.com").stdout.splitlines()
    assert "stricthostkeychecking true" in settings
    assert "userknownhostsfile /home/src/mage_data/home/.ssh/pinned_hosts" in settings


def test_production_does_not_start_with_defaults(stack: Stack) -> None:
    ran = docker("run", "--rm", "--env", "ENV=production", MAGE_IMAGE)
    assert ran.returncode == 1
    assert [line.split()[:2] for line in ran.stderr.splitlines()] == [
        ["REFUSED", "DEFAULT_OWNER_EMAIL"],
        ["REFUSED", "DEFAULT_OWNER_PASSWORD"],
        ["REFUSED", "JWT_SECRET"],
        ["REFUSED", "MAGE_DATABASE_CONNECTION_URL"],
    ]


def test_a_key_file_that_is_not_there_is_an_error_and_no_new_folder(stack: Stack, tmp_path: Path) -> None:
    key = tmp_path / "absent.json"
    ran = stack.compose(
        "run", "--rm", "--no-deps", "magic", "true", check=False, GOOGLE_APPLICATION_CREDENTIALS=str(key)
    )
    assert ran.returncode != 0
    assert str(key) in ran.stderr
    assert not key.exists()


def test_the_image_works_on_a_file_system_that_nobody_can_write(stack: Stack) -> None:
    name = f"readonly-{uuid.uuid4().hex[:8]}"
    options = ("--name", name, "--read-only", "--tmpfs", "/tmp", "--volume", f"{name}:/home/src/mage_data")  # noqa: S108
    started = docker("run", "--detach", *options, MAGE_IMAGE)
    assert started.returncode == 0, started.stderr
    try:
        health = ("inspect", "-f", "{{.State.Health.Status}}", name)
        wait(lambda: docker(*health).stdout.strip() == "healthy" or None, 240, "a healthy server")
        assert "Mage works on a copy" in docker("logs", name).stdout
        command = ("python", "-m", "local.container", "mage", "run", PROJECT.name, "test_config", "--test")
        ran = docker("exec", name, *command)
        # It runs as far as the database, which this container does not have.
        assert "psycopg2.OperationalError" in ran.stdout
    finally:
        docker("rm", "--force", "--volumes", name)
        docker("volume", "rm", name)


def test_a_job_of_load_many_is_started_by_mages_own_script(stack: Stack) -> None:
    command = ("mage", "run", f"/home/src/{PROJECT.name}", "example_pipeline", "--test")
    ran = docker("run", "--rm", "--entrypoint", "/app/run_app.sh", MAGE_IMAGE, *command)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Pipeline run completed." in ran.stdout


# --- The containers ---------------------------------------------------------------------------------------------------


def test_the_first_start_says_how_to_sign_in(stack: Stack) -> None:
    assert stack.signing_in() == f"http://localhost:{stack.port}  sign in as {EMAIL} with {stack.password}"
    assert len(stack.password) >= 16
    assert len(stack.api.list("pipelines")) == len(list(PROJECT.glob("pipelines/*/metadata.yaml")))
    with pytest.raises(MageApiError):
        MageApi(f"http://127.0.0.1:{stack.port}", EMAIL, "admin").list("pipelines")
    with pytest.raises(MageApiError):
        MageApi(f"http://127.0.0.1:{stack.port}", "admin@admin.com", "admin").list("pipelines")


def test_mage_keeps_its_metadata_in_postgres_apart_from_the_trips(stack: Stack) -> None:
    assert stack.sql('SELECT email FROM "user"', "mage_metadata") == [[EMAIL]]
    assert stack.sql("SELECT to_regclass('pipeline_run')") == [[""]]


def test_postgres_has_a_password_of_its_own_and_no_replication_log(stack: Stack) -> None:
    assert stack.sql("SHOW wal_level") == [["minimal"]]
    assert stack.sql("SHOW max_wal_senders") == [["0"]]
    password = stack.compose("exec", "-T", "magic", "cat", "/run/postgres/password").stdout
    assert len(password) >= 24
    assert "POSTGRES_PASSWORD=\n" in (stack.folder / ".env").read_text() + "\n"
    by_network = ("exec", "-T", "-e", "PGPASSWORD=mage", "postgres", "psql", "-h", "postgres", "-U", "mage", "-c", "")
    assert "authentication failed" in stack.compose(*by_network, check=False).stderr


def test_no_process_runs_as_root(stack: Stack) -> None:
    assert set(stack.users("magic")) == {str(MAGE_UID)}
    assert len(stack.users("magic")) >= 3  # tini, the server, its scheduler
    assert "0" not in stack.users("postgres")
    assert len(stack.users("postgres")) >= 5


def test_what_the_web_ui_saves_is_the_users_own_file(stack: Stack) -> None:
    path = stack.folder / PROJECT.name / "pipelines" / "example_pipeline" / "metadata.yaml"
    stack.api.update("pipelines", "example_pipeline", description="Saved in a container")
    assert yaml.safe_load(path.read_text())["description"] == "Saved in a container"
    assert path.stat().st_uid == MAGE_UID
    assert "cannot save" not in stack.log("magic")


def test_a_whole_month_is_loaded_within_the_memory_limit(stack: Stack) -> None:
    assert stack.run("api_to_postgres", service="yellow", month="2021-01", origin="dtc") == "completed"
    [[read, accepted]] = stack.sql("SELECT rows_read, rows_accepted FROM ny_taxi.load_audit")
    assert int(read) == MONTH_ROWS
    assert stack.rows("yellow_cab_data", "2021-01") == int(accepted)
    assert stack.container("magic")["HostConfig"]["Memory"] == 2 * 1024**3
    assert stack.killed_for_memory() == 0


def test_a_command_beside_the_server_has_its_environment(stack: Stack) -> None:
    command = ("python", "-m", "local.container", "mage", "run", "magic-zoomcamp", "test_config", "--test")
    ran = stack.compose("exec", "-T", "magic", *command)
    assert "Traceback" not in ran.stdout + ran.stderr


def test_the_end_comes_within_five_seconds(stack: Stack) -> None:
    began = time.monotonic()
    stack.compose("stop", "--timeout", "30", "magic")
    assert time.monotonic() - began < 5
    state = stack.container("magic")["State"]
    assert state["Running"] is False
    assert state["ExitCode"] in (0, 128 + 15)


def test_down_and_up_keep_the_data(stack: Stack) -> None:
    stack.compose("up", "--detach", "--wait", "postgres")
    before = stack.rows("yellow_cab_data", "2021-01")
    assert before > MONTH_ROWS / 2
    stack.compose("down", "--timeout", "5")
    stack.up()
    assert stack.rows("yellow_cab_data", "2021-01") == before
    assert len(stack.api.list("pipeline_runs")) == 1
    assert f"sign in as {EMAIL} with the password of " in stack.log("magic")
    assert stack.password not in stack.log("magic")


def test_a_month_is_whole_after_a_kill_in_the_middle_of_a_load(stack: Stack) -> None:
    old = stack.rows("yellow_cab_data", "2021-01")
    generate("yellow", "2021-01", "dtc", MONTH_ROWS + 50_000, stack.folder / "trips", seed=1)
    killed = stack.start_run("api_to_postgres", service="yellow", month="2021-01", origin="dtc")
    copying = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active'"
    wait(lambda: stack.sql(copying) == [["1"]] or None, 120, "the load")
    stack.compose("kill")
    stack.compose("up", "--detach", "--wait", "postgres")
    assert stack.rows("yellow_cab_data", "2021-01") == old
    stack.up()
    # Mage takes the run up again by itself.
    assert stack.ended(killed) == "completed"
    new = int(stack.sql("SELECT rows_accepted FROM ny_taxi.load_audit ORDER BY load_id DESC LIMIT 1")[0][0])
    assert new > old
    assert stack.rows("yellow_cab_data", "2021-01") == new


def test_a_dump_brings_trips_and_history_back(stack: Stack) -> None:
    held = stack.rows("yellow_cab_data", "2021-01"), stack.sql("SELECT * FROM ny_taxi.load_audit ORDER BY load_id")
    for command in (
        "pg_dump -U mage -Fc mage > /tmp/trips.dump",
        "psql -U mage -d mage -c 'DELETE FROM ny_taxi.yellow_cab_data; DROP TABLE ny_taxi.load_audit'",
        "pg_restore -U mage -d mage --clean --if-exists --exit-on-error /tmp/trips.dump",
    ):
        stack.compose("exec", "-T", "postgres", "sh", "-euc", command)
    assert held[0] > MONTH_ROWS / 2
    assert held == (
        stack.rows("yellow_cab_data", "2021-01"),
        stack.sql("SELECT * FROM ny_taxi.load_audit ORDER BY load_id"),
    )
    assert stack.run("api_to_postgres", service="yellow", month="2021-01", origin="dtc") == "completed"
    assert stack.rows("yellow_cab_data", "2021-01") == held[0]


# --- With the stand-ins -----------------------------------------------------------------------------------------------

MONTH = {"service": "yellow", "month": "2021-01", "origin": "dtc"}
RUNS: dict[str, dict[str, str]] = {
    "all_targets": MONTH,
    "api_to_gcs": MONTH,
    "api_to_gcs_parameterized": {**MONTH, "day": "2021-01-05"},
    "api_to_postgres": MONTH,
    "clean_up": {},
    "example_pipeline": {},
    "gcs_to_bigquery": MONTH,
    "green_taxi_etl": {},
    "load_many": {"services": "yellow,green", "from": "2021-01", "to": "2021-01"},
    "local_to_gcs": {},
    "test_config": {},
    "trip_report": MONTH,
}
"""Every pipeline, with a month as large as it really is; in this order."""


@pytest.fixture(scope="module")
def with_stand_ins(stack: Stack) -> Stack:
    """The same containers, started again with those of the profile beside them."""
    generate("green", "2021-01", "dtc", GREEN_ROWS, stack.folder / "trips")
    stack.compose("down", "--timeout", "5")
    stack.up("--profile", "emulators")
    return stack


def test_the_profile_is_all_that_it_takes_for_the_stand_ins(with_stand_ins: Stack) -> None:
    assert "stand-ins at http://gcs:4443 and http://bigquery:9050" in with_stand_ins.log("magic")
    for service in ("gcs", "bigquery"):
        assert "0" not in with_stand_ins.users(service)


def test_every_pipeline_has_its_turn() -> None:
    assert set(RUNS) == {path.parent.name for path in PROJECT.glob("pipelines/*/metadata.yaml")}


# The last block of all_targets compares Postgres, the bucket and BigQuery, and fails where they differ.
@pytest.mark.parametrize("pipeline", RUNS)
def test_every_pipeline_runs_within_the_memory_limit(with_stand_ins: Stack, pipeline: str) -> None:
    if pipeline == "green_taxi_etl":  # takes nothing but the city's real files
        if not REAL_FILES.is_dir():
            pytest.skip("the city's real files are not beside this checkout")
        shutil.copytree(REAL_FILES / "dtc" / "green", with_stand_ins.folder / "trips/dtc/green", dirs_exist_ok=True)
    assert with_stand_ins.run(pipeline, **RUNS[pipeline]) == "completed"
    assert with_stand_ins.killed_for_memory() == 0
