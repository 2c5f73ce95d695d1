"""`taxi users`: accounts of a running Mage."""

import subprocess
import sys
from pathlib import Path

import pytest

from ops.commands import users
from ops.errors import CommandFailed
from ops.mage.api import MageApi, MageApiError
from tests.conftest import process_environment
from tests.server.conftest import OWNER, Mage

pytestmark = pytest.mark.mage


def taxi_users(mage: Mage, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """The command against the running server, as a person gives it."""
    env = {
        **process_environment(),
        "MAGE_URL": mage.server.url,
        "MAGE_EMAIL": OWNER.email,
        "MAGE_PASSWORD": OWNER.password,
    }
    command = [str(Path(sys.executable).parent / "taxi"), "users", *arguments]
    return subprocess.run(command, env=env, input=stdin, capture_output=True, text=True, check=False)


def test_an_account_is_added_changed_and_removed(mage: Mage) -> None:
    email = "team@example.com"
    added = taxi_users(mage, "add", email, "--role", "viewer")
    assert added.returncode == 0, added.stderr
    password = added.stdout.partition(" signs in with ")[2].partition(":")[0]
    assert len(password) == 16
    member = MageApi(mage.server.url, email, password)
    assert member.list("pipelines")
    with pytest.raises(MageApiError, match="Viewer may not"):
        member.list("files")

    users.change_role(mage.api, email, "editor")
    assert users.role_of(users.account(mage.api, email)) == "editor"
    assert member.list("files")  # at once, in the same session

    users.change_password(mage.api, email, "another-password")
    with pytest.raises(MageApiError, match="invalid"):
        MageApi(mage.server.url, email, password).list("pipelines")
    assert MageApi(mage.server.url, email, "another-password").list("pipelines")

    users.remove(mage.api, email)
    assert email not in users.accounts(mage.api)
    with pytest.raises(MageApiError, match="Sign in first"):
        member.list("pipelines")


def test_a_password_comes_from_stdin_and_is_not_said(mage: Mage) -> None:
    added = taxi_users(mage, "add", "piped@example.com", "--role", "viewer", "--password-stdin", stdin="a-long-one\n")
    assert (added.returncode, added.stdout) == (0, "")
    assert MageApi(mage.server.url, "piped@example.com", "a-long-one").list("pipelines")
    users.remove(mage.api, "piped@example.com")


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["add", "a@example.com", "--role", "viewr"], "did you mean viewer?", 2),
        (["add", "no-address", "--role", "viewer"], "is not an e-mail address", 2),
        (["add", "a@example.com", "--role", "viewer", "--password-stdin"], "fewer than 8", 1),
        (["add", OWNER.email, "--role", "viewer"], "has an account", 1),
        (["role", OWNER.email.replace("owner", "ower"), "--role", "viewer"], f"did you mean {OWNER.email}?", 1),
    ],
)
def test_what_is_wrong_is_refused_with_the_nearest(mage: Mage, arguments: list[str], said: str, code: int) -> None:
    done = taxi_users(mage, *arguments, stdin="short\n")
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


def test_the_last_owner_stays_an_owner(mage: Mage) -> None:
    with pytest.raises(CommandFailed, match="the only owner"):
        users.change_role(mage.api, OWNER.email, "editor")
    users.add(mage.api, "second@example.com", "owner", "a-password-of-theirs")
    second = MageApi(mage.server.url, "second@example.com", "a-password-of-theirs")
    assert OWNER.email in users.accounts(second)
    users.change_role(second, "second@example.com", "viewer")
    with pytest.raises(CommandFailed, match="the only owner"):
        users.remove(mage.api, OWNER.email)
    users.remove(mage.api, "second@example.com")


def test_the_accounts_are_listed_with_their_roles(mage: Mage) -> None:
    done = taxi_users(mage)
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if OWNER.email in line and "owner " in line]
