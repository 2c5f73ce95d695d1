"""
What tests of the lake share: synthetic months, what is in a bucket, lines that break, runs in a process of their own.

    python -m tests.nyc_taxi.load.bucket.bucket_helpers <file with a manifest row> <month or days>
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from google.cloud.storage import Bucket
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.google import storage_client
from nyc_taxi.load.bucket.days import replace_month as replace_days
from nyc_taxi.load.bucket.month import replace_month as replace_object
from nyc_taxi.manifest import StagedFile
from nyc_taxi.months import Month
from nyc_taxi.settings import GoogleSettings, Settings
from nyc_taxi.transform.rules import apply_rules, count
from pytest_httpserver import HTTPServer

from ops.paths import HOST, ROOT
from ops.stack import google
from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.conftest import new_bucket, run_of, settings_for

BLOCK = 1 << 16
JANUARY = Month(2021, 1)
KEPT = "trips/yellow/yellow_tripdata_2021-01.parquet"
REJECTED = "trips_rejected/yellow/yellow_tripdata_2021-01.parquet"


class Months:
    """Synthetic months, published, staged and judged; the same arguments give the same file."""

    def __init__(self, trips: TripServer, folder: Path) -> None:
        self.trips = trips
        self.settings = settings_for(Settings.from_environment({}).postgres, trips, folder)
        self._made: dict[tuple[object, ...], StagedFile] = {}

    def judged(
        self, service: str, month: str, origin: str, rows: int, *, malformed: int = 0, seed: int = 0, rules: str = ""
    ) -> StagedFile:
        """A month of so many rows, judged by the rules, else by its service's own."""
        name = (service, month, origin, rows, malformed, seed, rules)
        if name not in self._made:
            generate(service, month, origin, rows, self.trips.folder, malformed=malformed, seed=seed)
            self._made[name] = self.published(service, month, origin, rules)
        return self._made[name]

    def published(self, service: str, month: str, origin: str, rules: str = "") -> StagedFile:
        """The month as it is published now."""
        run = run_of(self.settings, service, month, origin, rules)
        [file] = apply_rules(stage_trip_file(run), run.rules).files
        return file


@contextmanager
def months_in(folder: Path) -> Iterator[Months]:
    """Synthetic months under a folder, as long as the block lasts."""
    with TripServer(folder / "trips") as trips:
        yield Months(trips, folder)


def of_rows(file: StagedFile, rows: pa.Table, folder: Path) -> StagedFile:
    """The same month with these rows, all accepted."""
    table = rows.cast(file.service.schema)
    folder.mkdir(exist_ok=True)
    path = folder / f"{file.service_name}-{file.month}-{len(list(folder.iterdir()))}.parquet"
    pq.write_table(table, path)
    bare = replace(
        file, path=str(path), malformed_path="", malformed={}, rows_read=len(table), sha256=f"sha of {path.name}"
    )
    bare = replace(bare, rules=(), rejected={})
    outcome = count(bare)
    return replace(bare, rows_accepted=outcome.accepted, sums=outcome.sums)


def bucket_of(google: GoogleSettings) -> Bucket:
    """The bucket, by Google's own client."""
    return storage_client(google).bucket(google.bucket)


def objects_in(google: GoogleSettings, prefix: str = "") -> dict[str, tuple[int, str]]:
    """Size and checksum of every object, by name."""
    return {blob.name: (blob.size, blob.crc32c) for blob in bucket_of(google).list_blobs(prefix=prefix)}


def generations(google: GoogleSettings, prefix: str = "") -> dict[str, int]:
    """Which writing of every object is there: changes with any write, of the same bytes too."""
    return {blob.name: blob.generation for blob in bucket_of(google).list_blobs(prefix=prefix)}


def metadata_of(google: GoogleSettings, name: str) -> dict[str, str]:
    """What an object tells of itself."""
    blob = bucket_of(google).get_blob(name)
    return dict(blob.metadata)


def file_system(google: GoogleSettings) -> pafs.GcsFileSystem:
    """The reader of pyarrow itself, which knows nothing of this project."""
    return pafs.GcsFileSystem(
        anonymous=True, scheme="http", endpoint_override=google.storage_emulator.removeprefix("http://")
    )


def read(google: GoogleSettings, name: str) -> pa.Table:
    """The rows of one object, without any partition column."""
    return pq.read_table(f"{google.bucket}/{name}", filesystem=file_system(google), partitioning=None)


def sorted_rows(table: pa.Table) -> pa.Table:
    """The same rows in an order that depends on nothing but them: equal tables are equal multisets."""
    return table.sort_by([(name, "ascending") for name in table.schema.names]).combine_chunks()


def put(google: GoogleSettings, name: str, content: bytes, metadata: Mapping[str, str] | None = None) -> None:
    """An object that another program wrote."""
    blob = bucket_of(google).blob(name)
    blob.metadata = dict(metadata or {})
    blob.upload_from_string(content)


def get(google: GoogleSettings, name: str) -> bytes:
    """The bytes of an object."""
    content: bytes = bucket_of(google).blob(name).download_as_bytes()
    return content


class Line:
    """
    A line to a server: counts the bytes of either direction, keeps what was asked, holds or breaks as it is told.

    After `hold_after` bytes up, nothing goes through until `release`; after `break_after`, nothing any more. `cuts` are
    numbers of bytes up, counted over the whole life of the line, at each of which the connection that brings them ends.
    The first time that `spoilt` comes up, one bit of it is another.
    """

    def __init__(
        self,
        url: str,
        *,
        hold_after: int | None = None,
        break_after: int | None = None,
        cuts: tuple[int, ...] = (),
        spoilt: bytes = b"",
    ) -> None:
        self.target = (HOST, int(url.rpartition(":")[2]))
        self.hold_after, self.break_after, self.cuts, self.spoilt = hold_after, break_after, list(cuts), spoilt
        self.up = self.down = 0
        self._asked: list[bytearray] = []
        self.broken = False
        self.held, self.release = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    @property
    def url(self) -> str:
        """Where a client connects."""
        return f"http://{HOST}:{self._listener.getsockname()[1]}"

    @property
    def asked(self) -> bytes:
        """All that came up, connection by connection."""
        return b"".join(self._asked)

    def of(self, google: GoogleSettings) -> GoogleSettings:
        """The same settings over this line."""
        return replace(google, storage_emulator=self.url)

    def break_off(self) -> None:
        """End every connection, and each new one."""
        self.broken = True
        self.release.set()
        for each in list(self._open):
            _close(each)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self.target) if not self.broken else None
        except OSError:
            server = None
        if server is None:
            _close(client)
            return
        self._open |= {client, server}
        back = threading.Thread(target=self._carry, args=(server, client, self._come_down), daemon=True)
        back.start()
        asked = bytearray()
        self._asked.append(asked)
        self._carry(client, server, partial(self._go_up, asked))
        back.join()
        self._open -= {client, server}

    def _carry(self, source: socket.socket, target: socket.socket, pass_on: Callable[[bytes], bool]) -> None:
        with suppress(OSError):
            while (block := source.recv(BLOCK)) and pass_on(block):
                target.sendall(self._spoil(block))
        _close(source)
        _close(target)

    def _spoil(self, block: bytes) -> bytes:
        if not self.spoilt or self.spoilt not in block:
            return block
        other, self.spoilt = bytes([self.spoilt[0] ^ 1]) + self.spoilt[1:], b""
        return block.replace(bytes([other[0] ^ 1]) + other[1:], other, 1)

    def _go_up(self, asked: bytearray, block: bytes) -> bool:
        with self._lock:
            self.up += len(block)
            asked += block
            if self.cuts and self.up > self.cuts[0]:
                del self.cuts[0]
                return False
        if self.break_after is not None and self.up > self.break_after:
            self.break_off()
        if self.hold_after is not None and self.up > self.hold_after and not self.release.is_set():
            self.held.set()
            self.release.wait(60)
        return not self.broken

    def _come_down(self, block: bytes) -> bool:
        with self._lock:
            self.down += len(block)
        return not self.broken

    def __enter__(self) -> Self:
        self._listener = socket.create_server((HOST, 0), backlog=128)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        _close(self._listener)
        self.break_off()


def _close(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


@contextmanager
def refusing(status: int, message: str, reason: str) -> Iterator[str]:
    """The address of a service that answers everything with one error, in Google's form."""
    detail = [{"message": message, "domain": "global", "reason": reason}]
    body = {"error": {"code": status, "message": message, "errors": detail}}
    with HTTPServer(host=HOST, threaded=True) as server:
        server.expect_request(re.compile("")).respond_with_json(body, status)
        yield server.url_for("")


class DoomedStore:
    """An emulator of Cloud Storage of its own, to be killed; it comes back over the same data at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = new_bucket(self.start())

    def start(self) -> GoogleSettings:
        """Start what does not run."""
        self.server = google.start(self.folder)
        return Settings.from_environment(self.server.environment()).google

    def kill(self) -> None:
        """End it as the kernel would when memory is short."""
        os.kill(self.server.gcs_pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        google.stop(self.folder)


def start_run(file: StagedFile, google: GoogleSettings, what: str, folder: Path) -> "subprocess.Popen[str]":
    """Write the month, as one object or as days, in a process of its own."""
    row = folder / f"{what}-row.json"
    row.write_text(json.dumps(file.to_row()))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.nyc_taxi.load.bucket.bucket_helpers", row, what],
        cwd=ROOT,
        env=os.environ | {"STORAGE_EMULATOR_HOST": google.storage_emulator, "GCS_BUCKET": google.bucket},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


WRITERS: dict[str, Callable[[StagedFile, GoogleSettings], Any]] = {
    "month": replace_object,
    "days": replace_days,
}


def main() -> None:
    """Write as the arguments say, into the bucket of the environment."""
    row, what = sys.argv[1:]
    WRITERS[what](StagedFile.of_row(json.loads(Path(row).read_text())), Settings.from_environment().google)


if __name__ == "__main__":
    main()
