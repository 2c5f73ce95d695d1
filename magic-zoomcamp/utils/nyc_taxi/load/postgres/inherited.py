"""
A month's new table, made as its partitioned table is: with the columns, constraints and indexes that a user added.

They are read from the catalog. `CREATE TABLE ... (LIKE ...)` would hold a lock on the partitioned table until the COPY
is done, and no other month could be swapped in meanwhile.
"""

import re

import psycopg2
from psycopg2.extensions import cursor as Cursor

from nyc_taxi.errors import TargetUnavailable
from nyc_taxi.load.postgres.tables import FILE_MONTH, Table

TRIAL_DAY = "0001-01-01"
"""A month that no table has."""
COLUMNS = f"""
SELECT format('%%I %%s', attname, format_type(atttypid, atttypmod))
  || CASE WHEN collname IS NOT NULL THEN format(' COLLATE %%I.%%I', nspname, collname) ELSE '' END
  || CASE attgenerated
     WHEN 's' THEN ' GENERATED ALWAYS AS (' || pg_get_expr(adbin, adrelid) || ') STORED'
     WHEN 'v' THEN ' GENERATED ALWAYS AS (' || pg_get_expr(adbin, adrelid) || ') VIRTUAL'
     ELSE coalesce(' DEFAULT ' || pg_get_expr(adbin, adrelid), '') END
  || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END
FROM pg_attribute JOIN pg_type t ON t.oid = atttypid
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
LEFT JOIN pg_collation c ON c.oid = attcollation AND attcollation <> typcollation
LEFT JOIN pg_namespace n ON n.oid = collnamespace
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped AND attname <> '{FILE_MONTH}' ORDER BY attnum
"""
CONSTRAINTS = """
SELECT format('CONSTRAINT %%I ', conname), pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = to_regclass(%s) AND contype = ANY(%s)
"""
CHECKS, KEYS = ["c"], ["p", "u", "x", "f"]
"""PostgreSQL's pg_constraint.contype."""
INDEXES = """
SELECT pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid = to_regclass(%s) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""


def create(cursor: Cursor, table: Table, name: str, day: str) -> None:
    """Make the empty table `name`, schema.name, for the rows of the month that begins on the day."""
    cursor.execute(COLUMNS, (table.full_name,))
    parts = [definition for (definition,) in cursor.fetchall()]
    parts.append(f"{FILE_MONTH} date NOT NULL DEFAULT DATE '{day}'")
    cursor.execute(CONSTRAINTS, (table.full_name, CHECKS))
    parts += [constraint + definition for constraint, definition in cursor.fetchall()]
    parts.append(f"CONSTRAINT one_month CHECK ({FILE_MONTH} = DATE '{day}')")
    cursor.execute(f"CREATE TABLE {name} ({', '.join(parts)})")


def complete(cursor: Cursor, table: Table, name: str) -> None:
    """
    Build the indexes, keys and foreign keys of the partitioned table on the table `name`.

    What is missing when it is attached would be built then, while readers are shut out.
    """
    cursor.execute(INDEXES, (table.full_name,))
    for (definition,) in cursor.fetchall():
        cursor.execute(re.sub(r"INDEX .*? ON ONLY .*? USING ", f"INDEX ON {name} USING ", definition, count=1))
    cursor.execute(CONSTRAINTS, (table.full_name, KEYS))
    for _, definition in cursor.fetchall():
        cursor.execute(f"ALTER TABLE {name} ADD {definition}")


def attach(cursor: Cursor, table: Table, name: str, day: str) -> None:
    """Make the table `name` the partition of the month."""
    cursor.execute(f"ALTER TABLE {table.full_name} ATTACH PARTITION {name} FOR VALUES IN ('{day}')")


def try_out(cursor: Cursor, table: Table) -> None:
    """
    Attach an empty table, to be rolled back by the caller.

    Raises TargetUnavailable for what a month's table cannot take over, seconds before a COPY and not after it.
    """
    name = f"{table.full_name}_trial"
    try:
        create(cursor, table, name, TRIAL_DAY)
        complete(cursor, table, name)
        attach(cursor, table, name, TRIAL_DAY)
    except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected):
        raise
    except psycopg2.ProgrammingError as error:
        said = str(error).splitlines()[0]
        raise TargetUnavailable(
            f"{table.full_name} was changed so that no month can be put into it, nothing was loaded: {said}"
        ) from None


def rename_indexes(cursor: Cursor, name: str, before: str) -> None:
    """Give the indexes that bear the name that the table had before, schema.name, its name of now where it is free."""
    schema, table = name.split(".")
    cursor.execute(
        "SELECT relname FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE indrelid = to_regclass(%s)", (name,)
    )
    for (index,) in cursor.fetchall():
        wanted = index.replace(f"{before.split('.')[1]}_", f"{table}_", 1)
        cursor.execute("SELECT to_regclass(quote_ident(%s) || '.' || quote_ident(%s)) IS NULL", (schema, wanted))
        if cursor.fetchone() == (True,):
            cursor.execute(f'ALTER INDEX {schema}."{index}" RENAME TO "{wanted}"')
