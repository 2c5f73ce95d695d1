"""The owner's password reaches Mage without its environment, for one moment, and no copy of the process."""

import multiprocessing
import subprocess
import sys
from types import SimpleNamespace

import pytest

from ops.mage.access.owner_password import NAME, from_pipe, give_once, to_pipe

PASSWORD = "p\"a'ss é \U0001f695"
READ = """
import os
from ops.mage.access.owner_password import from_pipe
print(ascii(from_pipe()), from_pipe(), sorted(name for name in os.environ if "OWNER" in name))
"""


def test_it_comes_through_the_pipe_once_and_is_in_no_environment() -> None:
    env = {NAME: PASSWORD, "PATH": ""}
    pipe = to_pipe(env)
    assert NAME not in env
    assert PASSWORD not in env.values()
    command = [sys.executable, "-c", READ]
    said = subprocess.run(command, env=env, pass_fds=[pipe], capture_output=True, text=True, check=True).stdout
    assert said == f"{PASSWORD!a} None []\n"
    assert from_pipe({}) is None


def seen_by_a_copy() -> object:
    """What a process that was forked now could still use."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(_makes, (1,))


_server = SimpleNamespace()


def _makes(_: int) -> object:
    try:
        return _server.initialize_user_authentication("standalone")
    except IndexError:
        return "nothing"


@pytest.mark.filterwarnings("ignore:This process")  # other tests' threads
def test_mage_has_it_while_it_makes_the_account_and_a_copy_never() -> None:
    seen: list[object] = []

    def make(project_type: str) -> str:
        seen.append((project_type, _server.DEFAULT_OWNER_PASSWORD))
        return "client"

    _server.DEFAULT_OWNER_PASSWORD = "admin"
    _server.initialize_user_authentication = make
    give_once(_server, PASSWORD)
    assert not hasattr(_server, NAME)
    assert seen_by_a_copy() == "nothing"
    assert _server.initialize_user_authentication("standalone") == "client"
    assert seen == [("standalone", PASSWORD)]
    assert not hasattr(_server, NAME)
    assert _makes(1) == "nothing"
