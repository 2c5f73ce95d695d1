"""`taxi run`: one run of a pipeline."""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import click

from ops.commands.arguments import DATE, PIPELINE, examples, month, options, origin, prefix, rules, service
from ops.commands.pipelines import Checkout, refuse_undeclared, refuse_unknown_values
from ops.errors import CommandFailed
from ops.paths import MAGE, PROJECT, local_dir

_ERROR = re.compile(r"^(?:\w+\.)*(\w+): (.+)$")
NEEDS_SCHEDULER = "scheduler"
"""The tag of pipelines that `mage run` cannot run: dynamic blocks, and what asks Mage's own database."""
# What a service's message may end with: Postgres' DETAIL and HINT, BigQuery's Location.
_FOOTNOTE = re.compile(r"[A-Z]+|Location")


class PipelineFailed(CommandFailed):
    """A pipeline run ended with an error; the message is the one clear line of it."""


def run_pipeline(pipeline: str, variables: Mapping[str, str], env: Mapping[str, str]) -> None:
    """
    Run one pipeline through `mage run --test`, its output on this terminal; PipelineFailed says what went wrong.

    Tests are always on: without --test, Mage ends with exit code 0 where a test would fail.
    """
    from ops.mage.server import QUIET

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


def refuse_run(pipeline: str, variables: Mapping[str, str], pipelines: Checkout) -> None:
    """UnknownName, or PipelineFailed, for a run that cannot be; nothing was started."""
    described = pipelines.described(pipeline)
    if NEEDS_SCHEDULER in (described.get("tags") or []):
        raise PipelineFailed(f"{pipeline} runs in Mage's scheduler only: taxi ui, then its Triggers, Run@once")
    declared = pipelines.variables(pipeline)
    refuse_undeclared(pipeline, variables, declared)
    if variables:
        refuse_unknown_values({**declared, **variables})


def _pairs(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """What --set says, NAME=VALUE as often as it is given."""
    pairs = [text.partition("=") for text in texts]
    if wrong := [text for text, (name, sign, _) in zip(texts, pairs, strict=True) if not (name and sign)]:
        raise click.BadParameter(f"{wrong[0]!r} is not of the form NAME=VALUE", ctx, param)
    return {name: value for name, _, value in pairs}


@click.command(
    "run",
    epilog=examples(
        "taxi run api_to_postgres",
        "taxi run api_to_postgres --service green --month 2020-10 --rules has_passengers,positive_distance",
        "taxi run api_to_postgres --service fhvhv --month 2025-01 --origin tlc",
        "taxi run api_to_gcs_parameterized --execution-date 2021-01-05 --prefix green",
        "taxi run api_to_gcs --service green --set wait_hours=2",
    ),
)
@click.argument("pipeline", type=PIPELINE)
@options(service, month, origin, rules)
@click.option("--execution-date", type=DATE, help="The day of the run, where the pipeline takes its month from it.")
@prefix
@click.option("--set", "others", metavar="NAME=VALUE", multiple=True, callback=_pairs, help="Any other variable.")
def command(pipeline: str, others: dict[str, str], **named: str | None) -> None:
    """
    Run PIPELINE once, its output on this terminal.

    What is not given is as the pipeline itself has it. Postgres and the emulators of Google's services are started
    where the settings name no others.
    """
    from nyc_taxi.errors import UnknownName

    from ops.mage.rendering import refuse_unreadable
    from ops.stack.environment import configured, environment

    given = {name: value for name, value in named.items() if value is not None}
    if twice := given.keys() & others.keys():
        raise click.UsageError(f"{min(twice)} is given twice: by its option and by --set")
    try:
        refuse_run(pipeline, given | others, Checkout())
    except UnknownName as error:
        raise click.UsageError(str(error)) from None
    refuse_unreadable(PROJECT, configured())
    run_pipeline(pipeline, given | others, environment(streaming=Checkout().described(pipeline)["type"] == "streaming"))
