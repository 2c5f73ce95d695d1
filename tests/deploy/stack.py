"""The containers of this project, made from a copy of it: what tests ask of them."""

import json
import os
import signal
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from ops.mage.api import Json, MageApi
from ops.mage.owner import EMAIL
from ops.paths import PROJECT, ROOT
from ops.synthetic.generate import generate
from tests.project_copy import copy_project
from tests.server.conftest import wait

MAGE_IMAGE, EMULATORS_IMAGE = "nyc-taxi-mage", "nyc-taxi-emulators"
MONTH_ROWS = 1_369_765
"""As many as yellow 2021-01 really has."""
MAGE_UID = 1234 if os.getuid() == 0 else os.getuid()
"""Whose the project's files are; not the image's own user, wherever the test may choose."""
RUN_SECONDS = 400
RUN = Path("/var/run")
METADATA = "mage_metadata"
"""Mage's own database."""
TRIPS = """\
services:
  trips: # the trip files, at 127.0.0.1:8000 of Mage's own network
    image: nyc-taxi-mage
    network_mode: service:magic
    entrypoint: ["python", "-m", "ops.stack.trip_server", "/trips", "8000"]
    healthcheck: { test: ["CMD", "true"] } # the image's own is for Mage
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

    def start_trigger_of_every_minute(self, pipeline: str) -> int:
        """Its number."""
        given = {"name": "every minute", "schedule_type": "time", "schedule_interval": "* * * * *", "status": "active"}
        return int(self.api.create(f"pipelines/{pipeline}/pipeline_schedules", **given)["id"])

    def fires_again(self, trigger: int) -> bool:
        """Wait until a trigger of every minute has made a run more and that is done."""
        done = f"SELECT count(*) FROM pipeline_run WHERE pipeline_schedule_id = {trigger} AND status = 'COMPLETED'"
        before = self.sql(done, METADATA)
        return wait(lambda: self.sql(done, METADATA) != before or None, 150, f"a run of trigger {trigger}")

    def wait_until_healthy(self) -> None:
        def look() -> bool | None:
            states = [self.container(service)["State"] for service in ("magic", "postgres")]
            return all(state["Running"] and state["Health"]["Status"] == "healthy" for state in states) or None

        wait(look, 180, "healthy containers")

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


def lose_power(folder: Path) -> None:
    """Kill the engine that with_engine.sh has started, all that runs in it, and start another, as a machine boots."""
    running = docker("ps", "--quiet", "--no-trunc").stdout.split()
    first = docker("inspect", "--format", "{{.State.Pid}}", *running).stdout.split()
    path = folder / "dockerd.pid"
    keepers = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if {*running} & {*(process.info["cmdline"] or [])}  # containerd's, one for each container
    ]
    for pid in (int(path.read_text()), *keepers, *map(int, first)):
        os.kill(pid, signal.SIGKILL)
    for left in (RUN / "docker.pid", RUN / "docker/containerd/containerd.pid"):
        left.unlink(missing_ok=True)
    with (folder / "dockerd.log").open("ab") as log:
        engine = subprocess.Popen(["dockerd"], stdout=log, stderr=log, start_new_session=True)
    path.write_text(f"{engine.pid}\n")
    wait(lambda: docker("info").returncode == 0 or None, 60, f"the engine: {folder / 'dockerd.log'}")


def copy_of_the_project(folder: Path) -> Path:
    copy_project(folder)
    (folder / "docker-compose.trips.yml").write_text(TRIPS)
    generate("yellow", "2021-01", "dtc", MONTH_ROWS, folder / "trips")
    for path in (folder / PROJECT.name, *(folder / PROJECT.name).rglob("*")):
        if os.getuid() == 0:
            os.chown(path, MAGE_UID, MAGE_UID)
    for path in (folder, *folder.parents):
        if path.stat().st_uid == os.getuid() and path.stat().st_mode & 0o005 != 0o005:
            path.chmod(path.stat().st_mode | 0o055)  # pytest's folders are for their owner alone
    return folder


def image(name: str) -> Json:
    found: list[Json] = json.loads(docker("image", "inspect", name).stdout)
    return found[0]


def in_image(name: str, *command: str, **options: str) -> "subprocess.CompletedProcess[str]":
    given = [part for option, value in options.items() for part in (f"--{option}", value)]
    return docker("run", "--rm", *given, "--entrypoint", command[0], name, *command[1:])
