"""
What is in the database already: whether a table is this project's, and what bears a month's name.

Asked of the catalog, which takes no lock on a table, before anything is changed or copied.
"""

from psycopg2.extensions import cursor as Cursor

from nyc_taxi.errors import TargetUnavailable
from nyc_taxi.load.postgres.connection import is_there
from nyc_taxi.load.postgres.tables import FILE_MONTH, TYPES, Table
from nyc_taxi.months import Month

KINDS = {"r": "a plain table", "p": "a table partitioned otherwise", "v": "a view", "m": "a materialized view"}
"""PostgreSQL's pg_class.relkind."""
ELSEWHERE = "rename it, or set POSTGRES_SCHEMA to another schema, and run again"
FIELDS = """
SELECT attname, format_type(atttypid, atttypmod), attnotnull AND NOT (atthasdef OR attgenerated <> '')
FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
"""
PARTITIONS = """
SELECT format('%%I.%%I', nspname, relname), pg_get_expr(relpartbound, c.oid)
FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid JOIN pg_namespace n ON n.oid = relnamespace
WHERE inhparent = to_regclass(%s)
"""
# What belongs to the table itself, such as a CHECK, depends on it in another way too.
USERS_OF = r"""
SELECT DISTINCT regexp_replace(pg_describe_object(classid, objid, objsubid), '^rule \S+ on ', '') FROM pg_depend d
WHERE refobjid = to_regclass(%s) AND deptype = 'n' AND NOT EXISTS (
  SELECT FROM pg_depend o WHERE (o.classid, o.objid, o.refobjid) = (d.classid, d.objid, d.refobjid) AND deptype <> 'n')
ORDER BY 1
"""
ON_PARTITION = """
SELECT 'index ' || c.relname FROM pg_index JOIN pg_class c ON c.oid = indexrelid
WHERE indrelid = to_regclass(%(name)s) AND NOT relispartition
UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger
WHERE tgrelid = to_regclass(%(name)s) AND NOT tgisinternal AND tgparentid = 0
UNION ALL SELECT 'grants' FROM pg_class WHERE oid = to_regclass(%(name)s) AND relacl <> acldefault('r', relowner)
UNION ALL SELECT 'storage settings' FROM pg_class WHERE oid = to_regclass(%(name)s) AND reloptions IS NOT NULL
UNION ALL SELECT 'policy ' || polname FROM pg_policy WHERE polrelid = to_regclass(%(name)s)
UNION ALL SELECT 'its comment' WHERE obj_description(to_regclass(%(name)s), 'pg_class') IS NOT NULL
"""


def check_table(cursor: Cursor, table: Table) -> None:
    """Raise TargetUnavailable unless the table is missing, or is this project's and this user's to change."""
    cursor.execute(
        "SELECT relkind, pg_get_partkeydef(oid), pg_has_role(relowner, 'USAGE'), pg_get_userbyid(relowner) "
        "FROM pg_class WHERE oid = to_regclass(%s)",
        (table.full_name,),
    )
    row = cursor.fetchone()
    if row is None:
        return
    kind, key, owned, owner = row
    if key != f"LIST ({FILE_MONTH})":
        what = KINDS.get(kind, "something else")
        raise TargetUnavailable(f"{table.full_name} is {what}, which this project did not make: {ELSEWHERE}")
    if not owned:
        raise TargetUnavailable(
            f"{table.full_name} belongs to {owner}, and only its owner may replace a month: "
            f"make this user a member of {owner}, or the table's owner (ALTER TABLE ... OWNER TO)"
        )
    _check_columns(cursor, table)


def _check_columns(cursor: Cursor, table: Table) -> None:
    """Its columns of ours have our types, and those that a user added can be left empty."""
    cursor.execute(FIELDS, (table.full_name,))
    ours = {name: TYPES[kind] for name, kind in table.columns.items()} | {FILE_MONTH: "date"}
    for name, kind, needs_value in cursor.fetchall():
        if kind != ours.get(name, kind):
            raise TargetUnavailable(f"column {name} of {table.full_name} is {kind}, not {ours[name]}: {ELSEWHERE}")
        if needs_value and name not in ours:
            raise TargetUnavailable(
                f"column {name} of {table.full_name} is NOT NULL without a default, and no trip file has it: "
                f"give it a default, or let it be null"
            )


def partition_of(cursor: Cursor, table: Table, month: Month, ours: str = "") -> str | None:
    """
    The partition that holds the month, by whatever name, as schema.name in SQL; None where there is none.

    `ours` is the new table, once it has been made. Raises TargetUnavailable where replacing the partition would take
    more than the month with it, or where a table that is none of ours has a name that the month's needs.
    """
    found = None
    day = f"'{month.first_day}'"
    cursor.execute(PARTITIONS, (table.full_name,))
    for name, bound in cursor.fetchall():
        if bound == "DEFAULT":
            _check_default(cursor, name, day)
        elif bound and day in bound:  # none: the partition of another month that a load has replaced just now
            found = name
            if bound != f"FOR VALUES IN ({day})":
                raise TargetUnavailable(f"{name} holds more months than {month}: split it and run again")
    for name in (table.partition(month), table.new(month)):
        if is_there(cursor, name) and name not in (found, ours):
            raise TargetUnavailable(
                f"{name} is a table of yours and no partition of {table.full_name}: nothing was changed; "
                f"rename it and run again"
            )
    return found


def _check_default(cursor: Cursor, name: str, day: str) -> None:
    cursor.execute(f"SELECT EXISTS (SELECT FROM {name} WHERE {FILE_MONTH} = DATE {day})")
    if cursor.fetchone() == (True,):
        raise TargetUnavailable(f"{name}, a default partition, holds rows of the month: move them and run again")


def check_replaceable(cursor: Cursor, table: Table, month: Month) -> None:
    """
    Raise TargetUnavailable where the month's partition cannot be replaced, before anything is copied.

    What a user put on the partition itself goes with it, and is said.
    """
    old = partition_of(cursor, table, month)
    if old is None:
        return
    cursor.execute(USERS_OF, (old,))
    if users := [name for (name,) in cursor.fetchall()]:
        raise TargetUnavailable(
            f"{old} is used by {_some(users)}, and goes when the month is replaced: "
            f"let them use {table.full_name}, or drop them, and run again"
        )
    cursor.execute(ON_PARTITION, {"name": old})
    if lost := [name for (name,) in cursor.fetchall()]:
        print(f"{old} is replaced, and with it goes {_some(lost)}: {table.full_name} is the place for it", flush=True)


def _some(names: list[str]) -> str:
    """The first three, and how many there are more."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
