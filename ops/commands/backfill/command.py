"""
`taxi backfill`: many months, or days, of one pipeline, through Mage's own backfills.

The runs belong to Mage: they go on when this command ends, and the UI shows the same backfill.
"""

import click
from click.shell_completion import CompletionItem

from ops.commands.arguments import ANY_PIPELINE, examples, options, origin, prefix, rules, service


class _Again(click.ParamType):
    name = "last|number"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value != "last" and not (value.isascii() and value.isdecimal()):
            self.fail(f"{value!r} is no backfill: give its number, or last", param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem("last")]


@click.command(
    "backfill",
    epilog=examples(
        "taxi backfill api_to_postgres --service green --from 2020-10 --to 2020-12 --parallel 2",
        "taxi backfill api_to_gcs_parameterized --from 2021-01-01 --to 2021-01-31",
        "taxi backfill --show last",
        "taxi backfill --retry 7",
    ),
)
@click.argument("pipeline", type=ANY_PIPELINE, required=False)
@options(service, origin, rules, prefix)
@click.option("--force/--no-force", default=None, help="Load a month that is there already, and is the same, again.")
@click.option("--from", metavar="MONTH", help="First month, YYYY-MM, or day, YYYY-MM-DD.")
@click.option("--to", metavar="MONTH", help="Last month or day; the first one if not given.")
@click.option("--parallel", type=click.IntRange(min=1), help="Runs at once; 2 if not given.")
@click.option("--retry", type=_Again(), help="Run again what failed or was cancelled, and look.")
@click.option("--show", type=_Again(), help="Look again at a backfill.")
def command(force: bool | None, **named: str | int | None) -> int:
    """
    Load every month, or day, from the first to the last through Mage, one run of PIPELINE each.

    Mage goes on when this command ends. Where none runs, one is started for as long as this takes.
    """
    given = {name: str(value) for name, value in named.items() if value is not None}
    if force is not None:
        given["force"] = str(force).lower()
    _refuse_contradictions(given)
    from ops.commands.backfill.follow import plain_console, run_backfill
    from ops.commands.backfill.plan import BackfillRefused, plan_backfill
    from ops.commands.pipelines import Checkout
    from ops.mage.connect import connect_to_mage, must_be_started
    from ops.stack.environment import configured

    values = configured()
    try:
        if not given.keys() & {"retry", "show"} and must_be_started(values):
            plan_backfill(given, Checkout())  # the project of the Mage that would be started
        with connect_to_mage(values) as reached:
            return run_backfill(given, reached, plain_console())
    except BackfillRefused as refused:
        raise click.UsageError(str(refused)) from None


def _refuse_contradictions(given: dict[str, str]) -> None:
    again = [name for name in ("retry", "show") if name in given]
    if not again:
        if "pipeline" not in given:
            raise click.UsageError("Which pipeline? Or --retry, or --show, of a backfill that there is")
        return
    if more := sorted(given.keys() - {"pipeline", again[0]}):
        raise click.UsageError(f"--{again[0]} takes a backfill as it is: leave --{more[0]} out")
