"""Tables of the BigQuery emulator: their resources as Google writes them, and the columns that a load may bring."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlglot
from bqemulator.api.routes import tables
from bqemulator.catalog import ddl_sync
from bqemulator.catalog.models import Clustering, TableMeta, TimePartitioning
from bqemulator.domain.errors import NotFoundError, ValidationError
from bqemulator.storage.sql_identifiers import quoted_table_ref
from sqlglot import exp

Resource = dict[str, Any]
"""As in Google's JSON."""

LEGACY_NAMES = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}


def known_dataset(project: str, dataset: str, context: Any) -> Any:
    """A data set that exists."""
    found = context.catalog.get_dataset(project, dataset)
    if found is None:
        raise NotFoundError(f"Not found: Dataset {project}:{dataset}")
    return found


_rest_to_table_meta = tables._rest_to_table_meta
_table_to_rest = tables._table_to_rest


def table_from_request(context: Callable[[], Any]) -> Callable[..., TableMeta]:
    """
    What reads a table's resource: expiration, labels that are removed and columns that are added too.

    `context` gives the server's catalog, engine and clock, which are there once it has started.
    """

    def read(project: str, dataset: str, body: Resource, clock: Any, existing: TableMeta | None = None) -> TableMeta:
        known_dataset(project, dataset, context())
        if existing is not None and "labels" in body:
            labels = existing.labels | (body["labels"] or {})
            body["labels"] = {name: value for name, value in labels.items() if value is not None}
        made = _rest_to_table_meta(project, dataset, body, clock, existing)
        expires = existing.expiration_time if existing else None
        if "expirationTime" in body:
            stated = body["expirationTime"]
            expires = datetime.fromtimestamp(int(stated) / 1000, UTC) if stated else None
            if expires and expires < clock.now():
                raise ValidationError("Expiration time must be at least 1 seconds in the future")
        if existing is not None and existing.table_type == "TABLE":
            _add_columns(existing, made, context())
        return made.model_copy(update={"expiration_time": expires})

    return read


def _add_columns(old: TableMeta, new: TableMeta, context: Any) -> None:
    """The package would only say that they are there."""
    known = {field.name.lower() for field in old.schema_.fields}
    fields = [tables._field_to_rest(field) for field in new.schema_.fields if field.name.lower() not in known]
    target = quoted_table_ref(old.project_id, old.dataset_id, old.table_id)
    for name, kind in tables.bq_schema_to_duckdb_columns(fields):
        context.engine.execute(f'ALTER TABLE {target} ADD COLUMN "{name}" {kind}')


def table_to_response(context: Callable[[], Any]) -> Callable[[TableMeta], Resource]:
    """What writes a table's resource: with what the package leaves out, and the rows that are there now."""

    def write(table: TableMeta) -> Resource:
        body: Resource = _table_to_rest(table)
        body["location"] = known_dataset(table.project_id, table.dataset_id, context()).location
        if table.expiration_time:
            body["expirationTime"] = str(int(table.expiration_time.timestamp() * 1000))
        if table.view_query:
            body["view"] = {"query": table.view_query, "useLegacySql": False}
        if table.table_type == "TABLE":
            target = quoted_table_ref(table.project_id, table.dataset_id, table.table_id)
            [(rows,)] = context().engine.connection.cursor().execute(f"SELECT count(*) FROM {target}").fetchall()
            body["numRows"] = str(rows)
        _name_as_google(body.get("schema", {}).get("fields", []))
        return body

    return write


def _name_as_google(fields: list[Resource]) -> None:
    """Types have their old names in answers, whatever they were made with."""
    for field in fields:
        field["type"] = LEGACY_NAMES.get(field["type"], field["type"])
        _name_as_google(field.get("fields", []))


_sync_created_table = ddl_sync.sync_created_table


def sync_created_table(sql: str, project: str, context: Any) -> None:
    """After CREATE TABLE: keep what PARTITION BY and CLUSTER BY say."""
    _sync_created_table(sql, project, context)
    target = ddl_sync._detect_plain_create_table(sql)
    if target is None:
        return
    table = context.catalog.get_table(*ddl_sync._split_target(target, project))
    properties = sqlglot.parse_one(sql, read="bigquery").args.get("properties")
    if table is None or properties is None:
        return
    layout: Resource = {}
    for clause in properties.expressions:
        if isinstance(clause, exp.PartitionedByProperty):
            column, unit = clause.this.find(exp.Column, exp.Identifier), clause.this.args.get("unit")
            kind = str(unit).strip("'\"").upper() if unit else "DAY"
            if column is not None and not column.name.startswith("_PARTITION"):
                layout["time_partitioning"] = TimePartitioning(type=kind, field=column.name)
        if isinstance(clause, exp.Cluster | exp.ClusterProperty):
            layout["clustering"] = Clustering(fields=tuple(column.name for column in clause.expressions))
    context.catalog.update_table(table.model_copy(update=layout))


_FAMILIES = (
    # Of nanoseconds BigQuery knows the number only.
    ("INTEGER", r"(U?TINY|U?SMALL|U|U?BIG|HUGE)?INT(EGER)?|TIMESTAMP_NS"),
    ("FLOAT", "FLOAT|DOUBLE"),
    ("STRING", "VARCHAR"),
    ("NUMERIC", r"DECIMAL\(.*"),
    ("DATETIME", r"TIMESTAMP(_MS|_S)?"),
    ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"),
)


def _family(kind: str) -> str:
    """BigQuery's type for one of DuckDB's."""
    return next((name for name, pattern in _FAMILIES if re.fullmatch(pattern, kind)), kind)


def check_columns(table: str, columns: dict[str, str], held: dict[str, str]) -> None:
    """Refuse files whose columns, by name in any letter case, are not the table's; both with DuckDB's types."""
    by_name = {name.lower(): kind for name, kind in held.items()}
    for name, kind in columns.items():
        there = by_name.get(name.lower())
        problem = f"Provided Schema does not match Table {table}."
        if there is None:
            raise ValueError(f"{problem} Cannot add fields (field: {name})")
        if _family(kind) != _family(there):
            raise ValueError(f"{problem} Field {name} has changed type from {_family(there)} to {_family(kind)}")
