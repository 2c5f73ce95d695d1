"""
The first trips of what a block made, for whoever runs it in Mage's editor; anywhere else nothing is read.

Where the blocks above have to run first, Mage shows what these print as the output of the block that a person asked
for: they show nothing, and the line above the trips says whose they are. The editor shows two tabs then: the trips, and
the manifest that the block returns. It makes a tab of every printed line between RenderOutput tags, which is how Mage
itself prints what a block returns. Tables that IPython displays as HTML make the page of Mage 0.9.80 crash.
"""

import json
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pyarrow as pa

from nyc_taxi.manifest import Manifest, StagedFile
from nyc_taxi.settings import Settings
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
    if not _somebody_looks():
        return
    from nyc_taxi.load.bucket.parquet import object_batches

    show(object_batches(path, Settings.from_environment().google, ROWS, CHUNK_BYTES), rows, path)


def show(batches: Iterator[pa.RecordBatch], rows: int, name: str) -> None:
    """Show the first rows of the batches as a table; without an editor not even the first batch is asked for."""
    if not _somebody_looks():
        return
    table = next(batches).slice(0, ROWS)
    columns = table.schema.names
    cells = [[_cell(row[column]) for column in columns] for row in table.to_pylist()]
    shape = [rows, len(columns)]
    output = {"sample_data": {"columns": columns, "rows": cells}, "shape": shape, "type": "table"}
    print(f"{_block()}{name}: the first {len(cells)} of {rows:,} rows", flush=True)
    print(f"<RenderOutput>{json.dumps([output | {'variable_uuid': 'trips'}])}</RenderOutput>", flush=True)


def _somebody_looks() -> bool:
    """Whether a person runs this very block in a notebook's kernel, as Mage's editor has one; a run has no kernel."""
    # Asked of what is loaded, without a call that imports: another block's thread may be half-way through IPython.
    shell = getattr(sys.modules.get("IPython.core.interactiveshell"), "InteractiveShell", None)
    is_kernel = shell is not None and shell.initialized() and getattr(shell.instance(), "kernel", None) is not None
    return is_kernel and "run_upstream_blocks" not in _callers()


def _block() -> str:
    """The name of the block that Mage executes, for the beginning of a line; empty outside of a block."""
    block = _callers().get("execute_block_function", {}).get("self")
    return f"{block.uuid}, " if block else ""


def _callers() -> dict[str, dict[str, Any]]:
    """The local variables of the functions that this was called by, by the functions' names."""
    found: dict[str, dict[str, Any]] = {}
    frame: FrameType | None = sys._getframe(1)
    while frame:
        found[frame.f_code.co_name] = frame.f_locals
        frame = frame.f_back
    return found


def _cell(value: object) -> str | float | int:
    """Missing values are empty, times are text."""
    if value is None or value != value:  # noqa: PLR0124  only a float that is no number differs from itself
        return ""
    return value if isinstance(value, int | float) else str(value)


def _name(file: StagedFile) -> str:
    return f"{file.service_name} {file.month_text}"
