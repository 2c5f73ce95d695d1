"""The first rows of what a block made: shown in a notebook's kernel, as Mage's editor has one, and nowhere else."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.load.bucket.month import find_month, replace_month
from nyc_taxi.manifest import Manifest, StagedFile
from nyc_taxi.report import preview
from nyc_taxi.settings import GoogleSettings, Settings
from nyc_taxi.transform.rules import apply_rules

from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.conftest import run_of
from tests.nyc_taxi.load.loading import judged


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if somebody looked."""
    monkeypatch.setattr(preview, "_somebody_looks", lambda: True)


@pytest.fixture
def staged(settings: Settings, trips: TripServer) -> StagedFile:
    """A month that is staged and not judged yet."""
    generate("green", "2020-10", "dtc", 30_000, trips.folder, malformed=3)
    [file] = stage_trip_file(run_of(settings, "green", "2020-10", "dtc")).files
    return file


def shown(capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, Any]]:
    """The line of text and the table that were printed."""
    text, output = capsys.readouterr().out.splitlines()
    [table] = json.loads(output.removeprefix("<RenderOutput>").removesuffix("</RenderOutput>"))
    assert isinstance(table, dict)
    return text, table


def test_the_loader_shows_the_first_staged_rows(
    staged: StagedFile, looking: None, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    manifest = Manifest((staged,))
    assert preview.show_manifest(manifest) is manifest
    text, table = shown(capsys)
    assert text == "green 2020-10: the first 10 of 29,997 rows"
    columns, rows = table["sample_data"]["columns"], table["sample_data"]["rows"]
    assert (table["shape"], table["type"]) == ([29_997, 22], "table")
    assert columns == staged.service.schema.names
    first = pq.read_table(staged.staged).slice(0, 10).to_pylist()
    assert [row[columns.index("trip_distance")] for row in rows] == [row["trip_distance"] for row in first]
    assert [row[columns.index("lpep_pickup_datetime")] for row in rows] == [
        str(row["lpep_pickup_datetime"]) for row in first
    ]


def test_the_transformer_and_the_exporters_show_the_first_accepted_rows(
    staged: StagedFile, looking: None, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = apply_rules(Manifest((staged,)), ("has_passengers", "positive_distance"))
    [file] = judged.files
    capsys.readouterr()
    preview.show_manifest(judged)
    text, table = shown(capsys)
    assert table["shape"][0] == file.rows_accepted < 29_997
    assert text == f"green 2020-10: the first 10 of {file.rows_accepted:,} rows"
    columns, rows = table["sample_data"]["columns"], table["sample_data"]["rows"]
    passengers, miles = columns.index("passenger_count"), columns.index("trip_distance")
    assert all(row[passengers] > 0 and row[miles] > 0 for row in rows)


def test_a_month_in_the_lake_is_shown_from_its_object(
    settings: Settings,
    google: GoogleSettings,
    trips: TripServer,
    looking: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = judged(settings, trips, "green", "2020-10", "dtc", 500)
    replace_month(file, google)
    monkeypatch.setattr(Settings, "from_environment", lambda: replace(settings, google=google))
    capsys.readouterr()
    preview.show_manifest(Manifest((find_month(file.service, file.month, google),)))
    text, table = shown(capsys)
    assert text == (
        f"gs://{google.bucket}/trips/green/green_tripdata_2020-10.parquet: the first 10 of {file.rows_accepted:,} rows"
    )
    assert (table["shape"][0], len(table["sample_data"]["rows"])) == (file.rows_accepted, 10)


def test_missing_values_are_empty_and_every_value_is_one_that_json_has(
    looking: None, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"miles": [1.5, float("nan"), None], "flag": ["<b>", None, "N"], "sure": [True, False, None]}
    preview.show(iter([pa.RecordBatch.from_pydict(values)]), 3, "three")
    output = capsys.readouterr().out.splitlines()[1]
    assert "NaN" not in output
    [table] = json.loads(output.removeprefix("<RenderOutput>").removesuffix("</RenderOutput>"))
    assert table["sample_data"]["rows"] == [[1.5, "<b>", True], ["", "", False], ["", "N", ""]]


class Block:
    """Calls as Mage does: a block that a person runs, and before it the blocks above."""

    uuid = "transform_taxi_data"

    def execute_block_function(self) -> None:
        preview.show(iter([pa.RecordBatch.from_pydict({"miles": [1.5]})]), 1, "yellow 2021-01")

    def run_upstream_blocks(self) -> None:
        self.execute_block_function()


def test_the_line_names_the_block_and_the_blocks_above_show_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.setattr(InteractiveShell, "initialized", lambda: True)
    monkeypatch.setattr(InteractiveShell, "instance", lambda: SimpleNamespace(kernel=object()))
    Block().run_upstream_blocks()
    assert capsys.readouterr().out == ""
    Block().execute_block_function()
    text, _ = shown(capsys)
    assert text == "transform_taxi_data, yellow 2021-01: the first 1 of 1 rows"


def test_only_one_batch_is_read(looking: None) -> None:
    asked = []

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(3):
            asked.append(number)
            yield pa.RecordBatch.from_pydict({"number": [number]})

    preview.show(batches(), 3, "three")
    assert asked == [0]


def test_where_nobody_looks_not_one_byte_is_read(
    staged: StagedFile, google: GoogleSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    gone = replace(staged, path="/nowhere/at/all.parquet")
    for file in (gone, replace(gone, rows_accepted=5), replace(gone, path=f"gs://{google.bucket}/nothing")):
        preview.show_manifest(Manifest((file,)))
    assert capsys.readouterr().out == ""
    # IPython is there as soon as Mage is; a kernel of it is what counts.
    __import__("IPython")
    preview.show_manifest(Manifest((gone,)))
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(preview, "_somebody_looks", lambda: True)
    with pytest.raises(Exception, match="is gone: run load_api_data again"):
        preview.show_manifest(Manifest((gone,)))


@pytest.mark.parametrize("name", ["IPython", "IPython.core.interactiveshell"])
def test_a_look_imports_nothing_while_another_thread_imports_ipython(
    name: str, staged: StagedFile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    half_way = ModuleType(name)

    def get_ipython() -> None:
        raise ImportError("cannot import name 'InteractiveShell' from a module that is not complete yet")

    half_way.get_ipython = get_ipython  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, half_way)
    preview.show_manifest(Manifest((staged,)))
    assert "RenderOutput" not in capsys.readouterr().out


def test_a_real_kernel_shows_it_and_a_program_does_not(staged: StagedFile) -> None:
    code = (
        "import json; from nyc_taxi.manifest import Manifest, StagedFile\n"
        "from nyc_taxi.report.preview import show_manifest\n"
        f"show_manifest(Manifest((StagedFile.of_row(json.loads({json.dumps(staged.to_row())!r})),)))\n"
    )
    manager, client = start_new_kernel(kernel_name="python3")
    assert isinstance(client, BlockingKernelClient)
    printed = ""
    try:
        client.execute(code)
        while not printed.endswith("</RenderOutput>\n"):
            message = client.get_iopub_msg(timeout=60)["content"]
            assert "ename" not in message, message
            printed += message.get("text", "")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert printed.startswith("green 2020-10: the first 10 of 29,997 rows\n<RenderOutput>[{")
    here = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert here.stdout == ""
