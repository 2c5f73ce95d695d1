"""
The arguments and options that several commands take: checked, and completed in a shell, from the library's own lists.

Nothing is imported before a value is looked at: a command must answer --help at once.
"""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import IO, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from ops.commands.pipelines import EXECUTION_DATE, Checkout, refuse_unknown_pipeline

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Known(click.ParamType):
    """A value that a function of the library knows: its UnknownName, or ValueError, is the message."""

    def __init__(
        self,
        name: str,
        check: Callable[[str], object],
        names: Callable[[], Iterable[str]] = tuple,
        commas: bool = False,
    ) -> None:
        self.name = name
        self._check, self._names, self._commas = check, names, commas

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The value as it was given, or a refusal that says what is allowed."""
        from nyc_taxi.errors import UnknownName

        try:
            self._check(value)
        except (UnknownName, ValueError) as error:
            self.fail(str(error), param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names that begin like this; of a list with commas, the last one."""
        before, comma, last = incomplete.rpartition(",") if self._commas else ("", "", incomplete)
        return [CompletionItem(f"{before}{comma}{name}") for name in self._names() if name.startswith(last)]

    def get_missing_message(self, param: click.Parameter) -> str | None:
        """What is allowed, where nothing is given."""
        return f"Choose from {', '.join(self._names())}."


def _check_pipeline(name: str) -> None:
    refuse_unknown_pipeline(name, Checkout())


def _check_service(name: str) -> None:
    from nyc_taxi.catalog.services import service_named

    service_named(name)


def _services() -> Iterable[str]:
    from nyc_taxi.catalog.services import SERVICES

    return SERVICES


def _check_origin(name: str) -> None:
    from nyc_taxi.catalog.origins import origin_named

    origin_named(name)


def _origins() -> Iterable[str]:
    from nyc_taxi.catalog.origins import ORIGINS

    return ORIGINS


def _check_rules(text: str) -> None:
    from nyc_taxi.run import rules_named

    rules_named(text)


def _rules() -> Iterable[str]:
    from nyc_taxi.transform.rules import RULES

    return [*RULES, "none"]


def _check_month(text: str) -> None:
    from nyc_taxi.months import Month

    Month.parse(text)


def _check_date(text: str) -> None:
    from nyc_taxi.run import execution_day

    execution_day({EXECUTION_DATE: text})


PIPELINE = Known("pipeline", _check_pipeline, lambda: Checkout().names())
ANY_PIPELINE = Known("pipeline", lambda _: None, lambda: Checkout().names())
"""One that another Mage may have, which is asked before anything is made."""
SERVICE = Known("service", _check_service, _services)
ORIGIN = Known("origin", _check_origin, _origins)
RULES = Known("rules", _check_rules, _rules, commas=True)
MONTH = Known("YYYY-MM", _check_month)
DATE = Known("YYYY-MM-DD", _check_date)

service = click.option("--service", type=SERVICE, help="Kind of taxi: yellow, green, fhv or fhvhv.")
month = click.option("--month", type=MONTH, help="Month of the trip file.")
origin = click.option("--origin", type=ORIGIN, help="Where the file comes from: dtc or tlc.")
rules = click.option("--rules", type=RULES, help="Rules with commas, such as in_month,plausible_speed:warn; or none.")
prefix = click.option("--prefix", help="Folder in the bucket, in a pipeline that has this variable.")


class Statement(click.Command):
    """A command whose argument is SQL, which may begin with a comment: that is no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What starts with two dashes and holds white space is the statement, and no options follow it."""
        comments = [at for at, arg in enumerate(args) if arg.startswith("--") and len(arg.split()) > 1]
        if comments and "--" not in args:
            args = [*args[: comments[0]], "--", *args[comments[0] :]]
        return super().parse_args(ctx, args)


def statement(function: Callable[..., None]) -> Callable[..., None]:
    """Hand a command one statement of SQL as it was typed, of a file, or, for `-`, of standard input."""

    @click.argument("statement", required=False)
    @click.option("--file", type=click.File(encoding="utf-8"), help="Take the statement from this file.")
    @wraps(function)
    def read(statement: str | None, file: IO[str] | None, **others: str) -> None:
        if (statement is None) == (file is None):
            raise click.UsageError("Give one statement, in quotes; or --file, or - for standard input")
        said = file.read() if file else click.get_text_stream("stdin").read() if statement == "-" else statement
        if not said or not said.strip():
            raise click.UsageError("There is no statement, it is empty")
        function(said, **others)

    return read


def options(*chosen: Callable[[Decorated], Decorated]) -> Callable[[Decorated], Decorated]:
    """Several options as one decorator, in this order."""

    def decorate(function: Decorated) -> Decorated:
        for option in reversed(chosen):
            function = option(function)
        return function

    return decorate


def examples(*lines: str) -> str:
    """The end of a command's help."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))
