"""Trips to Parquet files and back: bounded memory, the same bytes for the same rows."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import BoundedSemaphore
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nyc_taxi.catalog.services import Service
from nyc_taxi.google import REQUEST_SECONDS, google_errors, retry, storage_client
from nyc_taxi.manifest import BATCH_ROWS
from nyc_taxi.settings import GoogleSettings
from nyc_taxi.transform.rules import REJECTED_COLUMNS

CHUNK_BYTES = 8 << 20
ROW_GROUP = 131_072
"""Some 20 MB of yellow trips: two of them are in memory, one that is encoded and one that is gathered."""


class Encoder:
    """
    Threads that encode row groups while the next rows are read; whoever brings more than they can take waits.

    Encoding is the longest step of an export, and pyarrow does it in one thread.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, "encoder")
        self._free = BoundedSemaphore(threads)

    def submit(
        self, work: Callable[[Sequence[pa.RecordBatch]], None], batches: Sequence[pa.RecordBatch]
    ) -> Future[None]:
        """Have a thread do the work, as soon as one is free."""
        self._free.acquire()
        working = self._pool.submit(work, batches)
        working.add_done_callback(lambda _: self._free.release())
        return working

    def __enter__(self) -> Self:
        """The encoder itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Wait for what is being encoded."""
        self._pool.shutdown()


class TripsWriter:
    """A Parquet file in the making: batches in, row groups of a fixed size out, rows and sums counted."""

    def __init__(self, path: Path, schema: pa.Schema, measures: Sequence[str], encoder: Encoder | None = None) -> None:
        self.rows = 0
        """Complete, as the sums are, once the file is closed."""
        self.sums = dict.fromkeys(measures, 0.0)
        self._held: list[pa.RecordBatch] = []
        self._held_rows = 0
        self._writer = pq.ParquetWriter(path, schema)
        self._encoder = encoder
        self._encoding: Future[None] | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows; they are written when a row group is full."""
        self._held.append(batch)
        self._held_rows += len(batch)
        if self._held_rows >= ROW_GROUP:
            self._flush()

    def write_group(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Write rows as a row group of their own, after those before; none is no group."""
        if not any(map(len, batches)):
            return
        if self._encoder is None:
            self._encode(batches)
            return
        self._wait()
        self._encoding = self._encoder.submit(self._encode, batches)

    def _encode(self, batches: Sequence[pa.RecordBatch]) -> None:
        table = pa.Table.from_batches(batches)
        self._writer.write_table(table, row_group_size=len(table))
        self.rows += len(table)
        for name in self.sums:
            self.sums[name] += float(pc.sum(table[name]).as_py() or 0)

    def _wait(self) -> None:
        if self._encoding:
            self._encoding.result()

    def _flush(self) -> None:
        held, self._held, self._held_rows = self._held, [], 0
        self.write_group(held)

    def __enter__(self) -> Self:
        """The file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is held and the footer."""
        try:
            if error is None:
                self._flush()
            self._wait()
        finally:
            self._writer.close()


def rejected_schema(service: Service) -> pa.Schema:
    """The canonical columns, why a row was rejected and, of one that could not be parsed, its place and its text."""
    return pa.schema([*service.schema, *(pa.field(name, kind) for name, kind in REJECTED_COLUMNS.items())])


def to_schema(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The same rows with every column of the schema, the missing ones null."""
    columns = [
        batch[field.name].cast(field.type) if field.name in batch.schema.names else pa.nulls(len(batch), field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def free_unused() -> None:
    """Give back what encoding needed, before an upload needs its own: the two peaks are then not one."""
    pa.default_memory_pool().release_unused()


def measure_stream(parquet: pq.ParquetFile, service: Service) -> tuple[int, dict[str, float]]:
    """Rows, and the sum of each of the service's measures, of an open Parquet file."""
    sums = dict.fromkeys(service.measures, 0.0)
    for batch in parquet.iter_batches(columns=list(service.measures)):
        for name in service.measures:
            sums[name] += float(pc.sum(batch[name]).as_py() or 0)
    return parquet.metadata.num_rows, sums


def object_batches(
    path: str, google: GoogleSettings, rows: int = BATCH_ROWS, chunk: int = CHUNK_BYTES
) -> Iterator[pa.RecordBatch]:
    """
    Stream the rows of a Parquet object gs://bucket/name, so many at once; nothing is asked before the first batch.

    `chunk` is how many bytes a request asks for at least: few for the first rows, many for all. Raises
    TargetUnavailable when the bucket cannot be reached or refuses.
    """
    bucket, _, name = path.removeprefix("gs://").partition("/")
    with google_errors(path, google):
        blob = storage_client(google).bucket(bucket).blob(name)
        with blob.open("rb", chunk_size=chunk, timeout=REQUEST_SECONDS, retry=retry()) as stream:
            yield from pq.ParquetFile(stream).iter_batches(rows)
