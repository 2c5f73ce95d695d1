"""
Mage as a program: one pipeline run, or the web UI.

Usage: python -m ops.commands.run run PIPELINE [NAME=VALUE ...] | ui
"""

import argparse
import json
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from ops.errors import LocalStackError
from ops.mage.server import QUIET, MageServer
from ops.paths import MAGE, PROJECT, local_dir
from ops.stack.environment import environment

_ERROR = re.compile(r"^(?:\w+\.)*(\w+): (.+)$")
NEEDS_SCHEDULER = "scheduler"
"""The tag of pipelines that `mage run` cannot run: dynamic blocks, and what asks Mage's own database."""
# What a service's message may end with: Postgres' DETAIL and HINT, BigQuery's Location.
_FOOTNOTE = re.compile(r"[A-Z]+|Location")


class PipelineFailed(RuntimeError):
    """A pipeline run ended with an error; the message is the one clear line of it."""


def run_pipeline(pipeline: str, variables: Mapping[str, str], env: Mapping[str, str]) -> None:
    """
    Run one pipeline through `mage run --test`, its output on this terminal; PipelineFailed says what went wrong.

    Tests are always on: without --test, Mage ends with exit code 0 where a test would fail.
    """
    if not (PROJECT / "pipelines" / pipeline / "metadata.yaml").exists():
        known = sorted(path.parent.name for path in PROJECT.glob("pipelines/*/metadata.yaml"))
        raise PipelineFailed(f"pipeline {pipeline!r} is not one of {', '.join(known)}")
    described = yaml.safe_load((PROJECT / "pipelines" / pipeline / "metadata.yaml").read_text())
    if NEEDS_SCHEDULER in described["tags"]:
        raise PipelineFailed(f"{pipeline} runs in Mage's scheduler only: make ui, then its Triggers, Run@once")
    log = local_dir() / "logs" / f"{pipeline}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [*MAGE, "run", PROJECT.name, pipeline, "--test", "--runtime-vars", json.dumps(dict(variables))]
    with log.open("w") as errors:
        # Wide: the traceback's last line is the message, and must not be wrapped.
        code = subprocess.run(
            command, cwd=PROJECT.parent, env={**env, **QUIET, "COLUMNS": "2000"}, stderr=errors, check=False
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
    server = MageServer(env, int(env.get("MAGE_HOST_PORT", "6789"))).start()
    print(f"Mage comes up at http://localhost:{server.port}  {server.owner.email} signs in", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        return server.join()
    except KeyboardInterrupt:
        return 0
    finally:
        server.stop()


def main() -> int:
    """Read the command line; the exit code is 0 only if all went well."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.commands.run", description="Run a pipeline, or serve the web UI."
    )
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
