"""The images, for real: what is in them and what is not, and how they start by themselves."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.mage.api import MageApi
from ops.mage.owner import EMAIL
from ops.paths import PROJECT, ROOT
from ops.ports import free_port
from tests.deploy.git_host import SMALL, GitHost
from tests.deploy.ssh_host import SshHost
from tests.deploy.stack import EMULATORS_IMAGE, MAGE_IMAGE, Stack, docker, image, in_image
from tests.server.conftest import wait

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3000)]

LARGEST_IMAGE = 1_500_000_000  # bytes


def test_the_image_is_small_labelled_and_nobodys_root(stack: Stack) -> None:
    made = image(MAGE_IMAGE)
    assert made["Size"] < LARGEST_IMAGE
    assert made["Config"]["User"] == "1000:0"
    assert made["Config"]["Healthcheck"]["Test"] == ["CMD", "python", "-m", "ops.container.health"]
    assert made["Config"]["Labels"]["org.opencontainers.image.title"] == MAGE_IMAGE
    assert image(EMULATORS_IMAGE)["Size"] < made["Size"]


def test_the_image_has_git_and_ssh_and_no_compiler(stack: Stack) -> None:
    code = "import shutil, sys; print([name for name in sys.argv[1:] if shutil.which(name)])"
    found = in_image(MAGE_IMAGE, "python", "-c", code, "git", "ssh", "tini", "gcc", "g++", "cc", "c++", "make")
    assert found.stdout == "['git', 'ssh', 'tini']\n"


def test_the_image_holds_compiled_code_and_no_secret(stack: Stack) -> None:
    # dbt's tests are part of its project.
    names = "-name '.env*' -o -name dev.env -o -name .git -o -name tests -not -path '*/dbt/*'"
    listed = in_image(MAGE_IMAGE, "sh", "-c", f"find /home/src {names}")
    assert listed.stdout == ""
    code = (
        "import importlib.util as u, mage_ai, nyc_taxi.load.bucket.month as lake, pathlib;"
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


@contextmanager
def running(*options: str, **env: str) -> Iterator[str]:
    """The name of a healthy container of the image alone; it and its volumes are gone afterwards."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    named = [part for variable in env for part in ("--env", variable)]  # values would be seen in the list of processes
    started = docker("run", "--detach", "--name", name, *options, *named, MAGE_IMAGE, cwd=ROOT, **env)
    assert started.returncode == 0, started.stderr
    try:
        health = ("inspect", "-f", "{{.State.Health.Status}}", name)
        wait(lambda: docker(*health).stdout.strip() == "healthy" or None, 240, "a healthy server")
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


def test_the_image_works_on_a_file_system_that_nobody_can_write(stack: Stack) -> None:
    options = ("--read-only", "--tmpfs", "/tmp", "--volume", "/home/src/mage_data")  # noqa: S108
    with running(*options) as name:
        assert "Mage works on a copy" in docker("logs", name).stdout
        command = ("python", "-m", "ops.container.start", "mage", "run", PROJECT.name, "test_config", "--test")
        ran = docker("exec", name, *command)
        # It runs as far as the database, which this container does not have.
        assert "psycopg2.OperationalError" in ran.stdout


def test_a_container_follows_a_repository_over_ssh_and_so_does_the_web_ui(
    stack: Stack, tmp_path: Path, ssh_host: SshHost
) -> None:
    description = f"{PROJECT.name}/pipelines/example_pipeline/metadata.yaml", "Mage's own", "Our own"
    port = free_port()
    own = {"PORT": str(port), "DEFAULT_OWNER_PASSWORD": "a-long-owner-password"}
    with GitHost(tmp_path / "host") as host:
        host.add_project(*SMALL)
        with running("--network", "host", **ssh_host.remote_for(host), **own) as name:
            api = MageApi(f"http://127.0.0.1:{port}", EMAIL, own["DEFAULT_OWNER_PASSWORD"])
            assert [pipeline["uuid"] for pipeline in api.list("pipelines")] == ["example_pipeline"]
            host.edit(*description)
            pushed = host.push("A new description")
            # Mage calls ssh itself here, which believes the pinned host alone.
            api.update("syncs", "git", action_type="sync_data")
            head = docker("exec", name, "git", "-C", "/home/src/mage_data/repository", "rev-parse", "HEAD")
            assert head.stdout.strip() == pushed, head.stderr
            assert "Our own first" in api.get("pipelines", "example_pipeline")["description"]
            told = docker("logs", name)
            assert "PRIVATE KEY" not in told.stdout + told.stderr


def test_a_job_of_load_many_is_started_by_mages_own_script(stack: Stack) -> None:
    command = ("mage", "run", f"/home/src/{PROJECT.name}", "example_pipeline", "--test")
    ran = docker("run", "--rm", "--entrypoint", "/app/run_app.sh", MAGE_IMAGE, *command)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Pipeline run completed." in ran.stdout
