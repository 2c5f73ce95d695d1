"""Record batches into a Postgres table by binary COPY: no row becomes a Python object, memory holds a few batches."""

import io
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg2.extensions import cursor as Cursor

from nyc_taxi.streams import prefetch

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

PIECE_BYTES = 1 << 18


def copy_batches(cursor: Cursor, table: str, batches: Iterator[pa.RecordBatch], *, freeze: bool = True) -> int:
    """
    COPY the batches into the columns of their names, in lower case; return the number of rows.

    To freeze, the table must have been made in the same transaction: its rows are then frozen, that is, visible to
    every snapshot from the moment the transaction commits, the older ones included, and never rewritten by a vacuum.

    Args:
        cursor: in the transaction that made the table.
        table: schema.name, both known to be plain identifiers.
        batches: of one schema, of types that Postgres' table has exactly (int32 for integer, int64 for bigint).
        freeze: whether the rows need no vacuum; see above.
    """
    first = next(batches, None)
    if first is None:
        return 0
    columns = ", ".join(name.lower() for name in first.schema.names)
    stream = _Stream(prefetch(_encoded(chain([first], batches), first.schema)))
    try:
        options = "FORMAT binary, FREEZE" if freeze else "FORMAT binary"
        cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN ({options})", stream, size=PIECE_BYTES)
    except Exception:
        # The driver reports an error of ours as the server's "COPY failed"; ours says more.
        if stream.error:
            raise stream.error from None
        raise
    return cursor.rowcount


def _encoded(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[bytes]:
    encoder = ArrowToPostgresBinaryEncoder(schema)
    yield encoder.write_header()
    for batch in batches:
        yield encoder.write_batch(batch)
    yield encoder.finish()


class _Stream(io.RawIOBase):
    """Chunks of bytes as a file that the driver reads in pieces."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = memoryview(b"")
        self.error: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer") -> int:
        try:
            while not self._chunk:
                self._chunk = memoryview(next(self._chunks))
        except StopIteration:
            return 0
        except Exception as error:
            self.error = error
            raise
        target = memoryview(buffer)
        size = min(len(target), len(self._chunk))
        target[:size], self._chunk = self._chunk[:size], self._chunk[size:]
        return size
