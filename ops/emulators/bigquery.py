"""
BigQuery on this machine: the pip package bqemulator (REST over DuckDB), with what it lacks patched in.

With the emulators' own Python (see ops/stack/google.py): python -m ops.emulators.bigquery FOLDER PORT GCS [ADDRESS]

Tables are in FOLDER/bqemulator.duckdb; gs:// names files of the Cloud Storage emulator's folder. Every patch below says
what it is for. Limits: no time travel, no extensions of DuckDB (GEOGRAPHY, Avro), no `INSERT ROW` in MERGE, no ASSERT;
options of CREATE TABLE other than partitioning, clustering and description are forgotten.
"""

import re
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import sqlglot
from bqemulator import server as composition
from bqemulator.api.app import create_app
from bqemulator.api.routes import jobs, tables, upload
from bqemulator.catalog.models import JobMeta
from bqemulator.config import LogLevel, PersistenceMode, Settings
from bqemulator.domain.errors import (
    InvalidQueryError,
    UnsupportedFeatureError,
    ValidationError,
)
from bqemulator.jobs import executor
from bqemulator.scripting.exceptions import ScriptRaise
from bqemulator.storage.engine import DuckDBEngine
from bqemulator.versioning.snapshots import SnapshotManager
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from sqlglot import exp

from ops.emulators.bigquery_files import resolve_uri
from ops.emulators.bigquery_jobs import keep_answers, refuse_repeated
from ops.emulators.bigquery_load import load, load_or_explain
from ops.emulators.bigquery_names import as_package_reads
from ops.emulators.bigquery_tables import Resource, sync_created_table, table_from_request, table_to_response

HOST = "127.0.0.1"
MEMORY = "1GB"
"""What DuckDB may take; more goes to a file beside the tables."""


class Engine(DuckDBEngine):
    """DuckDB within bounds, and without an extension that would be downloaded: this machine may be offline."""

    def _load_spatial(self) -> None:
        self.connection.execute(f"SET memory_limit = '{MEMORY}'")
        self.connection.execute("SET preserve_insertion_order = false")  # BigQuery promises none; a load needs less

    def fetch_arrow(self, sql: str, parameters: Any = None) -> pa.Table:
        """Run a statement; a MERGE that matches nothing as a DELETE and an INSERT, in one transaction."""
        statements = without_join(sql) if not parameters else []
        if not statements:
            return super().fetch_arrow(sql, parameters)
        self.execute("BEGIN TRANSACTION")
        try:
            changed = sum(row[0] for statement in statements for row in self.execute(statement).fetchall())
            self.execute("COMMIT")
        except BaseException:
            self.execute("ROLLBACK")
            raise
        return pa.table({"Count": [changed]})

    def session(self) -> duckdb.DuckDBPyConnection:
        """A connection for another thread, with its own transactions."""
        connection = self.connection.cursor()
        connection.execute("SET TimeZone = 'UTC'")
        return connection


def without_join(sql: str) -> list[str]:
    """
    The DELETE and INSERT statements that a `MERGE .. ON FALSE` amounts to; none for any other statement.

    DuckDB would compare every row of the one table with every row of the other: 40 s for two of 100,000 rows.
    """
    if not re.search(r"^\s*MERGE\b.*\bON\s+\(?FALSE\b", sql, re.IGNORECASE | re.DOTALL):
        return []
    merge = sqlglot.parse_one(sql, read="duckdb")
    target, source = merge.this, merge.args["using"]
    if merge.args["on"].sql().upper() != "FALSE" or target.name in {table.name for table in source.find_all(exp.Table)}:
        return []
    deletes, inserts = [], []
    for when in merge.args["whens"].expressions:
        then, condition = when.args["then"], when.args.get("condition") or exp.true()
        where = f"WHERE {condition.sql('duckdb')}"
        if when.args.get("source") and then.name.upper() == "DELETE":
            deletes.append(f"DELETE FROM {target.sql('duckdb')} {where}")
        elif not when.args.get("source") and isinstance(then, exp.Insert) and then.expression:
            columns, values = (
                ", ".join(part.sql("duckdb") for part in tuple_.expressions) for tuple_ in (then.this, then.expression)
            )
            table = exp.table_(target.this, db=target.args.get("db"), catalog=target.args.get("catalog"))
            into = f"{table.sql('duckdb')} ({columns})"
            inserts.append(f"INSERT INTO {into} SELECT {values} FROM {source.sql('duckdb')} {where}")
        else:
            return []
    return deletes + inserts


class Server(composition.EmulatorServer):
    """The package's server with our engine."""

    def __init__(self, settings: Settings) -> None:
        composition.DuckDBEngine = Engine
        composition.create_app = app_of_4xx
        super().__init__(settings)

    @property
    def context(self) -> Any:
        """Catalog, engine and clock, once it has started."""
        return self._context


# --- Errors -----------------------------------------------------------------------------------------------------------


def app_of_4xx(context: Any) -> FastAPI:
    """The package's routes; what DuckDB or Python refuse is the caller's error: clients repeat after a 5xx."""
    app = create_app(context)

    async def refuse(_: Request, error: Exception) -> JSONResponse:
        known = ValidationError(f"{type(error).__name__}: {error}")
        return JSONResponse(status_code=known.http_status, content=known.to_bigquery_error())

    for kind in (duckdb.Error, ValueError, LookupError, TypeError):
        app.add_exception_handler(kind, refuse)
    UnsupportedFeatureError.http_status = 400
    return app


_run_script = executor._run_script


async def run_script(*arguments: Any, **named: Any) -> Any:
    """RAISE in a script is a 400: it would be a 500."""
    try:
        return await _run_script(*arguments, **named)
    except ScriptRaise as error:
        raise InvalidQueryError(error.message) from error


_handle_query_job = jobs._handle_query_job


async def handle_query_job(project: str, job: str, config: Resource, **named: Any) -> Any:
    """A query, under a name that is new."""
    refuse_repeated(job, project, named["ctx"])
    return await _handle_query_job(project, job, config, **named)


_load_configuration_from_envelope = upload._load_configuration_from_envelope


def configuration_of_upload(envelope: Resource) -> Resource:
    """With the name that the client gave the job: the package would invent one."""
    return {**_load_configuration_from_envelope(envelope), "jobReference": envelope.get("jobReference") or {}}


async def run_upload(*, project_id: str, configuration: Resource, media_path: str, ctx: Any) -> tuple[str, JobMeta]:
    """Load a file that was uploaded, as one of the bucket is loaded: once under its name, with the same errors."""
    config = {name: value for name, value in configuration.items() if name != "jobReference"}
    job = configuration["jobReference"].get("jobId") or upload._new_job_id()
    load = {**config["load"], "sourceUris": [f"file://{media_path}"]}
    done = (await load_or_explain(project_id, job, {**config, "load": load}, ctx)).model_copy(
        update={"configuration": config}
    )
    ctx.catalog.upsert_job(done)
    return job, done


# --- The rest ---------------------------------------------------------------------------------------------------------

_apply_default_dataset = jobs._apply_default_dataset
_execute_query_job = jobs.execute_query_job


def apply_default_dataset(sql: str, *arguments: Any, **named: Any) -> str:
    """Of a job, a dry run too."""
    return str(_apply_default_dataset(as_package_reads(sql), *arguments, **named))


async def execute_query_job(project: str, job: str, sql: str, *arguments: Any, **named: Any) -> Any:
    """Of a query without a job of its own."""
    return await _execute_query_job(project, job, as_package_reads(sql), *arguments, **named)


def no_snapshot(manager: SnapshotManager, *_: object, kind: str = "AUTO") -> None:
    """The package keeps a copy of a table after every change, for a week: a year's backfill would fill the disk."""


def patch(server: Server) -> None:
    """Put the patches in their places."""
    upload._PERMITTED_MEDIA_CONTENT_TYPES += ("*/*",)  # what `load_table_from_dataframe` sends
    executor._run_script = run_script
    executor._resolve_uri = resolve_uri
    executor.execute_load_job = jobs.execute_load_job = load
    upload._load_configuration_from_envelope = configuration_of_upload
    upload._run_load = run_upload
    executor.sync_created_table = sync_created_table
    jobs._handle_load_job_with_async_envelope = load_or_explain
    jobs._handle_query_job = handle_query_job
    jobs._apply_default_dataset = apply_default_dataset
    jobs.execute_query_job = execute_query_job
    tables._rest_to_table_meta = table_from_request(lambda: server.context)
    tables._table_to_rest = table_to_response(lambda: server.context)
    SnapshotManager.capture = no_snapshot


def main() -> None:
    """Read the command line and serve until SIGTERM; after SIGKILL, DuckDB's log has what was committed."""
    folder, port, gcs, *address = sys.argv[1:]
    data = Path(folder).resolve()
    server = Server(
        Settings(
            rest_host=address[0] if address else HOST,
            rest_port=int(port),
            grpc_host=HOST,
            grpc_port=0,  # nobody asks there
            persistence_mode=PersistenceMode.PERSISTENT,
            data_dir=data,
            upload_staging_dir=data / "uploads",
            gcs_local_root=Path(gcs).resolve() / ".cloudstorage",
            enable_format_extensions=False,  # they would be downloaded
            log_level=LogLevel.WARNING,
        )
    )
    patch(server)
    keep_answers(data)
    server.run_forever()


if __name__ == "__main__":
    main()
