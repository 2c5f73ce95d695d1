"""The forms as code: what they offer is what the library knows, and what they give is what a run takes."""

import asyncio
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from mage_ai.data_preparation.models.pipelines.interactions import PipelineInteractions
from mage_ai.presenters.interactions.models import Interaction
from nyc_taxi.catalog.origins import ORIGINS
from nyc_taxi.catalog.services import SERVICES
from nyc_taxi.operate.many_months import choose_months
from nyc_taxi.run import execution_day, is_forced, run_context
from nyc_taxi.transform.rules import RULES, rule_named

PROJECT = Path(__file__).resolve().parents[2] / "magic-zoomcamp"
FORMS = sorted(path.name for path in PROJECT.glob("interactions/*.yaml"))
PIPELINES = sorted(path.parent.name for path in PROJECT.glob("pipelines/*/interactions.yaml"))
FILLED_ELSEWHERE = {"default_date", "month_offset", "wait_hours", "malformed_share"}
"""Variables of triggers, of runs by hand in the editor, and for the rare file that needs them."""
NOT_ASKED = {"api_to_gcs_parameterized": {"month"}, "gcs_to_bigquery": {"origin"}}
"""The day has its month; and the lake's month is meant, whatever its origin, unless a trigger waits for a version."""


def read(*path: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(PROJECT.joinpath(*path).read_text())
    return loaded


def variables_of(pipeline: str) -> set[str]:
    return set(read("pipelines", pipeline, "metadata.yaml").get("variables") or {})


def forms_of(pipeline: str) -> list[str]:
    blocks = read("pipelines", pipeline, "interactions.yaml")["blocks"]
    return [form["uuid"] for forms in blocks.values() for form in forms]


def offered(form: str, variable: str) -> list[str]:
    return [option["value"] for option in read("interactions", form)["inputs"][variable]["options"]]


def test_forms_are_switched_on() -> None:
    assert read("metadata.yaml")["features"] == {"interactions": True}


ALWAYS_ON = ("live_trips",)
"""Nobody starts a run of it by a form: its trigger does."""


def test_every_pipeline_whose_trips_can_be_chosen_has_a_form() -> None:
    pipelines = {path.parent.name for path in PROJECT.glob("pipelines/*/metadata.yaml")}
    chosen = {name for name in pipelines if variables_of(name) & {"service", "services", "target"}}
    assert chosen - set(ALWAYS_ON) == set(PIPELINES)
    assert len(PIPELINES) >= 7


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_form_asks_for_every_variable_that_a_person_chooses(pipeline: str) -> None:
    asked = [name for form in forms_of(pipeline) for name in read("interactions", form)["variables"]]
    assert len(asked) == len(set(asked))
    assert set(asked) == variables_of(pipeline) - FILLED_ELSEWHERE - NOT_ASKED.get(pipeline, set())


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_form_of_a_pipeline_has_its_file_its_block_and_its_place(pipeline: str) -> None:
    shown = read("pipelines", pipeline, "interactions.yaml")
    blocks = {block["uuid"] for block in read("pipelines", pipeline, "metadata.yaml")["blocks"]}
    assert set(shown["blocks"]) <= blocks
    placed = [(item["block_uuid"], item["interaction"]) for row in shown["layout"] for item in row]
    assert placed == [(block, form["uuid"]) for block, forms in shown["blocks"].items() for form in forms]
    assert set(forms_of(pipeline)) <= set(FORMS)
    [permission] = shown["permissions"]
    assert permission["roles"] == ["Owner", "Admin", "Editor"]
    assert permission["triggers"] == [{"schedule_interval": "@once", "schedule_type": "time"}]


def test_every_form_is_used() -> None:
    assert {form for pipeline in PIPELINES for form in forms_of(pipeline)} == set(FORMS)


@pytest.mark.parametrize("form", FORMS)
def test_a_form_places_each_of_its_variables_once(form: str) -> None:
    content = read("interactions", form)
    placed = [item["variable"] for row in content["layout"] for item in row]
    assert sorted(placed) == sorted(content["variables"]) == sorted(content["inputs"])
    for name, variable in content["variables"].items():
        assert variable["input"] == name
        assert variable["description"].endswith(".")


def test_what_is_ticked_is_never_required() -> None:
    # Mage shows every box of a required list as ticked, whatever a person ticks.
    for form in FORMS:
        content = read("interactions", form)
        ticked = [name for name, field in content["inputs"].items() if field["type"] == "checkbox"]
        assert not any(content["variables"][name]["required"] for name in ticked)
    assert read("pipelines", "load_many", "metadata.yaml")["variables"]["services"] == "yellow,green"
    services = read("interactions", "services_and_months.yaml")["variables"]["services"]
    assert services["description"] == "Whose trips. Nothing ticked: yellow and green."


@pytest.mark.parametrize(
    ("form", "variable"),
    [
        ("service_and_month.yaml", "service"),
        ("service_and_day.yaml", "service"),
        ("services_and_months.yaml", "services"),
    ],
)
def test_the_services_are_those_of_the_library(form: str, variable: str) -> None:
    assert offered(form, variable) == list(SERVICES)


def test_the_origins_are_those_of_the_library_with_the_months_they_have() -> None:
    options = read("interactions", "origin_and_rules.yaml")["inputs"]["origin"]["options"]
    assert {option["value"]: option["label"] for option in options} == {
        origin.name: f"{origin.name}: {origin.suffix}, {min(origin.first.values())} "
        f"to {origin.last or 'about two months ago'}"
        for origin in ORIGINS.values()
    }


def test_the_rules_are_those_of_the_library_to_reject_or_to_warn_and_none() -> None:
    options = read("interactions", "origin_and_rules.yaml")["inputs"]["rules"]["options"]
    assert {option["value"]: option["label"] for option in options} == {
        **{name: name for name in (*RULES, "none")},
        **{f"{name}:warn": f"{name}, only counted" for name in RULES},
    }
    assert [str(rule_named(value)).split(":")[0] for value in offered("origin_and_rules.yaml", "rules")[:-1]] == [
        name for name in RULES for _ in ("reject", "warn")
    ]


def test_a_run_takes_what_the_form_gives() -> None:
    given: dict[str, object] = {"service": "green", "origin": "dtc", "month": "2020-10", "pipeline_run_id": 7}
    for rules, applied in (
        (["has_passengers", "positive_distance"], ("has_passengers", "positive_distance")),
        (["has_passengers", "in_month:warn"], ("has_passengers", "in_month:warn")),
        (["none"], ()),
        ([], ("has_passengers",)),
        (None, ("has_passengers",)),
    ):
        assert run_context({**given, "rules": rules}).rules == applied
    many = choose_months({"services": ["green", "fhv"], "from": "2020-11", "to": "2020-12", "origin": "dtc"})
    assert [str(run) for run in many] == [
        "green 2020-11 (dtc)", "green 2020-12 (dtc)", "fhv 2020-11 (dtc)", "fhv 2020-12 (dtc)"
    ]  # fmt: skip
    assert is_forced({**given, "force": True})
    assert not is_forced(given)


def test_the_day_of_a_form_is_the_runs_and_its_month_too() -> None:
    # What Mage gives a run that starts at once: this very moment as its date.
    given: dict[str, object] = {"service": "green", "origin": "dtc", "day": "2020-10-05", "pipeline_run_id": 7}
    now = {"execution_date": datetime.now(UTC)}
    assert execution_day({**given, **now}) == date(2020, 10, 5)
    assert str(run_context({**given, **now}).month) == "2020-10"
    backfilled = {**given, "day": "", "execution_date": datetime(2021, 1, 5, tzinfo=UTC)}
    assert execution_day(backfilled) == date(2021, 1, 5)


class Place:
    """What Mage's own classes ask of a pipeline."""

    def __init__(self, pipeline: str) -> None:
        self.repo_path = str(PROJECT)
        self.dir_path = str(PROJECT / "pipelines" / pipeline)


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_written_as_mage_writes_it(form: str) -> None:
    text = (PROJECT / "interactions" / form).read_text()
    assert yaml.safe_dump(asyncio.run(Interaction(form, pipeline=Place(PIPELINES[0])).to_dict_base())) == text


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_forms_of_a_pipeline_are_read_by_mage_without_loss(pipeline: str) -> None:
    as_mage_reads_it = asyncio.run(PipelineInteractions(Place(pipeline)).to_dict())
    content = read("pipelines", pipeline, "interactions.yaml")
    assert as_mage_reads_it == content
    assert yaml.safe_dump(as_mage_reads_it) == (PROJECT / "pipelines" / pipeline / "interactions.yaml").read_text()
