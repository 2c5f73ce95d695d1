"""The containers, for real: built, started, used, killed and started again. Skipped where no engine runs."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ops.mage.api import MageApi, MageApiError
from ops.mage.owner import EMAIL
from ops.paths import PROJECT, ROOT
from ops.synthetic.generate import generate
from tests.conftest import REAL_FILES
from tests.deploy.stack import MAGE_UID, METADATA, MONTH_ROWS, Stack, docker, lose_power
from tests.server.conftest import wait

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3000)]

GREEN_ROWS = 100_000

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
    with_emulators = docker("compose", "--profile", "emulators", "config", "--services", cwd=tmp_path)
    assert set(with_emulators.stdout.split()) == {"magic", "postgres", "gcs", "bigquery"}


def test_images_are_pulled_where_the_settings_name_them(engine: None, tmp_path: Path) -> None:
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    named = {
        "MAGE_IMAGE": "ghcr.io/me/taxi/nyc-taxi-mage:v1",
        "EMULATORS_IMAGE": "ghcr.io/me/taxi/nyc-taxi-emulators:v1",
    }
    for settings, images in (({}, {"nyc-taxi-mage", "nyc-taxi-emulators"}), (named, set(named.values()))):
        lines = [*(ROOT / "dev.env").read_text().splitlines(), *(f"{name}={value}" for name, value in settings.items())]
        (tmp_path / ".env").write_text("\n".join(lines))
        asked = docker("compose", "--profile", "emulators", "config", "--images", cwd=tmp_path)
        assert set(asked.stdout.split()) == images | {"postgres:16"}, asked.stderr


def test_compose_gives_every_service_a_health_check_or_its_image_does() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert {name for name, service in services.items() if "healthcheck" not in service} == {"magic"}
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text().rpartition("FROM")[2]


def test_every_service_comes_back_by_itself_and_mounts_nothing_that_only_linux_has() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert {name: service.get("restart") for name, service in services.items()} == dict.fromkeys(
        services, "unless-stopped"
    )
    assert "/dev/null" not in (ROOT / "docker-compose.yml").read_text()
    assert (ROOT / "ops" / "container" / "no_key.json").read_bytes() == b""


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
    assert stack.sql('SELECT email FROM "user"', METADATA) == [[EMAIL]]
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
    command = ("python", "-m", "ops.container.start", "mage", "run", "magic-zoomcamp", "test_config", "--test")
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


@pytest.fixture(scope="module")
def every_minute(stack: Stack) -> Iterator[int]:
    """A trigger that should fire again within a minute, whatever has happened."""
    trigger = stack.start_trigger_of_every_minute("test_config")
    yield trigger
    stack.api.update("pipeline_schedules", trigger, status="inactive")


def test_what_the_kernel_kills_comes_back_and_goes_on(stack: Stack, every_minute: int) -> None:
    """As for want of memory: nobody has asked for it, so the engine starts it again."""
    killed = stack.start_run("api_to_postgres", service="yellow", month="2021-01", origin="dtc")
    wait(
        lambda: stack.sql("SELECT 1 FROM block_run WHERE status = 'RUNNING'", METADATA) or None, 120, "a block at work"
    )
    stack.compose("exec", "-T", "magic", "sh", "-c", "kill -9 -1", check=False)
    wait(lambda: stack.container("magic")["RestartCount"] or None, 60, "the engine to start it again")
    docker("restart", "--time", "0", stack.container("trips")["Id"])  # it shares a network that is new now
    stack.wait_until_healthy()
    assert stack.fires_again(every_minute)
    assert stack.ended(killed) == "completed"
    assert stack.rows("yellow_cab_data", "2021-01") > MONTH_ROWS / 2


def test_after_a_loss_of_power_everything_is_at_work_again(stack: Stack, every_minute: int) -> None:
    if "ENGINE_FOLDER" not in os.environ:
        pytest.skip("the engine is somebody's own: only one that with_engine.sh has started is killed")
    rows = stack.rows("yellow_cab_data", "2021-01")
    lose_power(Path(os.environ["ENGINE_FOLDER"]))
    stack.wait_until_healthy()
    assert stack.fires_again(every_minute)
    assert stack.rows("yellow_cab_data", "2021-01") == rows
    stack.up()  # the trip server, the test's own, has nobody who starts it


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


# --- With the emulators -----------------------------------------------------------------------------------------------

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
    "reference_tables": {},
    "test_config": {},
    "trip_report": MONTH,
    "trips_to_marts": {"month": "2021-01"},
}
"""Every pipeline, with a month as large as it really is; in this order."""


@pytest.fixture(scope="module")
def with_emulators(stack: Stack) -> Stack:
    """The same containers, started again with those of the profile beside them."""
    generate("green", "2021-01", "dtc", GREEN_ROWS, stack.folder / "trips")
    stack.compose("down", "--timeout", "5")
    stack.up("--profile", "emulators")
    return stack


def test_the_profile_is_all_that_it_takes_for_the_emulators(with_emulators: Stack) -> None:
    assert "emulators at http://gcs:4443 and http://bigquery:9050" in with_emulators.log("magic")
    for service in ("gcs", "bigquery"):
        assert "0" not in with_emulators.users(service)


def test_every_pipeline_that_ends_has_its_turn() -> None:
    described = {path.parent.name: path.read_text() for path in PROJECT.glob("pipelines/*/metadata.yaml")}
    assert set(RUNS) == {name for name, text in described.items() if "\ntype: streaming\n" not in text}


# The last block of all_targets compares Postgres, the bucket and BigQuery, and fails where they differ.
@pytest.mark.parametrize("pipeline", RUNS)
def test_every_pipeline_runs_within_the_memory_limit(with_emulators: Stack, pipeline: str) -> None:
    if pipeline == "green_taxi_etl":  # takes nothing but the city's real files
        if not REAL_FILES.is_dir():
            pytest.skip("the city's real files are not beside this checkout")
        shutil.copytree(REAL_FILES / "dtc" / "green", with_emulators.folder / "trips/dtc/green", dirs_exist_ok=True)
    assert with_emulators.run(pipeline, **RUNS[pipeline]) == "completed"
    assert with_emulators.killed_for_memory() == 0
