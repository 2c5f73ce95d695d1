"""The doctor's checks of the project's settings and of what it reaches: Postgres, broker, git remote, triggers."""

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from nyc_taxi.errors import TaxiError
from nyc_taxi.live.look import streams_at
from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.settings import Settings

from ops.commands.doctor.finding import Check, NotNeeded, Settled, Wrong
from ops.commands.triggers import compare
from ops.container.git_remote import remote_of
from ops.errors import StartRefused
from ops.mage.connect import address, connect_to_mage
from ops.mage.rendering import FILES, unreadable
from ops.mage.server import scheduler_runs
from ops.paths import PROJECT, ROOT
from ops.stack import stack

GIT_SECONDS = 15


def postgres(env: Settled) -> str:
    """The configured server, with the rights to load; this machine's own when none is configured."""
    if "POSTGRES_HOST" not in env:
        server = stack.status().postgres
        return f"runs at {server.host}:{server.port}" if server else "this machine's own starts with the first command"
    try:
        settings = Settings.from_environment(env).postgres
        with connect(settings) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT has_database_privilege(current_database(), 'CREATE') OR has_schema_privilege(oid, 'CREATE') "
                "FROM (SELECT to_regnamespace(%s) AS oid) AS named",
                (settings.schema,),
            )
            if cursor.fetchone() != (True,):
                raise Wrong(
                    f"{settings.user} may not create schema {settings.schema} on {settings.where}: "
                    f"GRANT CREATE ON DATABASE {settings.dbname} TO {settings.user}"
                )
    except TaxiError as error:
        raise Wrong(str(error)) from None
    return f"{settings.user} may load into {settings.where}, schema {settings.schema}"


def broker(env: Settled) -> str:
    """The broker of the stream, for who streams: asked as live_trips asks it."""
    own = stack.status().broker
    if own is None and "NATS_URL" not in env:
        raise NotNeeded("none runs, and NATS_URL names none: only live_trips needs one, and taxi live starts it")
    url = {"NATS_URL": own.url} if own and "NATS_URL" not in env else {}
    try:
        settings = Settings.from_environment({**env, **url}).broker
        streams = streams_at(settings)
    except TaxiError as error:
        raise Wrong(str(error)) from None
    return f"NATS at {settings.url} answers, with JetStream; streams there: {streams}"


def settings(env: Settled) -> str:
    """The files that Mage renders, with the real settings."""
    if found := unreadable(PROJECT, env):
        raise Wrong("; ".join(found))
    return f"{' and '.join(FILES)} are read with these settings"


def git_remote(env: Settled) -> str:
    """The repository that an instance follows, read as the instance reads it; else that of this checkout."""
    try:
        remote = remote_of(env)
    except StartRefused as refused:
        raise Wrong(str(refused)) from None
    if remote is None:
        origin = _git("remote", "get-url", "origin").stdout.strip()
        if not origin:
            raise NotNeeded("this checkout has no remote: only git-sync needs one")
        return _answering(origin, "HEAD", {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes"})
    with tempfile.TemporaryDirectory() as home:
        remote.prepare(Path(home))
        return _answering(remote.link, f"refs/heads/{remote.branch}", remote.environment(Path(home), ROOT))


def _answering(address: str, ref: str, credentials: Mapping[str, str]) -> str:
    """Whether a remote has a ref that we may read."""
    shown = address.rsplit("@", 1)[-1]  # without a token that somebody wrote into it
    try:
        answer = _git("ls-remote", "--exit-code", address, ref, more=credentials)
    except subprocess.TimeoutExpired:
        raise Wrong(f"{shown} does not answer in {GIT_SECONDS} s: check the network") from None
    if answer.returncode != 0:
        said = (answer.stderr.strip().splitlines() or [f"it has no {ref}"])[-1].replace(address, shown)
        raise Wrong(f"{shown}: {said}; check the address, the branch and the right to read it")
    return f"{shown} answers"


def _git(*arguments: str, more: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0", **(more or {})}
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, timeout=GIT_SECONDS, check=False
    )


def triggers(env: Settled) -> str:
    """The triggers in code and those of the Mage that runs."""
    url = address(env)
    if not scheduler_runs(url):
        raise NotNeeded(f"no Mage runs at {url}: nothing to compare with")
    with connect_to_mage(env) as reached:
        compared = compare(PROJECT, reached.api, env.get("ENV", "dev"))
    if differing := [f"{row.pipeline}/{row.trigger} {row.state}" for row in compared if row.state.differs]:
        raise Wrong(f"{', '.join(differing)}: taxi triggers says more")
    return f"{len(compared)} as in code"


CHECKS: dict[str, Check] = {
    "project": settings,
    "postgres": postgres,
    "broker": broker,
    "git remote": git_remote,
    "triggers": triggers,
}
