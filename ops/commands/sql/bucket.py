"""
SQL on the bucket's Parquet objects by DuckDB, in this process: only the objects and columns that it needs are read.

The objects come through Google's client, with its credentials, from the real service and from the emulator alike.
DuckDB itself can reach nothing: no file, no network, no extension.
"""

import re
import sys
from datetime import datetime
from typing import Any

import duckdb
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem
from google.cloud.storage import Blob
from nyc_taxi.catalog.services import SERVICES, Service
from nyc_taxi.errors import TaxiError, shortened
from nyc_taxi.google import REQUEST_SECONDS, bucket_of, google_errors, retry
from nyc_taxi.load.bucket.objects import listing
from nyc_taxi.load.bucket.pair import month_object
from nyc_taxi.months import Month
from nyc_taxi.settings import GoogleSettings

from ops.commands.sql.answer import Rows, as_text
from ops.errors import CommandFailed

SCHEME = "bucket"
BLOCK_BYTES = 256 << 10
"""Read ahead of what DuckDB asks for, which has the columns of a row group side by side."""
MONTH = r"_tripdata_(\d{4}-\d{2})\.parquet$"
OF_LATER_COLUMNS = "union_by_name"
VIEW_OF_NONE = "SELECT *, NULL::VARCHAR AS month, NULL::DATE AS file_month FROM"
LOCKED = f"""
SET autoinstall_known_extensions = false; SET autoload_known_extensions = false;
SET allowed_directories = ['{SCHEME}://']; SET enable_external_access = false; SET lock_configuration = true;
"""


def ask(statement: str, google: GoogleSettings) -> tuple[list[str], Rows]:
    """
    Columns and rows of the statement's answer, as text.

    Raises CommandFailed with what DuckDB says of it, TargetUnavailable where the bucket does not answer.
    """
    asked = [service for service in SERVICES.values() if f"{service.name}_trips" in statement.lower()]
    with duckdb.connect() as connection:
        objects = _Objects(google)
        connection.register_filesystem(objects)
        found = [(service, objects.months(service)) for service in asked]
        connection.execute(LOCKED)
        try:
            return _answer(connection, statement, found, all_columns=False)
        except duckdb.Error as error:
            if OF_LATER_COLUMNS not in str(error):
                raise _said(error, objects) from None
        try:  # TLC has added a column since the oldest of them: now every object is asked for its columns
            return _answer(connection, statement, found, all_columns=True)
        except duckdb.Error as error:
            raise _said(error, objects) from None


def _answer(
    connection: duckdb.DuckDBPyConnection, statement: str, found: list[tuple[Service, list[str]]], *, all_columns: bool
) -> tuple[list[str], Rows]:
    for service, names in found:
        view = view_of(names, all_columns) if names else f"{VIEW_OF_NONE} {service.name}_none"
        connection.register(f"{service.name}_none", service.schema.empty_table())
        connection.execute(f"CREATE OR REPLACE VIEW {service.name}_trips AS {view}")
    connection.execute(statement)
    columns = [column[0] for column in connection.description or ()]
    return columns, [[as_text(value) for value in row] for row in connection.fetchall()]


def view_of(names: list[str], all_columns: bool) -> str:
    """The query over all objects of a service. DuckDB finds the month in their names, before it opens any."""
    listed = ", ".join(f"'{SCHEME}://{name}'" for name in names)
    month = f"regexp_extract(filename, '{MONTH}', 1)"
    return (
        f"SELECT * EXCLUDE (filename), {month} AS month, ({month} || '-01')::DATE AS file_month "
        f"FROM read_parquet([{listed}], filename = true, {OF_LATER_COLUMNS} = {str(all_columns).lower()})"
    )


def _said(error: duckdb.Error, objects: "_Objects") -> TaxiError | CommandFailed:
    """The error of the bucket, if that was the cause; else what DuckDB says, without the lines that point at it."""
    if objects.failed:
        return objects.failed
    lines = [
        line.strip() for line in str(error).splitlines() if line.strip() and not re.match(r"LINE \d+:|\s*\^", line)
    ]
    return CommandFailed(f"DuckDB: {shortened(' '.join(lines))}")


class _Objects(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """The objects of a bucket as DuckDB reads files; they can only be read."""

    protocol = SCHEME
    cachable = False

    def __init__(self, google: GoogleSettings) -> None:
        super().__init__()
        self.google, self.bucket = google, bucket_of(google)
        self.blobs: dict[str, Blob] = {}
        self.failed: TaxiError | None = None

    def months(self, service: Service) -> list[str]:
        """The names of the service's months, the newest first: it has the columns that TLC added."""
        pattern = month_object(service, Month(2021, 1)).replace("2021-01", "*")
        with google_errors(f"gs://{self.bucket.name}", self.google):
            found = listing(self.bucket, pattern)
        self.blobs |= found
        names = sorted((name for name in found if re.search(MONTH, name)), reverse=True)
        if not names:
            said = f"gs://{self.bucket.name}/{pattern}: no month of {service.name}; api_to_gcs brings one"
            print(said, file=sys.stderr)
        return names

    def fetch(self, name: str, start: int, end: int) -> bytes:
        """Some bytes of an object as it was listed: one that is replaced meanwhile is an error, never a mixture."""
        try:
            with google_errors(f"gs://{self.bucket.name}/{name}", self.google):
                blob = self.bucket.blob(name, generation=self.blobs[name].generation)
                content: bytes = blob.download_as_bytes(
                    start=start, end=end - 1, timeout=REQUEST_SECONDS, retry=retry(), checksum=None
                )
                return content
        except TaxiError as error:
            self.failed = error
            raise

    def glob(self, path: str, **_: Any) -> list[str]:
        return [path]

    def exists(self, path: str, **_: Any) -> bool:
        return self._strip_protocol(path) in self.blobs

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        name = self._strip_protocol(path)
        if name not in self.blobs:
            raise FileNotFoundError(name)
        return {"name": name, "size": self.blobs[name].size, "type": "file"}

    def modified(self, path: str) -> datetime:
        changed: datetime = self.blobs[self._strip_protocol(path)].updated
        return changed

    def _open(self, path: str, mode: str = "rb", **_: Any) -> "_Object":
        if mode != "rb":
            raise PermissionError("the bucket is only read here")
        return _Object(self, self._strip_protocol(path), mode, BLOCK_BYTES, cache_type="readahead")


class _Object(AbstractBufferedFile):  # type: ignore[misc]
    """One object, read by ranges."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        content: bytes = self.fs.fetch(self.path, start, end)
        return content
