"""
The start of a container: checks, the project from git, and then Mage in the place of this process.

Usage: python -m ops.container.start [[--job] COMMAND ...]

Without a command, Mage's server. With one, that command in the environment of the server beside it, for example
`docker compose exec magic python -m ops.container.start mage run magic-zoomcamp api_to_postgres --test`. With --job,
that command in a container of its own, which gets the project itself: the jobs of `load_many` start so, by
/app/run_app.sh.
"""

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from ops.container import database, google
from ops.container.folders import choose_staging, make_data, writable_project
from ops.container.git_remote import Remote, remote_of
from ops.container.git_sync import Checkout
from ops.container.say import say
from ops.cpu import refuse_old_cpu
from ops.errors import LocalStackError, StartRefused
from ops.mage import triggers_on
from ops.mage.access import owner_password
from ops.mage.git_filter import install_git_filter
from ops.mage.owner import EMAIL, Owner, kept_secret, renew_password
from ops.mage.production import LOCKED, is_on_cloud_run, is_production, refusals
from ops.mage.rendering import unreadable
from ops.mage.server import QUIET
from ops.paths import MAGE, PROJECT, ROOT, local_dir

PORT = "6789"
ALWAYS = {
    **QUIET,
    "DISABLE_AUTO_BROWSER_OPEN": "1",
    "DISABLE_TERMINAL": "1",
    "HIDE_API_TRIGGER_TOKEN": "1",
    "REQUIRE_USER_AUTHENTICATION": "1",
}
"""What every server has, unless its environment says otherwise."""
WITH_GIT = {
    "GIT_ENABLE_GIT_INTEGRATION": "1",
    "GIT_SYNC_ON_START": "0",  # done here, where it can be seen to work
    # Mage calls pip after every sync. What is installed stays; what is missing needs a new image, not a download.
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INDEX": "1",
    "PIP_QUIET": "1",
}
# Mage would write the token into the repository's address; git has it from `Remote.environment`.
NOT_FOR_MAGE = ("GIT_ACCESS_TOKEN", "GIT_KNOWN_HOSTS", "GIT_SSH_PRIVATE_KEY")


@dataclass(frozen=True)
class Start:
    """What to run, where, in which environment."""

    command: list[str]
    project: Path
    env: dict[str, str]


def prepared(given: Mapping[str, str], command: list[str], *, job: bool = False) -> Start:
    """
    Make everything ready for the server, for a command beside it, or for one alone (`job`).

    StartRefused with a line per thing to fix; LocalStackError on a processor that cannot run Mage.
    """
    refuse_old_cpu()
    # Compose hands over every line of .env; an empty one means that nothing is set.
    env = {name: _without_end(name, value) for name, value in given.items() if value}
    if "POSTGRES_PASSWORD_FILE" in env and "POSTGRES_PASSWORD" not in env:
        env["POSTGRES_PASSWORD"] = database.password_in(Path(env["POSTGRES_PASSWORD_FILE"]))
    if found := refusals(env):
        raise StartRefused("\n".join(found))
    env.pop("MAGE_PASSWORD", None)  # by which commands elsewhere sign in
    production, serves = is_production(env), not command
    data = Path(env.setdefault("MAGE_DATA_DIR", str(ROOT / "mage_data")))
    home = make_data(data)
    env["HOME"] = str(home)
    choose_staging(env, data)
    env = {**ALWAYS, **(LOCKED if production else {}), "REPORTS_DIR": str(data / "reports"), **env}
    if not production:
        _own_secrets(env)
    remote = remote_of(env)
    project = _from_git(remote, env, home, serves=serves, alone=job) if remote else _from_image(env)
    project = writable_project(project, data, anew=serves)
    # Before the library that came with the image: the project's own is the one its blocks were written for.
    env["PYTHONPATH"] = os.pathsep.join([str(project / "utils"), *_split(env.get("PYTHONPATH"))])
    google.choose(env, data)
    if found := unreadable(project, env):  # Mage would go on without the project's settings
        raise StartRefused("\n".join(found))
    env["MAGE_DATABASE_CONNECTION_URL"] = database.metadata(env, ask=serves or job)
    if serves:
        return Start(_server(env, project), project, env)
    del env[owner_password.NAME]  # nothing but a server's first start has need of it
    return Start([*MAGE, *command[1:]] if command[:1] == ["mage"] else command, project, env)


def _server(env: Mapping[str, str], project: Path) -> list[str]:
    """The command of Mage's server, once its database agrees with the environment and the project."""
    metadata = env["MAGE_DATABASE_CONNECTION_URL"]
    owner = Owner(env["DEFAULT_OWNER_EMAIL"], env["DEFAULT_OWNER_PASSWORD"], env["JWT_SECRET"])
    if not is_production(env):  # there people change it in the web UI, and the next start must not take that back
        renew_password(metadata, owner)
    for line in triggers_on.lost(metadata, project):
        say(f"WARNING {line}")
    return [*MAGE, "start", str(project), "--host", "0.0.0.0", "--port", env.get("PORT", PORT)]  # noqa: S104


def _without_end(name: str, value: str) -> str:
    """A value without the line break that `echo` put at its end: with such a password nobody would be let in."""
    bare = value.rstrip("\r\n")
    if bare != value:
        say(f"WARNING {name} ends with a line break, which is taken off: store it with printf '%s', not with echo")
    return bare


def _split(path: str | None) -> list[str]:
    return [part for part in (path or "").split(os.pathsep) if part]


def _own_secrets(env: dict[str, str]) -> None:
    """The sign-in of a server on one's own machine: made at the first start, kept with Mage's data, said once."""
    env.setdefault("DEFAULT_OWNER_EMAIL", EMAIL)
    env.setdefault("DEFAULT_OWNER_USERNAME", "owner")
    env.setdefault("MAGE_PUBLIC_HOST", f"http://localhost:{env.get('MAGE_HOST_PORT', PORT)}")
    named = "DEFAULT_OWNER_PASSWORD"
    if "DEFAULT_OWNER_PASSWORD" not in env:
        path = local_dir() / "owner.password"
        first = not path.exists()
        env["DEFAULT_OWNER_PASSWORD"] = kept_secret(path.name)
        named = env["DEFAULT_OWNER_PASSWORD"] if first else f"the password of {path}"
    say(f"{env['MAGE_PUBLIC_HOST']}  sign in as {env['DEFAULT_OWNER_EMAIL']} with {named}")
    if "JWT_SECRET" not in env:
        env["JWT_SECRET"] = kept_secret("jwt.secret")


def _from_git(remote: Remote, env: dict[str, str], home: Path, *, serves: bool, alone: bool) -> Path:
    """The project in a checkout of the remote, which `env` then lets Mage follow; who is alone takes what is there."""
    folder = Path(env.get("GIT_REPO_PATH") or home.parent / "repository").resolve()
    for name in NOT_FOR_MAGE:
        env.pop(name, None)
    for_git = remote.environment(home, folder)
    env.setdefault("GIT_SYNC_ON_PIPELINE_RUN", "1")
    env |= {**WITH_GIT, **for_git, "GIT_REPO_PATH": str(folder), "GIT_BRANCH": remote.branch}
    env |= {"GIT_AUTH_TYPE": "ssh" if remote.uses_ssh else "https", "GIT_REPO_LINK": remote.link}
    project = folder / remote.project
    if serves or (alone and not project.is_dir()):
        remote.prepare(home)
        # On Cloud Run every start is a first one: a remote that is away for a while must not take the server with it.
        in_cloud = is_on_cloud_run(env)
        Checkout(folder, remote, env, PROJECT if in_cloud else None, probed=in_cloud and serves).sync(say)
        install_git_filter(project)
        _warn_of_requirements(project.parent / "requirements.txt", ROOT / "requirements.txt")
    elif not project.is_dir():
        raise StartRefused(f"{project} is not there: start the server first, which clones it")
    return project


def _from_image(env: dict[str, str]) -> Path:
    """The project beside this program; Mage shall not look for a repository there."""
    for name in [name for name in env if name.startswith("GIT_")]:
        del env[name]
    return PROJECT


def _warn_of_requirements(wanted: Path, installed: Path) -> None:
    """Packages are the image's: say so when the repository asks for others."""
    if not wanted.exists() or not installed.exists() or _digest(wanted) == _digest(installed):
        return
    asked, here = (
        dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", path.read_text(), re.MULTILINE)) for path in (wanted, installed)
    )
    changes = [
        f"{name} {here.get(name, 'missing')} -> {asked.get(name, 'gone')}"
        for name in sorted(asked.keys() | here.keys())
        if asked.get(name) != here.get(name)
    ]
    listed = ", ".join(changes) or "only hashes or comments"
    say(f"WARNING requirements.txt changed since this image was built ({listed}): build and deploy a new image")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> int:
    """Become Mage, or the command, and never return; 1 with a line per reason when that must not be."""
    try:
        command = sys.argv[1:]
        job = command[:1] == ["--job"]
        start = prepared(os.environ, command[1:] if job else command, job=job)
        if owner_password.NAME in start.env:
            owner_password.to_pipe(start.env)
        if shutil.which(start.command[0], path=start.env.get("PATH")) is None:
            raise StartRefused(f"{start.command[0]}: there is no such program here")
        os.chdir(start.project.parent)
        os.execvpe(start.command[0], start.command, start.env)  # noqa: S606  # no shell, and nothing to come back to
    except (StartRefused, LocalStackError, psycopg2.OperationalError) as refused:
        for line in str(refused).splitlines():
            print(f"REFUSED  {line}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
