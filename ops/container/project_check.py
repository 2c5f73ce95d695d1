"""Whether a Mage project can run as it stands: what git may bring that Mage would only find out at run time."""

import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ops.container.trigger_check import trigger_faults
from ops.mage.rendering import unreadable

FOLDERS = {
    "callback": "callbacks",
    "conditional": "conditionals",
    "custom": "custom",
    "data_exporter": "data_exporters",
    "data_loader": "data_loaders",
    "sensor": "sensors",
    "transformer": "transformers",
}
"""Where Mage keeps the files of a kind of block; other kinds have no file of their own, or may lack it."""
LFS, LARGEST_POINTER = b"version https://git-lfs.github.com/spec/", 1_024
SUFFIXES = {"python": ".py", "sql": ".sql", "r": ".r", "yaml": ".yaml"}


def faults(project: Path, env: Mapping[str, str] = os.environ) -> list[str]:
    """
    What would keep pipelines of the folder `project` from running, a line each that names the file; [] when nothing.

    The project's settings must be readable in the environment `env`, every other YAML must parse as it is, every block
    that a pipeline names must have its file, Mage must take every trigger in code, and every Python file must compile.
    Nothing of the project is run.
    """
    if not (project / "metadata.yaml").is_file():
        return [f"{project.name}/metadata.yaml is missing: that is no Mage project"]
    pipelines = sorted(project.glob("pipelines/*/metadata.yaml"))
    if not pipelines:
        return [f"{project.name}/pipelines has no pipeline"]
    found = unreadable(project, env)
    for path in pipelines:
        found += _unreadable(project, path) or _blocks(project, path)
    for path in sorted(project.glob("pipelines/*/triggers.yaml")):
        wrong = _unreadable(project, path)
        found += wrong or [f"{path.relative_to(project)}: {fault}" for fault in trigger_faults(_load(path))]
    for path in sorted(project.rglob("*.py")):
        found += _uncompilable(project, path)
    return found + list(_lfs_pointers(project))


def _lfs_pointers(project: Path) -> Iterator[str]:
    """Files that only name their content, which Git LFS has: nobody fetches it here."""
    small = (path for path in sorted(project.rglob("*")) if path.is_file() and path.stat().st_size < LARGEST_POINTER)
    for path in small:
        if path.read_bytes().startswith(LFS):
            yield (
                f"{path.relative_to(project)} is a pointer of Git LFS, whose content is not fetched: commit the file "
                f"itself (git lfs migrate export --include={path.name})"
            )


def _unreadable(project: Path, path: Path) -> list[str]:
    try:
        if isinstance(_load(path), dict):
            return []
        why = "holds no keys"
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())
    return [f"{path.relative_to(project)}: {why}"]


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _blocks(project: Path, path: Path) -> list[str]:
    """What is wrong with the blocks of a pipeline."""
    try:
        return list(_without_file(project, path))
    except (AttributeError, TypeError) as error:
        return [f"{path.relative_to(project)}: blocks are not as Mage writes them: {error}"]


def _without_file(project: Path, path: Path) -> Iterator[str]:
    """The blocks of a pipeline whose file is not there."""
    pipeline = _load(path)
    for section in ("blocks", "callbacks", "conditionals"):
        for block in pipeline.get(section) or []:
            if not isinstance(block, dict) or "uuid" not in block:
                yield f"{path.relative_to(project)}: {section} holds something that is no block: {block!r}"
            elif missing := _missing_file(project, block):
                yield f"{path.relative_to(project)}: block {block['uuid']} has no file {missing}"


def _missing_file(project: Path, block: dict[str, Any]) -> str | None:
    """The file that a block should have, if it is not there."""
    if block.get("replicated_block"):
        return None  # its file is that of another block
    configuration = block.get("configuration") or {}
    named = (configuration.get("file_source") or {}).get("path") or configuration.get("file_path")
    if not named:
        folder, suffix = FOLDERS.get(str(block.get("type"))), SUFFIXES.get(str(block.get("language")))
        if folder is None or suffix is None:
            return None
        named = f"{folder}/{block['uuid']}{suffix}"
    # Mage counts such a path from the project or from the folder above it.
    return None if any((base / named).is_file() for base in (project, project.parent)) else str(named)


def _uncompilable(project: Path, path: Path) -> list[str]:
    if not path.is_file():
        return [f"{path.relative_to(project)} is a link that leads to no file"] if path.is_symlink() else []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        what = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        return [f"{path.relative_to(project)}{line}: {what}"]
    return []
