"""
Settings files such as .env, read as Docker Compose reads them, and nothing in them that it would read otherwise.

The rules are those of compose-go's package dotenv. What it takes for a variable, or what its versions since 2.20 do not
agree on, is refused here by its line and name, and never with its value: Compose would hand on another password than
the commands use, and say nothing.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from ops.errors import LocalStackError

_NAME = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.]*)[ \t]*(=?)[ \t]*")
_SINGLE = re.compile(r"'((?:\\[^']|[^'\\])*)'")
_DOUBLE = re.compile(r'"((?:\\.|[^"\\])*)"', re.DOTALL)
_REST = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|$)")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"\\": "\\", '"': '"', "$": "$", "n": "\n", "r": "\r", "t": "\t"}
# Without quotes these mean nothing, at any place of a value.
_PLAIN = re.compile(r"[A-Za-z0-9_.,:/@%+=-]*")


class _Refused(Exception):
    """What is wrong with a value, and what to do."""


def read_env_file(path: Path) -> dict[str, str]:
    """
    What a file of NAME=VALUE lines says; nothing when it is missing.

    LocalStackError names the line and the variable that Compose would read otherwise, and says how to write it.
    """
    if not path.exists():
        return {}
    text = path.read_text(encoding="utf-8-sig").replace("\r\n", "\n")
    return dict(_settings(text, path))


def written(value: str) -> str:
    """A value as such a file has it, so that all who read the file find the same."""
    if _PLAIN.fullmatch(value):
        return value
    if not re.search(r"'|\\$", value):
        return f"'{value}'"
    escaped = re.sub(r'(["\\$])', r"\\\1", value)
    return f'"{escaped}"'


def _settings(text: str, path: Path) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        end = text.find("\n", at) + 1 or len(text)
        line = text[at:end].strip()
        if not line or line.startswith("#"):
            at = end
            continue
        where = f"{path.name} line {text.count(chr(10), 0, at) + 1}"
        start = at + len(text[at:end]) - len(text[at:end].lstrip())
        found = _NAME.match(text, start)
        if not found or not (found[2] or found.end() >= end - 1):
            raise LocalStackError(f"{where} is not of the form NAME=VALUE: correct it, or put # before it")
        if not found[2]:  # a name alone: the shell's value, if it has one
            at = end
            continue
        try:
            value, at = _value(text, found.end())
        except _Refused as why:
            raise LocalStackError(f"{where}: {found[1]}: {why}") from None
        yield found[1], value


def _value(text: str, start: int) -> tuple[str, int]:
    """The value that begins at `start`, and where the next line begins."""
    quote = text[start : start + 1]
    if quote not in {"'", '"'}:
        end = text.find("\n", start) + 1 or len(text)
        return _unquoted(text[start:end]), end
    found = (_SINGLE if quote == "'" else _DOUBLE).match(text, start)
    rest = _REST.match(text, found.end()) if found else None
    if not found or not rest:
        raise _Refused(
            'what begins with a quote must end with it, and a \' within needs double quotes: "...", with \\ before '
            'each ", \\ and $ in it'
        )
    return (found[1] if quote == "'" else _unescaped(found[1])), rest.end()


def _unquoted(line: str) -> str:
    value = line.partition(" #")[0].rstrip()
    if "$" in value:
        raise _Refused("$ begins a variable for Docker Compose: put the value in single quotes, '...'")
    if re.search(r"(^|\s)#", value):
        raise _Refused("# may begin a comment there: put the value in single quotes, '...', or leave it out")
    return value


def _unescaped(inside: str) -> str:
    if "$" in _ESCAPE.sub("", inside):
        raise _Refused("$ begins a variable for Docker Compose: write \\$ within double quotes")

    def character(escape: re.Match[str]) -> str:
        if escape[1] not in _ESCAPED:
            raise _Refused("a \\ within double quotes is written \\\\, or the value in single quotes")
        return _ESCAPED[escape[1]]

    return _ESCAPE.sub(character, inside)
