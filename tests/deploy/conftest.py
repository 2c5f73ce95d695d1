"""What the tests of the deployment share."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.terraform import DEPLOY_PYTHON, WHEELS, Configuration, StandIn, Workspace


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


@pytest.fixture
def stand_in(terraform: None, tmp_path: Path) -> Iterator[StandIn]:
    """A cloud in memory, in its free trial."""
    with StandIn(tmp_path) as running:
        yield running


@pytest.fixture
def workspace(stand_in: StandIn, tmp_path: Path) -> Workspace:
    """terraform/, ready to be applied to that cloud."""
    return Workspace.of(tmp_path / "terraform", stand_in)
