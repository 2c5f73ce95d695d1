"""Which names columns and tables can have: SQL takes them without quotes in Postgres and in BigQuery alike."""

import re

from nyc_taxi.errors import UnknownName

LONGEST = 63
"""Characters of a name in Postgres, which cuts off what is longer."""
LONGEST_TABLE = LONGEST - len("_rejected_2021_01_new")
"""A table's longest relative is the new partition of its rejected rows."""
OURS = {"file_month", "reason", "source_row", "source_text"}
"""Columns that every table has beside its own, or that of its rejected rows."""
TABLES = {
    *("load_audit", "reference_audit", "taxi_zones"),
    *("payment_types", "rate_codes", "vendors", "trip_types", "fhvhv_licences"),
}
"""Tables that are there beside those of the services."""
SYSTEM = {"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"}
"""https://www.postgresql.org/docs/16/ddl-system-columns.html"""
BIGQUERY_PREFIXES = ("_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier")
"""https://docs.cloud.google.com/bigquery/docs/schemas#column_names"""
# https://www.postgresql.org/docs/16/sql-keywords-appendix.html: what is reserved, as a name of a function or not
POSTGRES = """
all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation column
concurrently constraint create cross current_catalog current_date current_role current_schema current_time
current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze from
full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit localtime
localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references returning
right select session_user similar some symmetric system_user table tablesample then to trailing true union unique user
using variadic verbose when where window with
"""
# https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/lexical#reserved_keywords
BIGQUERY = """
all and any array as asc assert_rows_modified at between by case cast collate contains create cross cube current default
define desc distinct else end enum escape except exclude exists extract false fetch following for from full graph_table
group grouping groups hash having if ignore in inner intersect interval into is join lateral left like limit lookup
merge natural new no not null nulls of on or order outer over partition preceding proto qualify range recursive respect
right rollup rows select set some struct tablesample then to treat true unbounded union unnest using when where window
with within
"""
RESERVED = {*POSTGRES.split(), *BIGQUERY.split()}
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)


def check_column(name: str) -> None:
    """Raise UnknownName for a column's name that a target does not take as it is."""
    _check("column", name, LONGEST)
    taken = OURS | SYSTEM
    if name.lower() in taken or name.lower().startswith(BIGQUERY_PREFIXES):
        raise UnknownName(f"column {name!r} is one that tables have of their own: {_other(name)}")


def check_table(name: str) -> None:
    """Raise UnknownName for a table's name that a target does not take as it is."""
    _check("table", name, LONGEST_TABLE)
    if name.lower() in TABLES or name.lower().endswith("_rejected"):
        raise UnknownName(f"table {name!r} is one that there is beside the tables of services: give it another name")


def check_service(name: str) -> None:
    """Raise UnknownName for a service's name that no folder and no option could have as it is."""
    if not _PLAIN.fullmatch(name):
        raise UnknownName(f"service {name!r} is no plain name, of small letters, digits and _, not a digit first")


def _check(what: str, name: str, longest: int) -> None:
    if not _PLAIN.fullmatch(name.lower()):
        raise UnknownName(f"{what} {name!r} is no plain name, of letters, digits and _, not a digit first: rename it")
    if len(name) > longest:
        raise UnknownName(f"{what} {name!r} has {len(name)} characters, of which Postgres has room for {longest}")
    if name.lower() in RESERVED:
        advice = _other(name) if what == "column" else "give it another name"
        raise UnknownName(f"{what} {name!r} is a word of SQL, which every query would have to quote: {advice}")


def _other(name: str) -> str:
    return f"give it another name, and renames={{{name.lower()!r}: ...}} if the file calls it so"
