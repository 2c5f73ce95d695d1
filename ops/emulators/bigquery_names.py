"""Names of tables in the BigQuery emulator's SQL, as the real service takes them and the package behind it does not."""

import re

import sqlglot
from sqlglot.errors import TokenError
from sqlglot.tokens import Token, TokenType

_DASHED = re.compile(r"[A-Za-z_]\w*(?:-\w+)+(?=\.)")
_BEFORE_TABLE = frozenset(
    {"FROM", "JOIN", "INTO", "INSERT", "UPDATE", "DELETE", "MERGE", "USING", "TABLE", "VIEW", "FUNCTION", "PROCEDURE"}
    | {"CALL", "SCHEMA", "EXISTS", "LIKE", "COPY", "CLONE"}
)
_AFTER_TABLES = frozenset(
    {"SELECT", "WHERE", "GROUP", "HAVING", "ORDER", "QUALIFY", "WINDOW", "LIMIT", "UNION", "ON", "SET", "VALUES"}
)
_SUMMARY = re.compile(r"`?([\w-]+)`?\.`?(\w+)`?\.`?__TABLES(?:_SUMMARY)?__`?")
_TABLES = r"(SELECT table_name AS table_id FROM `\1`.`\2`.INFORMATION_SCHEMA.TABLES)"


def as_package_reads(sql: str) -> str:
    """
    The same SQL, with the project of `FROM a-project.ds.t` in backticks wherever a table may be named.

    Also without `__TABLES_SUMMARY__`, which Mage's client asks and the package does not have.
    """
    sql = _SUMMARY.sub(_TABLES, sql)
    try:
        tokens = sqlglot.tokenize(sql, read="bigquery")
    except TokenError:
        return sql  # no SQL: the package says so in its own words
    for start, end in reversed(_dashed_projects(sql, tokens)):
        sql = f"{sql[:start]}`{sql[start:end]}`{sql[end:]}"
    return sql


def _dashed_projects(sql: str, tokens: list[Token]) -> list[tuple[int, int]]:
    """Where they begin and end. Elsewhere, as in SELECT, a dash between two names is a minus."""
    found = []
    listing = [False]  # whether a comma goes on with a list of tables, for each parenthesis that is open
    before = ""
    for number, token in enumerate(tokens):
        word = sql[token.start : token.end + 1].upper()  # a quoted one keeps its quotes
        if token.token_type == TokenType.L_PAREN:
            listing.append(False)
        elif token.token_type == TokenType.R_PAREN:
            listing = listing[:-1] or [False]
        elif word in ("FROM", "JOIN"):
            # EXTRACT(YEAR FROM a-b.c) holds no table.
            listing[-1] = not _is_in_extract(tokens[:number])
            word = word if listing[-1] else ""
        elif word in _AFTER_TABLES:
            listing[-1] = False
        if before in _BEFORE_TABLE or (before == "," and listing[-1]):
            match = _DASHED.match(sql, token.start)
            if match:
                found.append(match.span())
        before = word
    return found


def _is_in_extract(tokens: list[Token]) -> bool:
    """Whether the last tokens are `EXTRACT(part`."""
    return [token.text.upper() for token in tokens[-3:-1]] == ["EXTRACT", "("]
