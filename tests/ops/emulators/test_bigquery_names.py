"""Where a dash is part of a table's name in the BigQuery emulator's SQL, and where it is a minus."""

import json
import subprocess

import pytest

from ops.paths import ROOT, emulator_python

SAME = (
    "SELECT a-b.c.d FROM t",
    "SELECT 'from', a-b.c.d FROM t",
    "SELECT EXTRACT(HOUR FROM a-b.c.d) FROM t",
    "SELECT x FROM t WHERE y = 1, a-b.c.d",
    "SELECT 1 -- FROM a-b.c.d",
    "SELECT 'FROM a-b.c.d'",
    "SELECT * FROM `a-b.c.d`",
    "SELECT * FROM a - b",
    "SELECT 'no end",
)
QUOTED = (
    "FROM a-b.c.d",
    "FROM a-b-2.c.INFORMATION_SCHEMA.TABLES",
    "FROM x JOIN a-b.c.d",
    "FROM x AS y, a-b.c.d",
    "FROM (SELECT 1), a-b.c.d",
    "insert into a-b.c.d",
    "CREATE TABLE IF NOT EXISTS a-b.c.d (n INT64)",
    "DROP SCHEMA a-b.c",
    "CREATE TABLE x LIKE a-b.c.d",
)
SCRIPT = (
    "import json; from ops.emulators.bigquery_names import as_package_reads\n"
    f"print(json.dumps({{sql: as_package_reads(sql) for sql in {(*SAME, *QUOTED)!r}}}))"
)


@pytest.fixture(scope="module")
def read() -> dict[str, str]:
    """What each becomes, by the emulators' own Python."""
    done = subprocess.run([emulator_python(), "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("sql", SAME)
def test_a_minus_text_and_comments_stay(sql: str, read: dict[str, str]) -> None:
    assert read[sql] == sql


@pytest.mark.parametrize("sql", QUOTED)
def test_a_project_with_dashes_is_quoted(sql: str, read: dict[str, str]) -> None:
    project = "a-b-2" if "a-b-2" in sql else "a-b"
    assert read[sql] == sql.replace(project, f"`{project}`")
