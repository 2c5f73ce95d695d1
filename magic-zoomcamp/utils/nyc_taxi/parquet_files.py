"""Trips to Parquet files and back: bounded memory, the same bytes for the same rows."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nyc_taxi import quality
from nyc_taxi.manifest import StagedFile
from nyc_taxi.services import TEXT, WHOLE, Service
from nyc_taxi.streams import prefetch

ROW_GROUP = 262_144


class TripsWriter:
    """A Parquet file in the making: batches in, row groups of a fixed size out, rows and sums counted."""

    def __init__(self, path: Path, schema: pa.Schema, measures: Sequence[str]) -> None:
        self.rows = 0
        self.sums = dict.fromkeys(measures, 0.0)
        self._held: list[pa.RecordBatch] = []
        self._held_rows = 0
        self._writer = pq.ParquetWriter(path, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows; they are written when a row group is full."""
        self._held.append(batch)
        self._held_rows += len(batch)
        if self._held_rows >= ROW_GROUP:
            self._flush()

    def write_group(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Write rows as a row group of their own; none is no group."""
        rows = sum(map(len, batches))
        if rows:
            table = pa.Table.from_batches(batches)
            self._writer.write_table(table, row_group_size=rows)
            self.rows += rows
            for name in self.sums:
                self.sums[name] += float(pc.sum(table[name]).as_py() or 0)

    def _flush(self) -> None:
        self.write_group(self._held)
        self._held, self._held_rows = [], 0

    def __enter__(self) -> Self:
        """The file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is held and the footer."""
        if error is None:
            self._flush()
        self._writer.close()


def accepted(file: StagedFile) -> Iterator[pa.RecordBatch]:
    """Stream the rows that pass the file's rules, read and judged ahead of whoever takes them."""
    return prefetch(kept for batch in file.batches() if len(kept := quality.split(batch, file.rules)[0]))


def rejected_schema(service: Service) -> pa.Schema:
    """The canonical columns, why a row was rejected and, of one that could not be parsed, its place and its text."""
    more = [("reason", TEXT), ("source_row", WHOLE), ("source_text", TEXT)]
    return pa.schema([*service.schema, *(pa.field(name, kind) for name, kind in more)])


def malformed(file: StagedFile) -> Iterable[pa.RecordBatch]:
    """The rows that could not be parsed, as they are kept beside the rejected ones."""
    if not file.malformed_path:
        return []
    table = pq.read_table(file.malformed_path).rename_columns(["source_row", "source_text", "reason"])
    return table.to_batches()  # type: ignore[no-any-return]


def to_schema(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The same rows with every column of the schema, the missing ones null."""
    columns = [
        batch[field.name].cast(field.type) if field.name in batch.schema.names else pa.nulls(len(batch), field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def measure_stream(parquet: pq.ParquetFile, service: Service) -> tuple[int, dict[str, float]]:
    """Rows, and the sum of each of the service's measures, of an open Parquet file."""
    sums = dict.fromkeys(service.measures, 0.0)
    for batch in parquet.iter_batches(columns=list(service.measures)):
        for name in service.measures:
            sums[name] += float(pc.sum(batch[name]).as_py() or 0)
    return parquet.metadata.num_rows, sums
