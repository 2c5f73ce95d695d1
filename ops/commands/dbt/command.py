"""`taxi dbt`: dbt on a terminal, with the project, the profile and the environment of the pipeline trips_to_marts."""

import json
import subprocess
import sys

import click

from ops.commands.arguments import MONTH, examples

BUILDS = ("build", "run", "test")
DOCS_PORT = 8080
DBT = "from dbt.cli.main import cli; cli(prog_name='dbt')"
"""dbt as its own program starts it: by `-m`, Python warns of a module that is there twice, for here it is patched."""


@click.command(
    "dbt",
    context_settings={"ignore_unknown_options": True},
    epilog=examples(
        "taxi dbt build --month 2021-01",
        "taxi dbt build",
        "taxi dbt test --target bigquery --select fct_trips",
        "taxi dbt docs",
        "taxi dbt show --select fct_monthly_services",
    ),
)
@click.argument("action")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--month", type=MONTH, help="Build or test this month only; else every month that is loaded.")
@click.option("--select", help="Models, tests or sources, as dbt selects them; else all of them.")
@click.option("--target", default="postgres", help="Where the trips and the marts are: postgres or bigquery.")
def command(action: str, arguments: tuple[str, ...], month: str | None, select: str | None, target: str) -> int:
    """
    Run dbt's ACTION on the models in magic-zoomcamp/dbt/nyc_taxi; ARGUMENTS go to dbt as they are.

    `docs` makes the pages about every table and column, and serves them on this machine until Ctrl-C.
    """
    from nyc_taxi.errors import UnknownName
    from nyc_taxi.operate.marts import build_of, prepare_marts, wait_until_loaded
    from nyc_taxi.settings import Settings

    from ops.mage.patches.dbt.workplace import in_turn, set_folders
    from ops.stack.environment import environment

    variables = {"month": month or "", "target": target}
    try:
        build_of(variables, Settings.from_environment({}))
    except UnknownName as error:
        raise click.UsageError(str(error)) from None
    env = environment()
    set_folders(env)
    settings = Settings.from_environment(env)
    if action in BUILDS:
        wait_until_loaded(variables, settings)
        prepare_marts(variables, settings)
    if action == "docs" and not arguments:
        return _docs(target, env, emulator=bool(settings.google.bigquery_emulator))
    given = [*(["--vars", json.dumps({"month": month})] if month else []), *(["--select", select] if select else [])]
    with in_turn([action], env):
        return _dbt([action, *arguments, *given], target, env)


def _dbt(arguments: list[str], target: str, env: dict[str, str]) -> int:
    """Run dbt, its output on this terminal; return its exit code."""
    from ops.commands.dbt.sources import DBT_PROJECT

    where = ["--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT), "--target", target]
    return subprocess.run([sys.executable, "-c", DBT, *arguments, *where], env=env, check=False).returncode


def _docs(target: str, env: dict[str, str], *, emulator: bool) -> int:
    """Make the pages and serve them; the emulator of BigQuery has no catalogue to ask for the tables' sizes."""
    from ops.paths import HOST
    from ops.ports import free_port

    without_sizes = ["--empty-catalog"] if target == "bigquery" and emulator else []
    if code := _dbt(["docs", "generate", *without_sizes], target, env):
        return code
    port = free_port(DOCS_PORT)
    print(f"The pages are at http://localhost:{port} until Ctrl-C", flush=True)
    try:
        return _dbt(["docs", "serve", "--host", HOST, "--port", str(port), "--no-browser"], target, env)
    except KeyboardInterrupt:
        return 0
