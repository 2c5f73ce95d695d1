"""Running one step of a stream while the next one works, and keeping rows on disk for later."""

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Self, TypeVar

import pyarrow as pa

T = TypeVar("T")


def prefetch(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """
    The same items, produced by a background thread that stays at most `depth` ahead.

    Arrow, gzip and database drivers release the interpreter's lock, so that two steps use two cores. An error of
    the producer is raised here, where its next item would have been; a consumer that stops early ends the producer.
    """
    ahead: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: T | None, error: BaseException | None) -> None:
        while not stopped.is_set():
            try:
                ahead.put((item, error), timeout=0.1)
                return
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for item in items:
                put(item, None)
                if stopped.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:  # noqa: BLE001  handed over and raised by the consumer
            put(None, error)
        finally:
            if isinstance(items, Generator):
                items.close()  # here, where it ran: what it holds may be bound to its thread

    producer = threading.Thread(target=produce, daemon=True)
    producer.start()
    try:
        while True:
            item, error = ahead.get()
            if isinstance(error, StopIteration):
                return
            if error:
                raise error
            yield item  # type: ignore[misc]  # no error means an item
    finally:
        stopped.set()
        producer.join()


class Spool:
    """Record batches kept on disk, to be read back once; memory does not grow with them."""

    def __init__(self, folder: Path) -> None:
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115  closed by __exit__
        self._writer: pa.RecordBatchStreamWriter | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Keep one batch; all have the same schema."""
        if self._writer is None:
            self._writer = pa.ipc.new_stream(self._file, batch.schema)
        self._writer.write_batch(batch)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """What was kept, in order; nothing can be added after it."""
        if self._writer is None:
            return
        self._writer.close()
        self._file.seek(0)
        yield from pa.ipc.open_stream(self._file)

    def __enter__(self) -> Self:
        """The spool itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Free the disk."""
        self._file.close()
