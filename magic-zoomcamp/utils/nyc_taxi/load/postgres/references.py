"""The reference tables in Postgres: replaced whole in one transaction, under whatever refers to them."""

from collections.abc import Sequence

from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import execute_values

from nyc_taxi.catalog.references import Reference, StagedReference
from nyc_taxi.errors import CountsDisagree, TargetUnavailable
from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.load.postgres.existing import ELSEWHERE, FIELDS
from nyc_taxi.load.postgres.tables import TYPES, comment, ensure_schema
from nyc_taxi.settings import PostgresSettings

AUDIT = "reference_audit"


def replace_references(staged: Sequence[StagedReference], settings: PostgresSettings) -> None:
    """
    Bring every table to the staged rows, with an audit row each; readers see all old tables or all new ones.

    Rows are updated in place, so that foreign keys and views of a user's stay. Raises TargetUnavailable, with nothing
    changed, when the server cannot be reached or refuses, a table of that name is none of ours, or a user's foreign key
    needs a row that TLC has no more.
    """
    with connect(settings) as connection, connection.cursor() as cursor:
        ensure_schema(cursor, settings.schema)
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {settings.schema}.{AUDIT} (load_id bigint GENERATED ALWAYS AS IDENTITY "
            f"PRIMARY KEY, loaded_at timestamptz NOT NULL DEFAULT clock_timestamp(), table_name text NOT NULL, "
            f"url text NOT NULL, sha256 text NOT NULL, rows bigint NOT NULL)"
        )
        for each in staged:
            _replace(cursor, settings.schema, each)
        connection.commit()
    print(f"{settings.schema}: {', '.join(f'{each.name} {each.rows:,} rows' for each in staged)}", flush=True)


def check_references(staged: Sequence[StagedReference], settings: PostgresSettings) -> None:
    """Raise CountsDisagree unless every table holds exactly the staged rows."""
    with connect(settings) as connection, connection.cursor() as cursor:
        for each in staged:
            columns = ", ".join(each.reference.schema.names)
            cursor.execute(f"SELECT {columns} FROM {settings.schema}.{each.name}")
            if {*cursor.fetchall()} != {*each.records()}:
                raise CountsDisagree(f"{settings.schema}.{each.name} holds other rows than {each.url}: run again")


def _replace(cursor: Cursor, schema: str, staged: StagedReference) -> None:
    reference, name = staged.reference, f"{schema}.{staged.name}"
    columns = reference.schema.names
    _check_table(cursor, name, reference)
    kinds = ", ".join(f"{column.name} {TYPES[column.type]}" for column in reference.columns)
    cursor.execute(f"CREATE TABLE IF NOT EXISTS {name} ({kinds}, PRIMARY KEY ({reference.key}))")
    comment(cursor, name, reference.description, reference.columns)
    rows = staged.records()
    new = ", ".join(f"{column} = excluded.{column}" for column in columns[1:])
    insert = f"INSERT INTO {name} ({', '.join(columns)}) VALUES %s ON CONFLICT ({reference.key}) DO UPDATE SET {new}"
    execute_values(cursor, insert, rows, page_size=1_000)
    cursor.execute(f"DELETE FROM {name} WHERE {reference.key} <> ALL(%s)", ([row[0] for row in rows],))
    cursor.execute(
        f"INSERT INTO {schema}.{AUDIT} (table_name, url, sha256, rows) VALUES (%s, %s, %s, %s)",
        (staged.name, staged.url, staged.sha256, staged.rows),
    )


def _check_table(cursor: Cursor, name: str, reference: Reference) -> None:
    """Raise TargetUnavailable for a table of that name that this project did not make."""
    cursor.execute(FIELDS, (name,))
    there = {field: kind for field, kind, _ in cursor.fetchall()}
    ours = {column.name: TYPES[column.type] for column in reference.columns}
    if there and {field: there.get(field) for field in ours} != ours:
        raise TargetUnavailable(f"{name} was not made by this project: {ELSEWHERE}")
