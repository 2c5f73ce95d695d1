"""`taxi sql`: the statement as it was typed, the answer whole."""

import csv
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from nyc_taxi.settings import PostgresSettings
from rich.console import Console

from ops.commands.sql.answer import show
from ops.paths import ROOT
from tests.conftest import environment_of, process_environment, sql
from tests.ops.commands.conftest import run_taxi

HARD = """'it''s "quoted"' as "a name", E'back\\\\slash, comma' as text, null as nothing, $t$[red]$1$t$ as tag"""


@pytest.fixture
def postgres(database: PostgresSettings, tmp_path: Path) -> dict[str, str]:
    """The environment of a command that reaches a server, and starts nothing."""
    own = {"NYC_TAXI_LOCAL_DIR": str(tmp_path), "GCS_BUCKET": "not-asked"}
    return {**process_environment(), **environment_of(database), **own}


def shown(columns: list[str], rows: list[list[str]], width: int) -> str:
    """What a terminal of this width shows."""
    said = io.StringIO()
    show(columns, rows, Console(file=said, width=width, force_terminal=True, color_system=None))
    return said.getvalue()


def test_into_a_pipe_it_is_csv_with_every_character_and_null_empty(postgres: dict[str, str]) -> None:
    answer = run_taxi(
        postgres, "sql", f"select repeat('w', 300) as wide, jsonb_build_object('reason', 7) as why, {HARD}"
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    assert list(csv.reader(io.StringIO(answer.stdout))) == [
        ["wide", "why", "a name", "text", "nothing", "tag"],
        ["w" * 300, '{"reason": 7}', 'it\'s "quoted"', "back\\slash, comma", "", "[red]$1"],
    ]


@pytest.mark.parametrize("given", [("sql", "-"), ("sql", "--file")])
def test_a_statement_comes_from_a_file_or_from_standard_input(
    given: tuple[str, ...], postgres: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "query.sql"
    file.write_text(f"-- a comment\nselect {HARD};\n")
    if "-" in given:
        answer = run_taxi(postgres, *given, said=file.read_text())
    else:
        answer = run_taxi(postgres, *given, str(file))
    assert answer.stdout.splitlines()[1] == '"it\'s ""quoted""","back\\slash, comma",,[red]$1'


def test_a_statement_may_begin_with_a_comment(postgres: dict[str, str]) -> None:
    answer = run_taxi(postgres, "sql", "-- how many\nselect 1 as one")
    assert (answer.returncode, answer.stdout) == (0, "one\n1\n")
    refused = run_taxi(postgres, "sql", "--fille")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "No such option: --fille" in refused.stderr


def test_values_are_written_as_postgres_writes_them(postgres: dict[str, str]) -> None:
    said = "true, array[1, null, 2], interval '1 day 2 hours', '\\x00ff'::bytea, timestamp '2021-01-31 24:00', 1.50"
    answer = run_taxi(postgres, "sql", f"select {said}")
    assert list(csv.reader(io.StringIO(answer.stdout)))[1] == [
        "t",
        "{1,NULL,2}",
        "1 day 02:00:00",
        "\\x00ff",
        "2021-02-01 00:00:00",
        "1.50",
    ]


def test_it_is_committed_and_of_several_statements_the_last_one_answers(
    postgres: dict[str, str], database: PostgresSettings
) -> None:
    answer = run_taxi(postgres, "sql", "create schema ny_taxi; create table ny_taxi.t as select 1 a; table ny_taxi.t")
    assert answer.stdout == "a\n1\n"
    assert sql(database, "select a from ny_taxi.t") == [(1,)]
    assert run_taxi(postgres, "sql", "update ny_taxi.t set a = 2").stdout == "UPDATE 1\n"


def test_on_a_terminal_it_is_a_table_where_it_fits() -> None:
    said = shown(["name", "[red]"], [["green", "[bold]2"], ["", "two\nlines"]], 80)
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if "│" in line]
    assert cells == [["green", "[bold]2"], ["", "two"], ["", "lines"]]
    assert "[red]" in said


@pytest.mark.parametrize("width", [80, 40])
def test_where_it_does_not_fit_records_stand_one_below_the_other_and_nothing_is_cut_off(width: int) -> None:
    wide = "w" * 100
    said = shown(["service", "url"], [["green", wide], ["yellow", "two\nlines"]], width)
    assert said.splitlines() == [
        "-[ record 1 ]-",
        "service | green",
        f"url     | {wide}",
        "-[ record 2 ]-",
        "service | yellow",
        "url     | two",
        "        | lines",
        "(2 rows)",
    ]


def test_a_table_as_wide_as_the_terminal_is_still_one() -> None:
    row = [["a" * 30, "b" * 43]]  # and seven for its lines
    assert "record" not in shown(["a", "b"], row, 80)
    assert "record" in shown(["a", "b"], row, 79)


def test_a_statement_that_postgres_refuses_is_one_line_and_exit_code_one(postgres: dict[str, str]) -> None:
    answer = run_taxi(postgres, "sql", "select * from nowhere")
    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 1
    assert answer.stderr.startswith("FAILED  Postgres at 127.0.0.1:")
    assert 'as mage: relation "nowhere" does not exist' in answer.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("sql", ""), "There is no statement"),
        (("sql", " \n"), "There is no statement"),
        (("sql",), "Give one statement"),
        (("plan",), "Give one statement"),
        (("sql", "select 1", "--file", __file__), "Give one statement"),
        (("sql", "--file", "not-there.sql"), "No such file"),
        (("sql", "select", "1"), "unexpected extra argument"),
    ],
)
def test_what_is_no_statement_is_refused(given: tuple[str, ...], said: str, refused: Callable[..., str]) -> None:
    assert said in refused(*given)


def test_another_server_is_used_when_one_is_named(postgres: dict[str, str]) -> None:
    answer = run_taxi(postgres | {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": "1"}, "sql", "select 1")
    assert answer.returncode == 1
    assert "Connection refused" in answer.stderr


def test_who_reads_a_part_only_ends_it_without_a_traceback(postgres: dict[str, str]) -> None:
    many = "select repeat('x', 1000) from generate_series(1, 2000)"
    line = f'{sys.executable} -m ops.cli sql "{many}" | head -1'
    answer = subprocess.run(["sh", "-c", line], cwd=ROOT, env=postgres, capture_output=True, text=True, check=False)
    assert (answer.stdout, answer.stderr) == ("repeat\n", "")
