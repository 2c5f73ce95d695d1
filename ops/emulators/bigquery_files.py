"""The files of the BigQuery emulator's load jobs: which a URI names, and text that may be packed by gzip."""

import gzip
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
from bqemulator.domain.errors import NotFoundError, ValidationError
from bqemulator.jobs import executor

from ops.emulators.bigquery_tables import Resource

_resolve_uri = executor._resolve_uri
READ = "text_of_a_load"
GZIP = b"\x1f\x8b"
"""How a file begins that gzip packed."""


def files_of(uri: str, context: Any) -> list[str]:
    """Files that a URI names; `*` stands for anything, slashes too, as in the real service."""
    path = executor._resolve_uri(uri, context)
    if "*" in path:
        pattern = re.compile(".*".join(map(re.escape, path.split("*"))))
        folder = Path(path.split("*")[0] + "x").parent
        found = sorted(str(file) for file in folder.rglob("*") if pattern.fullmatch(str(file)) and file.is_file())
    else:
        found = [path] if Path(path).is_file() else []
    if not found:
        raise NotFoundError(f"Not found: URI {uri}")
    return found


def resolve_uri(uri: str, context: Any) -> str:
    """The file of a gs:// URI, or of an upload; no other file of this machine."""
    uploads = f"file://{context.settings.upload_staging_dir}/"
    if not uri.startswith(("gs://", uploads)):
        raise ValidationError(f"Source URI must be a Google Cloud Storage location: {uri}")
    return str(_resolve_uri(uri, context))


def _unpack(file: Path, to: Path) -> None:
    """The file under another name, without gzip's packing; DuckDB would not notice a packed file that is cut off."""
    with file.open("rb") as content:
        packed = content.read(len(GZIP)) == GZIP
    if not packed:
        to.symlink_to(file)
        return
    try:
        with gzip.open(file) as content, to.open("wb") as unpacked:
            shutil.copyfileobj(content, unpacked)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{file}: gzip: {error}") from error


class _Apart:
    """What the package executes by, with its new tables in a session alone."""

    def __init__(self, session: duckdb.DuckDBPyConnection) -> None:
        self._session = session

    def execute(self, sql: str, parameters: object = None) -> duckdb.DuckDBPyConnection:
        return self._session.execute(re.sub(r"^CREATE TABLE", "CREATE TEMP TABLE", sql), parameters)


def read_text(
    session: duckdb.DuckDBPyConnection, files: Iterable[str], asked: Resource, target: str, context: Any
) -> str:
    """
    Read CSV or JSON as the package does, but into a temporary table of the session: its name in SQL.

    Its columns are those of the load's own schema, else those of the table `target`, if there is one, else what is
    found in the first file, if that was asked for. What is packed by gzip is found out: an upload has no telling name.
    """
    kind, fields = asked.get("sourceFormat", "CSV").upper(), (asked.get("schema") or {}).get("fields")
    with tempfile.TemporaryDirectory(dir=context.settings.upload_staging_dir) as folder:
        links = {}
        for number, file in enumerate(files):
            named = Path(folder) / f"{number:09}"
            _unpack(Path(file), named)
            links[str(named)] = file
        within = SimpleNamespace(engine=_Apart(session), settings=context.settings)
        try:
            if fields:
                executor._build_explicit_schema(within, READ, fields)
            elif target:
                within.engine.execute(f"CREATE TABLE {READ} AS SELECT * FROM {target} LIMIT 0")
            elif not asked.get("autodetect"):
                raise ValueError("a load into a new table needs a schema, or autodetect: there is no schema")
            else:
                executor._infer_autodetect_schema(within, READ, [f"file://{next(iter(links))}"], kind)
            for link in links:
                executor._LOAD_FORMAT_HANDLERS[kind](link, READ, within)
        except duckdb.Error as error:
            message = str(error)
            for link, file in links.items():
                message = message.replace(link, file)
            raise ValueError(message) from error
    return READ
