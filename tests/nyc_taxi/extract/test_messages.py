"""What extract says to a person is one line of at most 300 characters, whatever its parts are: every message of it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from nyc_taxi.errors import LONGEST_LINE, LONGEST_MESSAGE, NotATripFile, few, shortened

from ops.paths import PROJECT

MODULES = sorted((PROJECT / "utils" / "nyc_taxi" / "extract").glob("*.py"))
CAPS = [
    (r"shown\(.*\)", 110),
    (r"shortened\(.*, (\d+)\)", None),
    (r"few\(.*, 3\)", 118),
    (r"_cause\(.*\)|certificate.*", 100),
    (r"(self\.)?(run\.)?(service|origin)\.name.*", 12),
    (r".*\.month|_newest_usual\(run\)|run\.origin\.(suffix|lateness)", 10),
    (r"ATTEMPTS|REDIRECTS|attempt.*|(.*\.)?status(_code)?", 3),
    (r"missing", 180),
    (r"name|found|lasting|held", 140),
    (r"self\._reasons\(\)", 75),
    (r"first!r|begins!r", 32),
    (r"line\[:60\]!r|lines\[.*", 64),
    (r"_describe\(.*\)", 60),
    (r"(published|staged|known)\.url|url|folder", 110),
]
"""The most characters of a part of a message, by its expression; of any other 30: a name, a month, a file, a number."""


def messages(module: Path) -> Iterator[tuple[int, ast.JoinedStr]]:
    """Every formatted text of a module that is not part of another one."""
    tree = ast.parse(module.read_text())
    inner = {
        id(part)
        for text in ast.walk(tree)
        if isinstance(text, ast.JoinedStr)
        for part in ast.walk(text)
        if part is not text
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and id(node) not in inner:
            yield node.lineno, node


def longest(message: ast.JoinedStr) -> int:
    """The most characters that a message can have."""
    total = 0
    for part in message.values:
        if isinstance(part, ast.Constant):
            assert "\n" not in str(part.value)
            total += len(str(part.value))
        elif isinstance(part, ast.FormattedValue):
            if part.format_spec:  # a number
                total += 11
                continue
            expression = ast.unparse(part.value) + ("!r" if part.conversion == ord("r") else "")
            total += cap(expression)
    return total


def cap(expression: str) -> int:
    for pattern, most in CAPS:
        if match := re.fullmatch(pattern, expression):
            return int(match[1]) if most is None else most
    return 30


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_every_message_is_one_line_of_at_most_300_characters(module: Path) -> None:
    too_long = {line: longest(text) for line, text in messages(module) if longest(text) > LONGEST_LINE}
    assert too_long == {}


def test_this_test_sees_the_messages() -> None:
    assert sum(1 for module in MODULES for _ in messages(module)) > 40
    [text] = [
        node
        for node in ast.walk(ast.parse('f"{shown(url)} and {shortened(x, 60)}"'))
        if isinstance(node, ast.JoinedStr)
    ]
    assert longest(text) == 110 + 5 + 60


def test_a_text_is_shortened_in_its_middle_and_shown_in_one_line() -> None:
    assert shortened("short\n text\x1b[31m") == "short text\\x1b[31m"
    cut = shortened("x" * 500 + " check the network", 100)
    assert len(cut) == 100
    assert cut.startswith("xxx")
    assert cut.endswith(" check the network")
    assert "..." in cut


def test_names_are_the_first_few_and_how_many() -> None:
    assert few(["a", "b", "c"], 3) == "a, b, c"
    assert few([str(number) for number in range(5_000)], 3) == "0, 1, 2 and 4,997 more"
    assert len(few(["x" * 1_000] * 9, 3)) <= 120


def test_no_message_is_longer_than_anybody_reads() -> None:
    assert len(str(NotATripFile("x" * 100_000))) == LONGEST_MESSAGE
