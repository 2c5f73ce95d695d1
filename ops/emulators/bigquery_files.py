"""The files of the BigQuery emulator's load jobs: which a URI names, and text that may be packed by gzip."""

import re
import tempfile
from pathlib import Path
from typing import Any

import duckdb
from bqemulator.catalog.models import JobMeta
from bqemulator.domain.errors import NotFoundError, ValidationError
from bqemulator.jobs import executor

from ops.emulators.bigquery_tables import Resource

_resolve_uri = executor._resolve_uri
_load_other = executor.execute_load_job
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


async def load_text(project: str, job: str, config: Resource, context: Any) -> JobMeta:
    """Load CSV or JSON as the package does, under names that tell DuckDB what is packed: an upload's name does not."""
    asked = config["load"]
    files = [file for uri in asked.get("sourceUris", []) for file in files_of(uri, context)]
    with tempfile.TemporaryDirectory(dir=context.settings.upload_staging_dir) as folder:
        links = {}
        for number, file in enumerate(files):
            with Path(file).open("rb") as content:
                packed = content.read(len(GZIP)) == GZIP
            link = Path(folder) / f"{number:09}{'.gz' if packed else ''}"
            link.symlink_to(file)
            links[str(link)] = file
        named = {**config, "load": {**asked, "sourceUris": [f"file://{link}" for link in links]}}
        try:
            done = await _load_other(project, job, named, context)
        except duckdb.Error as error:
            message = str(error)
            for name, file in links.items():
                message = message.replace(name, file)
            raise ValueError(message) from error
    return done.model_copy(update={"configuration": config})
