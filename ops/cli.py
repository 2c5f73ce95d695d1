"""`taxi`, the command line: each command has a file in ops/commands, which is read when it is needed."""

import os
import signal
import sys
import warnings
from importlib import import_module
from typing import NoReturn

import click
from click.shell_completion import CompletionItem, get_completion_class

from ops.commands.arguments import examples

COMMANDS = {
    "demo": ("ops.commands.demo:command", "Fill real tables from synthetic files, and check the numbers."),
    "run": ("ops.commands.run:command", "Run a pipeline."),
    "ui": ("ops.commands.ui:command", "Serve Mage's web UI; Ctrl-C ends it."),
    "backfill": ("ops.commands.backfill.command:command", "Load many months, or days, through Mage."),
    "triggers": ("ops.commands.triggers:command", "Compare the triggers in code with Mage's."),
    "users": ("ops.commands.users:command", "List, add, change and remove Mage's accounts."),
    "coverage": ("ops.commands.coverage:command", "Show which months are loaded where, and what is wrong."),
    "sql": ("ops.commands.sql.command:command", "Ask Postgres, the bucket's Parquet or BigQuery."),
    "external": ("ops.commands.sql.external:command", "Make BigQuery tables that read the bucket's objects."),
    "dbt": ("ops.commands.dbt.command:command", "Build, test and describe the marts by dbt."),
    "live": ("ops.commands.live.command:command", "Replay a month as a stream, check it, stop it."),
    "plan": ("ops.commands.plan:command", "Say what BigQuery would scan, and its price."),
    "doctor": ("ops.commands.doctor.command:command", "Check this machine, the settings and the cloud."),
    "up": ("ops.commands.services:up", "Start Postgres and the emulators of Google's services."),
    "down": ("ops.commands.services:down", "Stop what runs on this machine; the data stay."),
    "status": ("ops.commands.services:status", "Show what runs on this machine."),
    "completion": ("ops.cli:completion", "Print what makes a shell complete this command line."),
    "screenshots": ("ops.commands.screenshots:command", ""),
    "generate": ("ops.commands.generate:command", ""),
}
"""Where each command is, and what the list says of it; without a text it is not listed: it is for who works on this."""
SHELLS = ("bash", "zsh", "fish")
QUIET = "You are using a Python version"
"""What Google's clients say at every start: that this Python will end one day."""


class Taxi(click.Group):
    """The commands by their names; what they raise on purpose becomes a line on stderr and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Those that a person is shown."""
        return [name for name, (_, text) in COMMANDS.items() if text]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, whose file is read now."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        found: click.Command = getattr(import_module(module), name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments begin with; one that is not there is refused with the nearest one."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            from nyc_taxi.errors import not_one_of

            raise click.UsageError(not_one_of("command", args[0], self.list_commands(ctx)), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, for which none of their files is read."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What a shell offers after `taxi`, without reading the commands' files either."""
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return [CompletionItem(name, help=COMMANDS[name][1]) for name in names] or click.Command.shell_complete(
            self, ctx, incomplete
        )

    def invoke(self, ctx: click.Context) -> NoReturn:
        """Run the command: exit code 0 or what it returns, 1 and one line when it fails, 130 for Ctrl-C."""
        try:
            ctx.exit(super().invoke(ctx) or 0)
        except _known_errors() as error:
            click.echo(f"FAILED  {str(error).strip()}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            ctx.exit(130)


def _known_errors() -> tuple[type[Exception], ...]:
    """What is raised on purpose, with a message for a person. Asked only when something was raised."""
    from filelock import Timeout
    from nyc_taxi.errors import TaxiError

    from ops.errors import CommandFailed

    return CommandFailed, TaxiError, Timeout


@click.group(cls=Taxi, context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100})
def taxi() -> None:
    """
    New York taxi trips to Postgres, Cloud Storage and BigQuery, with Mage.

    `taxi COMMAND --help` shows the options of a command, with examples. Settings are in dev.env and .env.
    """


@click.command(
    "completion",
    epilog=examples(
        """echo 'eval "$(taxi completion bash)"' >> ~/.bashrc""",
        """echo 'eval "$(taxi completion zsh)"' >> ~/.zshrc""",
        "taxi completion fish > ~/.config/fish/completions/taxi.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands, options, pipelines, services, origins and rules."""
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"click knows no {shell}")
    click.echo(found(taxi, {}, "taxi", "_TAXI_COMPLETE").source())


def main() -> None:
    """Run the command line of this process."""
    warnings.filterwarnings("ignore", QUIET, FutureWarning)
    os.environ.setdefault("PYTHONWARNINGS", f"ignore:{QUIET}")  # for the processes that are started
    # As an exception, so that what a command has started ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    taxi(prog_name="taxi")


if __name__ == "__main__":
    main()
