"""What the tests of the deployment share."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.paths import ROOT
from ops.ports import free_port
from tests.deploy.ssh_host import SshHost, running_ssh_host
from tests.deploy.stack import MAGE_UID, Stack, copy_of_the_project, docker
from tests.deploy.terraform import DEPLOY_PYTHON, WHEELS, Configuration, FakeCloud, FakeProviders, Workspace


@pytest.fixture(scope="session")
def deploy_environment() -> None:
    """The environment with the tools for these tests, or a skip that says how to get it."""
    if not DEPLOY_PYTHON.exists() or not list(WHEELS.glob("*.whl")):
        pytest.skip(".venv-deploy is not there: `make test-deploy` makes it")


@pytest.fixture(scope="session")
def terraform(deploy_environment: None) -> None:
    """Terraform itself, or a skip."""
    if not shutil.which("terraform"):
        pytest.skip("terraform is not installed: https://developer.hashicorp.com/terraform/install")


@pytest.fixture(scope="session")
def configuration(deploy_environment: None) -> Configuration:
    """The parsed text of terraform/."""
    return Configuration.parsed()


@pytest.fixture(scope="session")
def fake_providers(terraform: None) -> Iterator[FakeProviders]:
    """Where a test gets a cloud in memory from."""
    with FakeProviders() as running:
        yield running


@pytest.fixture
def fake_cloud(fake_providers: FakeProviders, tmp_path: Path) -> FakeCloud:
    """A cloud in memory, in its free trial."""
    return fake_providers.start(tmp_path)


@pytest.fixture
def workspace(fake_cloud: FakeCloud, tmp_path: Path) -> Workspace:
    """terraform/, ready to be applied to that cloud."""
    return Workspace.of(tmp_path / "terraform", fake_cloud)


@pytest.fixture(scope="session")
def engine() -> None:
    """A container engine with Compose, or a skip that says what is missing."""
    if shutil.which("docker") is None:
        pytest.skip("no docker on this machine")
    if (asked := docker("info")).returncode:
        pytest.skip(f"no container engine runs: {asked.stderr.strip()}")
    if docker("compose", "version").returncode:
        pytest.skip("docker has no plugin compose")


@pytest.fixture(scope="session")
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


@pytest.fixture
def ssh_host(tmp_path: Path) -> Iterator[SshHost]:
    """A real sshd, where the machine has one."""
    with running_ssh_host(tmp_path) as running:
        yield running
