"""The tables of the services in Postgres: partitioned by month, made where they are missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from nyc_taxi.catalog.columns import REAL, SMALL, TEXT, TIME, WHOLE, Column
from nyc_taxi.catalog.services import SERVICES, Service
from nyc_taxi.load.postgres import audit
from nyc_taxi.months import Month
from nyc_taxi.transform.rules import REJECTED_COLUMNS

TYPES = {
    SMALL: "integer",
    WHOLE: "bigint",
    REAL: "double precision",
    TEXT: "text",
    TIME: "timestamp without time zone",
    pa.date32(): "date",
}
FILE_MONTH = "file_month"
"""The column by which the tables are partitioned: the first day of the trip file's month."""


UNDESCRIBED = """
SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0
AND col_description(attrelid, attnum) IS NULL
"""


@dataclass(frozen=True)
class Table:
    """A partitioned table of months, with its canonical columns in Postgres' types."""

    schema: str
    name: str
    columns: dict[str, pa.DataType]
    pickup: str
    described: tuple[Column, ...]
    """The columns that its comments describe."""
    about: str

    @property
    def full_name(self) -> str:
        """schema.name."""
        return f"{self.schema}.{self.name}"

    def partition(self, month: Month) -> str:
        """schema.name of the month's partition."""
        return f"{self.full_name}_{month.year:04d}_{month.number:02d}"

    def new(self, month: Month) -> str:
        """schema.name of the table that becomes the month's partition."""
        return f"{self.partition(month)}_new"

    def column_list(self) -> str:
        """The columns with their types, for CREATE TABLE."""
        return ", ".join(f"{name} {TYPES[kind]}" for name, kind in self.columns.items())


def tables_of(service: Service, schema: str) -> tuple[Table, Table]:
    """The table of accepted rows and that of rejected ones. Lower case, so that SQL needs no quotes."""
    columns = {column.name.lower(): column.type for column in service.columns}
    pickup = service.pickup.lower()
    return (
        Table(schema, service.table, columns, pickup, service.columns, service.about),
        Table(
            schema,
            f"{service.table}_rejected",
            columns | REJECTED_COLUMNS,
            pickup,
            service.columns,
            f"{service.about.replace('Accepted', 'Rejected', 1)}; of a line that could not be parsed, its text",
        ),
    )


def ensure_tables(cursor: Cursor, schema: str, tables: Sequence[Table]) -> None:
    """
    Create the tables of every service and the audit table where they are missing: who asks for a month finds them.

    Those of the service at hand, `tables`, get the columns that TLC added since. Others stay as they are.
    """
    others = [table for service in SERVICES.values() for table in tables_of(service, schema) if table not in tables]
    complete = all(set(table.columns) <= _column_names(cursor, table) for table in tables) and not any(
        _is_undescribed(cursor, table.full_name) for table in tables
    )
    missing = [table for table in others if not _column_names(cursor, table)]
    if complete and not missing and audit.is_current(cursor, schema):
        return
    ensure_schema(cursor, schema)
    audit.ensure(cursor, schema)
    for table in (*tables, *missing):
        _ensure_table(cursor, table)


def ensure_schema(cursor: Cursor, schema: str) -> None:
    """
    Create the schema if it is missing.

    One process at a time until its transaction ends: two that find a schema or a table missing would both create it.
    """
    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('nyc_taxi tables', 0))")
    cursor.execute("SELECT to_regnamespace(%s) IS NOT NULL", (schema,))
    # Asked first: the statement takes the right to create schemas even where there is nothing to create.
    if cursor.fetchone() == (False,):
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")


def _ensure_table(cursor: Cursor, table: Table) -> None:
    cursor.execute(
        f"CREATE TABLE IF NOT EXISTS {table.full_name} ({table.column_list()}, {FILE_MONTH} date NOT NULL) "
        f"PARTITION BY LIST ({FILE_MONTH})"
    )
    for name in table.columns.keys() - _column_names(cursor, table):
        cursor.execute(f"ALTER TABLE {table.full_name} ADD COLUMN {name} {TYPES[table.columns[name]]}")
    cursor.execute(f"CREATE INDEX IF NOT EXISTS {table.name}_pickup ON {table.full_name} USING brin ({table.pickup})")
    comment(cursor, table.full_name, table.about, table.described)


def comment(cursor: Cursor, name: str, about: str, columns: Sequence[Column]) -> None:
    """Describe a table and its columns, schema.name; what a user wrote there stays."""
    if _is_undescribed(cursor, name):
        cursor.execute(sql.SQL(f"COMMENT ON TABLE {name} IS {{}}").format(sql.Literal(about)))
    cursor.execute(UNDESCRIBED, (name,))
    undescribed = {column for (column,) in cursor.fetchall()}
    for column in columns:
        if column.full_description and column.name.lower() in undescribed:
            text = sql.Literal(column.full_description)
            cursor.execute(sql.SQL(f"COMMENT ON COLUMN {name}.{column.name.lower()} IS {{}}").format(text))


def _is_undescribed(cursor: Cursor, name: str) -> bool:
    cursor.execute("SELECT obj_description(to_regclass(%s), 'pg_class') IS NULL", (name,))
    return bool(cursor.fetchone() == (True,))


def _column_names(cursor: Cursor, table: Table) -> set[str]:
    """The columns that the table has, none when it does not exist; from the catalog, which takes no lock on it."""
    cursor.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        (table.full_name,),
    )
    return {name for (name,) in cursor.fetchall()}
