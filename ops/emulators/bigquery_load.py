"""Load jobs of the BigQuery emulator: by column name, in one transaction, errors as the real service's."""

import asyncio
import calendar
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
from bqemulator.api.routes import jobs, tables
from bqemulator.catalog.models import JobMeta
from bqemulator.domain.errors import (
    AlreadyExistsError,
    DomainError,
    ResourceRef,
    resource_not_found,
)
from bqemulator.jobs import executor
from bqemulator.storage.sql_identifiers import quoted_table_ref
from bqemulator.storage.type_map import duckdb_type_to_bq_field

from ops.emulators.bigquery_files import files_of, read_text
from ops.emulators.bigquery_jobs import note, refuse_repeated
from ops.emulators.bigquery_tables import Resource, check_columns, known_dataset


@dataclass(frozen=True)
class Load:
    """A load of files, as it was asked for."""

    project: str
    dataset: str
    table: str
    partition: str
    """YYYY, YYYYMM or YYYYMMDD after the dollar sign of `table$202101`, or nothing."""
    files: tuple[str, ...]
    disposition: str
    config: Resource

    @property
    def name(self) -> str:
        """As messages say it."""
        return f"{self.project}:{self.dataset}.{self.table}"

    @property
    def target(self) -> str:
        """The table in DuckDB's SQL."""
        return str(quoted_table_ref(self.project, self.dataset, self.table))

    @property
    def parquet(self) -> str:
        """Parquet files in DuckDB's SQL; folders named `key=value` are columns only on request."""
        hive = "true" if self.config.get("hivePartitioningOptions") else "false"
        return f"read_parquet([{', '.join(map(_quoted, self.files))}], union_by_name=true, hive_partitioning={hive})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


async def load_or_explain(project: str, job: str, config: Resource, context: Any) -> JobMeta:
    """A load job that is done, whether well or not: what is missing is `notFound`, what cannot be read `invalid`."""
    refuse_repeated(job, project, context)
    try:
        return await load(project, job, config, context)
    except DomainError as error:
        reason = jobs._domain_error_to_error_result(error)
    except (duckdb.Error, ValueError) as error:
        # As the caller knows the files.
        message = str(error).replace(f"{context.settings.gcs_local_root}/", "gs://")
        reason = {"reason": "invalid", "message": f"Error while reading data, error message: {message}"}
    failed = jobs._failed_job_meta(project, job, "LOAD", config, reason, context.clock.now())
    return failed.model_copy(update={"statistics": {"load": {}}})


async def load(project: str, job: str, config: Resource, context: Any) -> JobMeta:
    """Load files in one transaction, columns by name in any letter case, into a table that may not exist yet."""
    asked = config["load"]
    known_dataset(asked["destinationTable"].get("projectId", project), asked["destinationTable"]["datasetId"], context)
    begun = context.clock.now()
    wanted = _asked(project, asked, context)

    def done_with(rows: int) -> JobMeta:
        size = str(sum(Path(file).stat().st_size for file in wanted.files))
        counts = {"inputFiles": str(len(wanted.files)), "inputFileBytes": size, "outputBytes": size, "badRecords": "0"}
        return JobMeta(
            project_id=project,
            job_id=job,
            job_type="LOAD",
            state="DONE",
            configuration=config,
            statistics={"load": {"outputRows": str(rows), **counts}},
            creation_time=begun,
            start_time=begun,
            end_time=context.clock.now(),
            etag=job,
        )

    session = context.engine.session()
    try:
        # In a thread, so that others are answered meanwhile.
        source = await asyncio.to_thread(_source, session, wanted, context)
        columns = await asyncio.to_thread(_columns, session, source)
        _make_table(wanted, columns, context)
        check_columns(wanted.name, columns, _columns(session, wanted.target))
        await asyncio.to_thread(_refuse_impossible_times, session, source, columns)
        async with context.engine.write_lock():
            done = await asyncio.to_thread(
                _replace_or_append, session, wanted, source, _window(wanted, context), done_with
            )
    finally:
        session.close()
    context.snapshots.record_change(wanted.project, wanted.dataset, wanted.table)
    return done


def _asked(project: str, asked: Resource, context: Any) -> Load:
    target = asked["destinationTable"]
    table, _, partition = target["tableId"].partition("$")
    files = [file for uri in asked.get("sourceUris", []) for file in files_of(uri, context)]
    disposition = asked.get("writeDisposition", "WRITE_APPEND")
    owner = target.get("projectId", project)
    return Load(owner, target["datasetId"], table, partition, tuple(files), disposition, asked)


def _source(session: duckdb.DuckDBPyConnection, wanted: Load, context: Any) -> str:
    """What is to be loaded, in DuckDB's SQL."""
    if wanted.config.get("sourceFormat", "CSV").upper() == "PARQUET":
        return wanted.parquet
    held = context.catalog.get_table(wanted.project, wanted.dataset, wanted.table)
    return read_text(session, wanted.files, wanted.config, wanted.target if held else "", context)


def _columns(session: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    return {name: kind for name, kind, *_ in session.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}


TIMES = {"TIMESTAMP": "datetime", "TIMESTAMP WITH TIME ZONE": "timestamp", "DATE": "date"}
FIRST, LAST = "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"


def _refuse_impossible_times(session: duckdb.DuckDBPyConnection, source: str, columns: dict[str, str]) -> None:
    """DuckDB and Parquet know years that BigQuery does not."""
    for name, kind in columns.items():
        if kind not in TIMES:
            continue
        column, what = '"' + name.replace('"', '""') + '"', TIMES[kind]
        strange = f"{column} NOT BETWEEN '{FIRST}'::{kind} AND '{LAST}'::{kind}"
        found = session.execute(f"SELECT epoch_us({column}) FROM {source} WHERE {strange} LIMIT 1").fetchone()
        if found is not None:
            raise ValueError(
                f"Invalid {what} value {found[0]} for field '{name}': Cannot return an invalid {what} value of "
                f"{found[0]} microseconds relative to the Unix epoch. The range of valid {what} values is "
                f"[{FIRST}, {LAST}]"
            )


def _make_table(wanted: Load, columns: dict[str, str], context: Any) -> None:
    """Make the table of a load that may make it: from the schema that came along, else from the file's."""
    if context.catalog.get_table(wanted.project, wanted.dataset, wanted.table) is not None:
        return
    if wanted.config.get("createDisposition") == "CREATE_NEVER":
        raise resource_not_found(ResourceRef("table", wanted.project, wanted.dataset, wanted.table))
    fields = (wanted.config.get("schema") or {}).get("fields")
    executor._maybe_create_load_destination(
        dest_project=wanted.project,
        dest_dataset=wanted.dataset,
        dest_table_id=wanted.table,
        now=context.clock.now(),
        ctx=context,
        load_config={
            "schema": {"fields": fields or [duckdb_type_to_bq_field(name, kind) for name, kind in columns.items()]}
        },
    )
    made = context.catalog.get_table(wanted.project, wanted.dataset, wanted.table)
    layout = {
        "time_partitioning": tables._rest_to_time_partitioning(wanted.config.get("timePartitioning"), None),
        "clustering": tables._rest_to_clustering(wanted.config.get("clustering"), None),
    }
    context.catalog.update_table(made.model_copy(update=layout))


def _window(wanted: Load, context: Any) -> str:
    """The condition, in SQL, for the rows of the partition that is loaded; of all rows without one."""
    if not wanted.partition:
        return "TRUE"
    layout = context.catalog.get_table(wanted.project, wanted.dataset, wanted.table).time_partitioning
    if layout is None or layout.field is None or not re.fullmatch(r"\d{4}(\d\d){0,2}", wanted.partition):
        raise ValueError(f"Table {wanted.name} has no partition {wanted.partition}")
    text = wanted.partition
    first = date(int(text[:4]), int(text[4:6] or 1), int(text[6:8] or 1))
    days = {
        "YEAR": 366 if calendar.isleap(first.year) else 365,
        "MONTH": calendar.monthrange(first.year, first.month)[1],
    }
    end = first + timedelta(days=days.get(layout.type, 1))
    return f"\"{layout.field}\" >= DATE '{first}' AND \"{layout.field}\" < DATE '{end}'"


def _replace_or_append(
    session: duckdb.DuckDBPyConnection, wanted: Load, source: str, window: str, done_with: Callable[[int], JobMeta]
) -> JobMeta:
    """The job that is done: all of its rows are there, and it is noted, or none and it is not."""

    def count(relation: str, condition: str) -> int:
        return int((session.execute(f"SELECT count(*) FROM {relation} WHERE {condition}").fetchone() or (0,))[0])

    session.execute("BEGIN TRANSACTION")
    try:
        if wanted.disposition == "WRITE_EMPTY" and count(wanted.target, window):
            raise AlreadyExistsError(f"Already Exists: Table {wanted.name}")
        if wanted.partition and count(source, f"NOT ({window})"):
            raise ValueError(f"Some rows do not belong to the partition {wanted.table}${wanted.partition}")
        if wanted.disposition == "WRITE_TRUNCATE":
            session.execute(f"DELETE FROM {wanted.target} WHERE {window}")
        made = session.execute(f"INSERT INTO {wanted.target} BY NAME SELECT * FROM {source}").fetchone() or (0,)
        job = done_with(int(made[0]))
        note(job, session)
        session.execute("COMMIT")
    except BaseException:
        session.execute("ROLLBACK")
        raise
    return job
