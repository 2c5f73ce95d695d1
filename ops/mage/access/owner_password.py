"""
The owner's password on its way to Mage: by a pipe, for the one moment when Mage makes the owner's account.

Mage wants it in the environment, where every pipeline and everything that reads /proc finds it for as long as the
server runs. So it is not there: who starts Mage keeps it in a pipe, and `program` takes it out before Mage begins.
"""

import os
from collections.abc import Callable, MutableMapping
from functools import wraps
from typing import Any

NAME = "DEFAULT_OWNER_PASSWORD"
_PIPE = "OWNER_PASSWORD_PIPE"


def to_pipe(env: MutableMapping[str, str]) -> int:
    """
    Take the password out of the environment of a server to be started, into a pipe that the environment then names.

    The pipe's descriptor, for `pass_fds`; it stays open across an exec.
    """
    read, write = os.pipe()
    with os.fdopen(write, "wb") as inside:
        inside.write(env.pop(NAME).encode())  # far less than a pipe holds
    os.set_inheritable(read, True)
    env[_PIPE] = str(read)
    return read


def from_pipe(env: MutableMapping[str, str] = os.environ) -> str | None:
    """The password that whoever started this process has put into a pipe; it is not there again."""
    named = env.pop(_PIPE, None)
    if named is None:
        return None
    with os.fdopen(int(named), "rb") as pipe:
        return pipe.read().decode()


def give_once(server: Any, password: str) -> None:
    """Let Mage's module `server` have the password while it makes the owner's account, in no process but this one."""
    kept = [password]
    # The scheduler, and every run of a pipeline below it, is a copy of this process.
    os.register_at_fork(after_in_child=kept.clear)
    make_accounts: Callable[..., Any] = server.initialize_user_authentication

    @wraps(make_accounts)
    def make_accounts_with_password(*given: Any, **named: Any) -> Any:
        server.DEFAULT_OWNER_PASSWORD = kept.pop()
        try:
            return make_accounts(*given, **named)
        finally:
            del server.DEFAULT_OWNER_PASSWORD

    del server.DEFAULT_OWNER_PASSWORD
    server.initialize_user_authentication = make_accounts_with_password
