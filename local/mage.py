"""
Mage as a program: one pipeline run, or the web UI.

Usage: python -m local.mage run PIPELINE [NAME=VALUE ...] | ui
"""

import argparse
import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from local.environment import environment
from local.paths import ROOT, local_dir, write_private
from local.ports import free_port
from local.postgres import LocalStackError

PROJECT = "magic-zoomcamp"
MAGE = str(Path(sys.executable).with_name("mage"))
STOP_SECONDS = 5
# Mage reads SQL through pandas in a way that pandas warns of at every run, and Google's clients say each time that
# this Python will end one day.
QUIET = {"PYTHONWARNINGS": "ignore:pandas only supports SQLAlchemy,ignore:You are using a Python version"}
_ERROR = re.compile(r"^(?:\w+\.)*(\w+): (.+)$")
# What a service's message may end with: Postgres' DETAIL and HINT, BigQuery's Location.
_FOOTNOTE = re.compile(r"[A-Z]+|Location")


class PipelineFailed(RuntimeError):
    """A pipeline run ended with an error; the message is the one clear line of it."""


def run_pipeline(pipeline: str, variables: Mapping[str, str], env: Mapping[str, str]) -> None:
    """
    Run one pipeline through `mage run --test`, its output on this terminal; PipelineFailed says what went wrong.

    Tests are always on: without --test, Mage ends with exit code 0 where a test would fail.
    """
    if not (ROOT / PROJECT / "pipelines" / pipeline / "metadata.yaml").exists():
        known = sorted(path.parent.name for path in ROOT.glob(f"{PROJECT}/pipelines/*/metadata.yaml"))
        raise PipelineFailed(f"pipeline {pipeline!r} is not one of {', '.join(known)}")
    log = local_dir() / "logs" / f"{pipeline}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [MAGE, "run", PROJECT, pipeline, "--test", "--runtime-vars", json.dumps(dict(variables))]
    with log.open("w") as errors:
        # Wide: the traceback's last line is the message, and must not be wrapped.
        code = subprocess.run(
            command, cwd=ROOT, env={**env, **QUIET, "COLUMNS": "2000"}, stderr=errors, check=False
        ).returncode
    if code:
        raise PipelineFailed(f"{_last_error(log) or f'exit code {code}'}\nThe whole traceback is in {log}")


def _last_error(log: Path) -> str:
    """The message of the error that ended the run: the last line of the form `Error: message`."""
    lines = log.read_text(errors="replace").splitlines()
    found = [match for line in lines if (match := _ERROR.match(line.strip())) and not _FOOTNOTE.fullmatch(match[1])]
    return f"{found[-1][1]}: {found[-1][2].strip()}" if found else ""


def serve_ui(env: Mapping[str, str]) -> int:
    """Serve the web UI on 127.0.0.1 until it is interrupted; every process it started ends with it."""
    wanted = int(env.get("MAGE_HOST_PORT", "6789"))
    if free_port(wanted) != wanted:
        # Mage itself would silently take the next one.
        raise LocalStackError(f"port {wanted} is taken: stop what listens there, or set MAGE_HOST_PORT to another")
    mail, password = "owner@localhost.local", _kept_secret("owner.password")
    owner = {"DEFAULT_OWNER_EMAIL": mail, "DEFAULT_OWNER_USERNAME": "owner", "DEFAULT_OWNER_PASSWORD": password}
    extra = owner | {"JWT_SECRET": _kept_secret("jwt.secret"), "DISABLE_TERMINAL": "1", "HIDE_API_TRIGGER_TOKEN": "1"}
    print(f"Mage comes up at http://localhost:{wanted}  sign in as {mail} with {password}", flush=True)
    command = [MAGE, "start", PROJECT, "--host", "127.0.0.1", "--port", str(wanted)]
    # A group of its own: Mage leaves its scheduler running when it is stopped.
    server = subprocess.Popen(command, cwd=ROOT, env={**env, **extra}, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end_group(server)


def _kept_secret(name: str) -> str:
    path = local_dir() / name
    if not path.exists():
        write_private(path, secrets.token_urlsafe(18))
    return path.read_text().strip()


def _end_group(server: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.wait(STOP_SECONDS)
        os.killpg(server.pid, signal.SIGKILL)


def main() -> int:
    """Read the command line; the exit code is 0 only if all went well."""
    parser = argparse.ArgumentParser(prog="python -m local.mage", description="Run a pipeline, or serve the web UI.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("pipeline")
    run.add_argument("variables", nargs="*", metavar="NAME=VALUE", help="runtime variables; empty values are left out")
    commands.add_parser("ui")
    given = parser.parse_args()
    try:
        if given.command == "ui":
            return serve_ui(environment())
        pairs = (text.partition("=") for text in given.variables)
        run_pipeline(given.pipeline, {name.lower(): value for name, _, value in pairs if value}, environment())
    except (PipelineFailed, LocalStackError) as error:
        print(f"FAILED  {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
