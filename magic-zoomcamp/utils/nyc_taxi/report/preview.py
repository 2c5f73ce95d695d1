"""
The first trips of what a block made, for whoever runs it in Mage's editor; anywhere else nothing is read.

The editor shows two tabs then: the trips, and the manifest that the block returns. It makes a tab of every printed line
between RenderOutput tags, which is how Mage itself prints what a block returns. Tables that IPython displays as HTML
make the page of Mage 0.9.80 crash.
"""

import json
import sys
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from nyc_taxi.manifest import Manifest, StagedFile
from nyc_taxi.settings import GoogleSettings, Settings
from nyc_taxi.transform.rules import accepted

ROWS = 10
CHUNK_BYTES = 64 << 10
"""Read from an object at once: enough for the first rows of a column."""


def show_manifest(manifest: Manifest) -> Manifest:
    """Show the first rows of every file: the accepted ones once there are rules, in a bucket those of the object."""
    for file in manifest.files:
        if file.path.startswith("gs://"):
            show_object(file.path, file.rows_accepted)
        elif file.rows_accepted:
            show(accepted(file), file.rows_accepted, _name(file))
        else:
            show(file.batches(), file.rows_read - sum(file.malformed.values()), _name(file))
    return manifest


def show_object(path: str, rows: int) -> None:
    """Show the first rows of a Parquet object gs://bucket/name, of so many rows."""
    show(_object_batches(path, Settings.from_environment().google), rows, path)


def show(batches: Iterator[pa.RecordBatch], rows: int, name: str) -> None:
    """Show the first rows of the batches as a table; without an editor not even the first batch is asked for."""
    if not _somebody_looks():
        return
    table = next(batches).slice(0, ROWS)
    columns = table.schema.names
    cells = [[_cell(row[column]) for column in columns] for row in table.to_pylist()]
    shape = [rows, len(columns)]
    output = {"sample_data": {"columns": columns, "rows": cells}, "shape": shape, "type": "table"}
    print(f"{name}: the first {len(cells)} of {rows:,} rows", flush=True)
    print(f"<RenderOutput>{json.dumps([output | {'variable_uuid': 'trips'}])}</RenderOutput>", flush=True)


def _somebody_looks() -> bool:
    """Whether this is a notebook's kernel, as Mage's editor has one; a run of a pipeline has none."""
    # Asked of what is loaded, without a call that imports: another block's thread may be half-way through IPython.
    shell = getattr(sys.modules.get("IPython.core.interactiveshell"), "InteractiveShell", None)
    return shell is not None and shell.initialized() and getattr(shell.instance(), "kernel", None) is not None


def _cell(value: object) -> str | float | int:
    """Missing values are empty, times are text."""
    if value is None or value != value:  # noqa: PLR0124  only a float that is no number differs from itself
        return ""
    return value if isinstance(value, int | float) else str(value)


def _name(file: StagedFile) -> str:
    return f"{file.service_name} {file.month_text}"


def _object_batches(path: str, google: GoogleSettings) -> Iterator[pa.RecordBatch]:
    """Stream an object's rows, a small range of bytes after the other; nothing is asked before the first batch."""
    from nyc_taxi.load.google import REQUEST_SECONDS, google_errors, retry, storage_client

    bucket, _, name = path.removeprefix("gs://").partition("/")
    with google_errors(path, google):
        blob = storage_client(google).bucket(bucket).blob(name)
        with blob.open("rb", chunk_size=CHUNK_BYTES, timeout=REQUEST_SECONDS, retry=retry()) as stream:
            yield from pq.ParquetFile(stream).iter_batches(ROWS)
