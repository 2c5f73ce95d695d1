"""The benchmark works and counts what it measured; its speed is `make bench`'s to judge."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.results import Target
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
    assert 170_000 < rows < 200_000
    assert all(contestant["runs"][0]["seconds"] > 0 for contestant in contestants.values())
    cloud = told["cloud"]["usual"]
    assert set(cloud["exporters"]) == {
        *(f"month: {who}" for who in ("ours", "write_table", "course")),
        *(f"days: {who}" for who in ("ours", "write_dataset", "course")),
        *(f"mage run: {who}" for who in ("ours", "course")),
    }
    assert {exporter["rows"] for exporter in cloud["exporters"].values()} == {rows}
    [moved] = cloud["warehouse"]
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
