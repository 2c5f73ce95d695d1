"""The benchmark works and counts what it measured; its speed is `make bench`'s to judge."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import database, for_hire
from bench.measure import Measured
from bench.results import Result, Target, wrong_rows
from ops.paths import ROOT


@pytest.mark.mage
def test_every_contestant_loads_the_same_rows(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "bench", "--quick", "--json", str(report)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    told = json.loads(report.read_text())
    contestants = told["contestants"]
    assert set(contestants) == {"psql", "blocks", "mage run", "course"}
    [rows] = {contestant["rows"] for contestant in contestants.values()}
    assert 17_000 < rows < 20_000
    assert all(contestant["runs"][0]["seconds"] > 0 for contestant in contestants.values())
    assert {name: hired["rows"] for name, hired in told["for_hire"].items()} == {"blocks": 20_000}
    exporters = told["cloud"]["usual"]
    assert set(exporters) == {
        *(f"month: {who}" for who in ("ours", "write_table")),
        *(f"days: {who}" for who in ("ours", "write_dataset")),
        *(f"mage run: {who}" for who in ("ours", "course")),
    }
    assert {exporter["rows"] for exporter in exporters.values()} == {rows}
    [moved] = told["cloud"]["warehouse"]
    assert moved["rows"] == rows
    assert 1_000 < moved["bytes"] < 1_000_000
    assert set(moved["measured"]["steps"]) == {"load", "merge", "rest"}
    months = told["backfill"]
    assert (months["months"], months["completed"], months["parallel"]) == (3, 3, 4)
    assert 0 < months["idle_mb"] < months["peak_mb"]


def test_a_target_is_missed_on_its_wrong_side_only() -> None:
    assert Target("at most", 1.2, 1.2, "x").reached
    assert not Target("at most", 1.21, 1.2, "x").reached
    assert Target("at least", 5.0, 5, "x", at_least=True).reached
    assert not Target("at least", 4.9, 5, "x", at_least=True).reached


def measured(**seconds: float) -> dict[str, Result]:
    """Results of one run each, of so many seconds and 10 rows."""
    names = {loader.name.replace(" ", "_"): loader for loader in database.QUICK_LOADERS}
    runs = {names[name]: Measured(taken, 1, 1, "") for name, taken in seconds.items()}
    return {loader.name: Result(loader, [run], rows=10) for loader, run in runs.items()}


@pytest.mark.parametrize(
    ("blocks", "mage_run", "course", "reached"),
    [
        (3.0, 5.1, 26.0, [True, True, True]),
        (4.3, 7.4, 37.0, [True, True, True]),
        (4.5, 7.4, 37.0, [False, True, True]),  # 1.125 x: more than a tenth over psql
        (3.0, 5.3, 27.0, [True, False, True]),  # 1.77 x of the blocks
        (3.0, 5.1, 25.0, [True, True, False]),
    ],
)
def test_the_first_half_is_judged_by_psql_and_by_the_course(
    blocks: float, mage_run: float, course: float, reached: list[bool]
) -> None:
    results = measured(psql=4.0, blocks=blocks, mage_run=mage_run, course=course)
    assert [target.reached for target in database.speed_targets(results)] == reached


def test_the_largest_service_is_judged_by_duckdb_where_it_can_be_had() -> None:
    ours = Result(for_hire.BLOCKS, [Measured(5.5, 500, 500, "")], rows=10)
    peer = Result(for_hire.DUCKDB, [Measured(10.0, 1_000, 1_000, "")], rows=10)
    judged = for_hire.targets({"blocks": ours, "duckdb | psql": peer})
    assert [target.reached for target in judged] == [True, True]
    peer.runs = [Measured(9.9, 990, 990, "")]
    judged = for_hire.targets({"blocks": ours, "duckdb | psql": peer})
    assert [target.reached for target in judged] == [False, False]
    assert for_hire.targets({"blocks": ours, "duckdb | psql": Result(for_hire.DUCKDB, missing="offline")}) == []


def test_rows_that_are_not_there_are_told() -> None:
    results = measured(psql=4.0, blocks=3.0)
    assert wrong_rows(results, 10) == []
    results["blocks"].rows = 9
    assert wrong_rows(results, 10) == ["blocks wrote 9 rows, the month has 10"]
    assert len(wrong_rows(results, 0)) == 2
