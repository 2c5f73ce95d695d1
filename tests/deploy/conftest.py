"""What the tests of the deployment share."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.terraform import DEPLOY_PYTHON, WHEELS, Configuration, StandIn, StandIns, Workspace


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
def stand_ins(terraform: None) -> Iterator[StandIns]:
    """Where a test gets a cloud in memory from."""
    with StandIns() as running:
        yield running


@pytest.fixture
def stand_in(stand_ins: StandIns, tmp_path: Path) -> StandIn:
    """A cloud in memory, in its free trial."""
    return stand_ins.start(tmp_path)


@pytest.fixture
def workspace(stand_in: StandIn, tmp_path: Path) -> Workspace:
    """terraform/, ready to be applied to that cloud."""
    return Workspace.of(tmp_path / "terraform", stand_in)
