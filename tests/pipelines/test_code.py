"""The pipelines as code: what Mage would only find out at run time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2] / "magic-zoomcamp"
FOLDERS = {
    "data_loader": "data_loaders",
    "transformer": "transformers",
    "data_exporter": "data_exporters",
    "custom": "custom",
    "sensor": "sensors",
    "conditional": "conditionals",
    "callback": "callbacks",
}
DECORATORS = {"conditional": "condition"}
"""Where it is not named like the type."""
STREAMED = {"data_loader": "streaming_source", "data_exporter": "streaming_sink"}
"""In a streaming pipeline: classes, which Mage makes once."""
BESIDE = ("callbacks", "conditionals")
"""What Mage runs beside the blocks that it is attached to."""
WITHOUT_TEST = ("sensor", "conditional", "callback")
"""They hand nothing on that could be tested."""
WATCHED = (
    "all_targets",
    "api_to_gcs",
    "api_to_gcs_parameterized",
    "api_to_postgres",
    "gcs_to_bigquery",
    "green_taxi_etl",
    "reference_tables",
    "trips_to_marts",
)
STREAMING = ("live_trips",)
"""Their first and last blocks are classes, and nothing that they hand on is tested by Mage."""
FOR_OWN_PIPELINES = ("trips_as_dataframe",)
"""Blocks to drag into a new pipeline: tests/server/test_course.py does it."""
SUFFIXES = {"python": ".py", "sql": ".sql"}
PIPELINES = sorted(path.parent.name for path in PROJECT.glob("pipelines/*/metadata.yaml"))


def read(pipeline: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((PROJECT / "pipelines" / pipeline / "metadata.yaml").read_text())
    return loaded


def blocks() -> Iterator[tuple[str, dict[str, Any]]]:
    for pipeline in PIPELINES:
        for block in (block for part in ("blocks", *BESIDE) for block in read(pipeline)[part]):
            yield pipeline, block


def file_of(block: dict[str, Any]) -> Path:
    if block["type"] == "dbt":
        return PROJECT / (block["configuration"].get("file_path") or f"dbts/{block['uuid']}.yaml")
    return PROJECT / FOLDERS[block["type"]] / f"{block['uuid']}{SUFFIXES[block['language']]}"


def test_the_pipelines_of_the_course_are_there() -> None:
    assert {"api_to_postgres", "example_pipeline", "test_config"} <= set(PIPELINES)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_pipeline_is_described_tagged_and_runs_in_one_process(pipeline: str) -> None:
    metadata = read(pipeline)
    assert (metadata["uuid"], metadata["name"]) == (pipeline, pipeline)
    assert metadata["type"] == ("streaming" if pipeline in STREAMING else "python")
    assert 20 < len(metadata["description"]) <= 60, "the page of pipelines shows some sixty letters"
    assert len(metadata["tags"]) >= 2
    if pipeline in STREAMING:
        return  # always in one process, whatever is said
    # In one process a child that fails would end the others, and none could run on another machine.
    has_children = any(block["configuration"].get("dynamic") for block in metadata["blocks"])
    assert metadata["run_pipeline_in_one_process"] is not has_children


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_pipeline_is_written_in_the_form_that_mage_writes(pipeline: str) -> None:
    text = (PROJECT / "pipelines" / pipeline / "metadata.yaml").read_text()
    assert yaml.dump(yaml.safe_load(text), allow_unicode=True) == text


@pytest.mark.parametrize(
    ("pipeline", "block"), blocks(), ids=lambda value: value if isinstance(value, str) else value["uuid"]
)
def test_a_block_has_its_file_with_its_decorator(pipeline: str, block: dict[str, Any]) -> None:
    text = file_of(block).read_text()
    if block["language"] == "python":
        decorator = DECORATORS.get(block["type"], block["type"])
        begin = f"def {block['uuid']}("
        if pipeline in STREAMING and block["type"] in STREAMED:
            decorator, begin = STREAMED[block["type"]], f"class {block['uuid'].title().replace('_', '')}("
        when = '("failure")' if decorator == "callback" else ""
        assert f"\n@{decorator}{when}\n{begin}" in text
        assert f"if '{decorator}' not in globals():" in text.replace('"', "'")
        assert ("\n@test\n" in text) == (block["type"] not in WITHOUT_TEST and pipeline not in STREAMING)


@pytest.mark.parametrize(
    ("pipeline", "block"), blocks(), ids=lambda value: value if isinstance(value, str) else value["uuid"]
)
def test_a_block_takes_as_many_inputs_as_it_has_blocks_above_it(pipeline: str, block: dict[str, Any]) -> None:
    if block["language"] != "python" or f"{block['type']}s" in BESIDE:
        return
    if pipeline in STREAMING and block["type"] in STREAMED:
        return
    signature = file_of(block).read_text().split(f"def {block['uuid']}(")[1].split(")")[0]
    named = [name for name in signature.split(",") if name.strip() and not name.strip().startswith("*")]
    # A loader may be told only when to load, not what.
    assert len(named) == len(block["upstream_blocks"]) or (block["type"] == "data_loader" and not named)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_edge_is_named_at_both_ends(pipeline: str) -> None:
    # Charts are not: Mage would run those that a block names below it with the block, and forget what they draw.
    by_name = {block["uuid"]: block for block in read(pipeline)["blocks"]}
    down = {(name, below) for name, block in by_name.items() for below in block["downstream_blocks"]}
    up = {(above, name) for name, block in by_name.items() for above in block["upstream_blocks"]}
    assert down == up
    assert len(by_name) == 1 or len(down) >= len(by_name) - 1
    assert {above for chart in read(pipeline)["widgets"] for above in chart["upstream_blocks"]} <= set(by_name)


@pytest.mark.parametrize("pipeline", WATCHED)
def test_a_failure_of_any_block_is_recorded(pipeline: str) -> None:
    [callback] = read(pipeline)["callbacks"]
    assert callback["uuid"] == "record_failure"
    assert callback["upstream_blocks"] == [block["uuid"] for block in read(pipeline)["blocks"]]


@pytest.mark.parametrize(
    ("pipeline", "sensor"),
    [
        ("api_to_postgres", "trip_file_published"),
        ("api_to_gcs", "trip_file_published"),
        ("gcs_to_bigquery", "month_in_lake"),
        ("trips_to_marts", "month_loaded"),
    ],
)
def test_a_sensor_comes_first_waits_once_and_by_hand_not_at_all(pipeline: str, sensor: str) -> None:
    metadata = read(pipeline)
    first, second = metadata["blocks"][:2]
    assert (first["uuid"], first["upstream_blocks"], second["upstream_blocks"]) == (sensor, [], [sensor])
    # A wait that was in vain must not begin anew: the project's retries are for what is gone in a minute.
    assert first["retry_config"] == {"retries": 0}
    assert metadata["variables"]["wait_hours"] == 0


def test_the_condition_is_asked_before_anything_else_runs() -> None:
    attached = {pipeline: read(pipeline)["conditionals"] for pipeline in PIPELINES}
    [condition] = attached.pop("api_to_postgres")
    assert not any(attached.values())
    assert condition["uuid"] == "month_is_new"
    assert condition["upstream_blocks"] == [read("api_to_postgres")["blocks"][0]["uuid"]]
    assert read("api_to_postgres")["variables"]["force"] is False


def test_every_block_file_belongs_to_a_pipeline_or_is_for_peoples_own() -> None:
    used = {file_of(block) for _, block in blocks() if block["type"] in FOLDERS}  # dbt has its own tests of its files
    there = {
        path for folder in FOLDERS.values() for path in (PROJECT / folder).iterdir() if path.suffix in SUFFIXES.values()
    }
    assert there - used == {PROJECT / "transformers" / f"{name}.py" for name in FOR_OWN_PIPELINES}
    assert used <= there


def test_every_chart_has_its_file_and_every_file_its_chart() -> None:
    charts = [chart for pipeline in PIPELINES for chart in read(pipeline)["widgets"]]
    assert {chart["uuid"] for chart in charts} == {path.stem for path in (PROJECT / "charts").glob("*.py")}
    assert {(chart["type"], chart["language"]) for chart in charts} == {("chart", "python")}


def test_a_chart_draws_what_its_code_names() -> None:
    for pipeline in PIPELINES:
        for chart in read(pipeline)["widgets"]:
            text = (PROJECT / "charts" / f"{chart['uuid']}.py").read_text()
            configuration = chart["configuration"]
            named = chart["upstream_blocks"] or [configuration["x"], configuration["y"]]
            assert f"\n{', '.join(named)} = " in text, (pipeline, chart["uuid"])


def test_triggers_are_off_but_for_those_that_a_person_turns_on_in_production_alone() -> None:
    for path in PROJECT.glob("pipelines/*/triggers.yaml"):
        for trigger in yaml.safe_load(path.read_text())["triggers"]:
            assert trigger["status"] == "inactive" or trigger["envs"] == ["prod"], (path, trigger["name"])


def test_a_block_is_short() -> None:
    for _, block in blocks():
        code = [line for line in file_of(block).read_text().splitlines() if line.strip()]
        assert len(code) <= 32, file_of(block)


def test_the_project_sends_no_telemetry_and_retries_with_backoff() -> None:
    metadata = yaml.safe_load((PROJECT / "metadata.yaml").read_text())
    assert metadata["help_improve_mage"] is False
    assert metadata["retry_config"] == {"retries": 2, "delay": 5, "max_delay": 60, "exponential_backoff": True}


def test_every_setting_of_io_config_is_in_dev_env() -> None:
    config = (PROJECT / "io_config.yaml").read_text()
    asked = {part.split("'")[0] for part in config.split("env_var('")[1:]}
    offered = {line.split("=")[0] for line in (PROJECT.parent / "dev.env").read_text().splitlines() if "=" in line}
    assert len(asked) == 7
    assert asked <= offered
