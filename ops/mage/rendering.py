"""
The two files of a project that Mage renders before it reads them, rendered as Mage does, with a given environment.

Mage swallows what goes wrong there and runs without the project's settings. A value of the environment must therefore
come back from the YAML as it went in; what is said of one that does not names the variable, and never the value.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Template, TemplateError

from ops.errors import CommandFailed

FILES = ("metadata.yaml", "io_config.yaml")
ESCAPED = "\"{{ (env_var('NAME', '') | tojson)[1:-1] }}\""
"""How a value is pasted: as the inside of a JSON string, which is that of a quoted one of YAML. The file stays YAML
without being rendered, too: Mage reads some keys so, and writes it so when a setting is saved in its UI."""
_PLAIN = re.compile(r"[A-Za-z0-9_./@+-]*")
# What Jinja, an expression of a template, and YAML raise.
_UNREADABLE = (yaml.YAMLError, TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_MARK = "x0mark0x"  # a value that no quoting changes


def refuse_unreadable(project: Path, env: Mapping[str, str]) -> None:
    """CommandFailed with a line per fault of `unreadable`, for before anything is started."""
    if found := unreadable(project, env):
        raise CommandFailed("\n".join(found))


def unreadable(project: Path, env: Mapping[str, str]) -> list[str]:
    """
    What Mage could not read of a project's settings in the environment `env`, a line each: the file, why, what to do.

    A file that is missing is no fault. No line holds a value of `env`.
    """
    return [
        f"{project.name}/{name}: {fault}"
        for name in FILES
        if (project / name).is_file()
        for fault in _faults(project / name, env)
    ]


def _faults(path: Path, env: Mapping[str, str]) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        yield "is not UTF-8: save it so"
        return
    asked: set[str] = set()
    whole = True
    try:
        read = _read(text, env, asked)
    except _UNREADABLE:
        whole = False  # the reason may quote a value: it is looked for below, without one
        try:
            read = _read(text, dict.fromkeys(env, _MARK))
        except _UNREADABLE as error:
            yield _said(error)
            return
    if not isinstance(read, dict):
        yield "holds no keys"
        return
    special = sorted(name for name in asked if not _PLAIN.fullmatch(env[name]))
    plain = {**env, **dict.fromkeys(special, "x")}
    broken = [name for name in special if not _comes_back(text, plain, name, env[name])]
    for name in broken if whole or broken else sorted(asked):
        if max(env[name], default="") > "\uffff":
            yield f"{name} holds a character beyond U+FFFF, such as an emoji, which cannot be pasted: choose another"
        else:
            yield f"what {name} holds breaks it: paste it as {ESCAPED.replace('NAME', name)}"


def _said(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        why = ", ".join(part for part in (error.context, error.problem) if part)
        return f"line {error.problem_mark.line + 1}: {why}: correct the YAML"
    return f"{' '.join(str(error).split())}: correct it"


def _comes_back(text: str, plain: Mapping[str, str], name: str, value: str) -> bool:
    """Whether the file holds the very value of one variable wherever it is pasted."""
    try:
        return bool(_read(text, {**plain, name: value}) == _replaced(_read(text, {**plain, name: _MARK}), value))
    except _UNREADABLE:
        return False


def _replaced(read: Any, value: str) -> Any:
    """The same with `value` where the mark is."""
    if isinstance(read, dict):
        return {_replaced(key, value): _replaced(below, value) for key, below in read.items()}
    if isinstance(read, list):
        return [_replaced(below, value) for below in read]
    return read.replace(_MARK, value) if isinstance(read, str) else read


def _read(text: str, env: Mapping[str, str], asked: set[str] | None = None) -> Any:
    """A file as Mage reads it: by a bare Jinja template with these functions, then as YAML."""

    def env_var(name: str, default: str | None = None) -> str | None:
        if asked is not None and name in env:
            asked.add(name)
        return env.get(name, default)

    rendered = Template(text).render(
        env_var=env_var,
        json_value=_json_value,
        # Nobody is asked for a secret here; a plain word stands in its place.
        mage_secret_var=lambda *_, **__: _MARK,
        aws_secret_var=lambda *_, **__: _MARK,
        azure_secret_var=lambda *_, **__: _MARK,
    )
    return yaml.safe_load(rendered)


def _json_value(text: str | None, path: str) -> Any:
    from mage_ai.shared.hash import get_json_value  # here, for hardly any file asks

    return get_json_value(text, path)
