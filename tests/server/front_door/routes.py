"""Every route of the server and every resource of its API, as they are installed: a new one is not overlooked."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from ops.paths import ROOT
from tests.conftest import process_environment
from tests.server.conftest import Mage

METHODS = ("GET", "POST", "PUT", "DELETE")
SCRIPT = """
import json, pkgutil, sys
from ops.mage import program
if "bare" not in sys.argv:
    program.install()
from mage_ai.settings.repo import set_repo_path
set_repo_path(sys.argv[1])
from mage_ai.server import server
import inflection
import mage_ai.api.resources as resources
rules = server.make_app().wildcard_router.rules
names = [found.name.removesuffix("Resource") for found in pkgutil.iter_modules(resources.__path__)]
print(json.dumps([
    [[rule.matcher.regex.pattern, rule.target.__name__] for rule in rules],
    sorted(inflection.pluralize(inflection.underscore(name)) for name in names if name),
]))
"""


@dataclass(frozen=True)
class Surface:
    """What the server can be asked for."""

    patterns: list[tuple[str, str]]
    """The pattern of each route's addresses, and the name of its handler."""
    resources: list[str]
    """As they are in an address: pipelines, file_contents."""

    @property
    def routes(self) -> list[tuple[str, str]]:
        """An address that each route matches, and the name of its handler."""
        return [(address(pattern), handler) for pattern, handler in self.patterns]


def surface_of(mage: Mage, *options: str) -> Surface:
    """The surface of the Mage that is installed; with "bare", of Mage without our patches."""
    env = {**process_environment(), "MAGE_DATA_DIR": mage.server.env["MAGE_DATA_DIR"]}
    command = [sys.executable, "-c", SCRIPT, str(mage.server.project), *options]
    printed = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
    return Surface(*json.loads(printed.splitlines()[-1]))


def address(pattern: str) -> str:
    """An address that a route's pattern matches."""
    made = example(parser.parse(pattern))
    assert re.fullmatch(pattern, made), (pattern, made)
    return made


def example(parts: Iterable[tuple[Any, Any]]) -> str:
    """A text for a parsed pattern: what may be there is, once."""
    return "".join(piece(kind, value) for kind, value in parts)


def piece(kind: Any, value: Any) -> str:
    match str(kind):
        case "LITERAL":
            return str(chr(value))
        case "IN":
            first, of = value[0]
            return str(chr(of)) if str(first) == "LITERAL" else "x"
        case "ANY":
            return "x"
        case "MAX_REPEAT":
            return example(value[2]) * max(int(value[0]), 1)
        case "SUBPATTERN":
            return example(value[3])
        case "AT":
            return ""
    raise AssertionError(f"a pattern with {kind}: add it here")
