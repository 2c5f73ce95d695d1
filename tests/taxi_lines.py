"""Lines that say `taxi ...`, in pages, messages and help, held against the real command line."""

import re
import shlex
from collections.abc import Iterator

import click

from ops.cli import COMMANDS, taxi

LINE = re.compile(r"(?:^|`)(?:\.venv/bin/)?(taxi [^`\n]+)", re.MULTILINE)
MEANT = re.compile(r"([`(]?)\btaxi ([a-z]+)((?: --[a-z-]+)*)")
END = {"|", ">", ">>", "<", "&&", ";"}
ELLIPSIS = "..."


def lines(text: str) -> Iterator[str]:
    """The commands of a page: at the start of a line, or between backticks."""
    yield from LINE.findall(text)


def check(line: str, unknown_values: bool = False) -> None:
    """
    Fail with click's own error for a command, option or value that is not there.

    With `unknown_values`, as where a page adds a pipeline that is not here yet, or with `...` or `<name>` in the line,
    the values are not looked at. Files that are not there are the reader's own.
    """
    words = shlex.split(line, comments=True)[1:]
    words = words[: next((number for number, word in enumerate(words) if word in END), len(words))]
    if words == ["--help"]:
        return
    name, command, rest = taxi.resolve_command(click.Context(taxi), words)
    assert command is not None, line
    if isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name, command, rest = command.resolve_command(click.Context(command), rest)
        assert command is not None, line
    assert {word for word in rest if word.startswith("--")} <= options_of(command) | {"--help"}, line
    if unknown_values or not rest or any(word in (ELLIPSIS, "--help") or word.startswith("<") for word in rest):
        return
    try:
        command.make_context(name, rest)
    except click.BadParameter as error:
        if "No such file" not in str(error):
            raise


def options_of(command: click.Command) -> set[str]:
    """The names of a command's options."""
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def check_meant(text: str) -> None:
    """
    The same of sentences and messages, in which a command and its options stand without their values.

    A word behind `taxi` that is no command is prose, unless a bracket, a backtick or an option says otherwise.
    """
    for mark, name, options in MEANT.findall(text):
        if name in COMMANDS:
            command = taxi.get_command(click.Context(taxi), name)
            assert command is not None
            below = command.commands.values() if isinstance(command, click.Group) else ()
            known = options_of(command).union(*map(options_of, below))
            assert set(options.split()) <= known, f"taxi {name}{options}"
        else:
            assert not mark, f"taxi {name}"
            assert not options, f"taxi {name}{options}"
