"""`taxi run`: what it hands to Mage, and what it refuses before anything is started."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from ops.cli import taxi
from ops.commands import pipelines, run
from ops.paths import PROJECT
from ops.stack import environment

EVERY = "all_targets, api_to_gcs, api_to_gcs_parameterized, api_to_postgres, clean_up"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), f"Missing argument 'PIPELINE'. Choose from {EVERY}"),
        (("api_to_postgre",), f"pipeline 'api_to_postgre' is not one of {EVERY}"),
        (("api_to_postgre",), "did you mean api_to_postgres?"),
        (("../api_to_postgres",), "is not one of"),
        (("api_to_postgres", "--service", "gren"), "service 'gren' is not one of yellow, green, fhv, fhvhv"),
        (("api_to_postgres", "--service", "Gren"), "did you mean green?"),
        (("api_to_postgres", "--service", ""), "service '' is not one of yellow, green, fhv, fhvhv"),
        (("api_to_postgres", "--month", "2021-13"), "month '2021-13' is not of the form YYYY-MM, such as 2021-01"),
        (("api_to_postgres", "--month", ""), "month '' is not of the form YYYY-MM"),
        (("api_to_postgres", "--origin", "tcl"), "origin 'tcl' is not one of dtc, tlc; did you mean tlc?"),
        (("api_to_postgres", "--rules", "has_passengers,positive"), "rule 'positive' is not one of has_passengers"),
        (("api_to_postgres", "--rules", "has_pasengers"), "did you mean has_passengers?"),
        (("api_to_postgres", "--rules", "has_passengers,none"), "rules has_passengers, none: none stands alone"),
        (("api_to_postgres", "--service", "fhv", "--rules", "positive_distance"), "which fhv does not have"),
        (
            ("api_to_postgres", "--month", "2021-08"),
            "yellow 2021-08 does not exist at origin dtc, which has 2019-01 to",
        ),
        (("api_to_postgres", "--service", "green", "--month", "2013-07", "--origin", "tlc"), "which has 2013-08 to"),
        (("api_to_postgres", "--set", "wait_hours=soon"), "wait_hours 'soon' is not a number of hours"),
        (("api_to_postgres", "--set", "force=perhaps"), "force 'perhaps' is neither true nor false"),
        (("api_to_postgres", "--set", "month_offset=two"), "month_offset 'two' is not a whole number"),
        (("api_to_postgres", "--set", "servce=green"), "api_to_postgres: variable 'servce' is not one of default_date"),
        (("api_to_postgres", "--set", "servce=green"), "did you mean service?"),
        (("api_to_postgres", "--set", "green"), "'green' is not of the form NAME=VALUE"),
        (("api_to_postgres", "--service", "green", "--set", "service=green"), "service is given twice"),
        (("api_to_postgres", "--prefix", "p"), "api_to_postgres: variable 'prefix' is not one of"),
        (("api_to_gcs_parameterized", "--execution-date", "2021-02-30"), "execution_date '2021-02-30' is not a date"),
        (("gcs_to_bigquery", "--rules", "none"), "gcs_to_bigquery: variable 'rules' is not one of"),
        (("test_config", "--service", "green"), "test_config has no variables: leave service out"),
        (("green_taxi_etl", "--month", "2021-01"), "green_taxi_etl has no variables: leave month out"),
        (("local_to_gcs", "--month", "2021-01"), "local_to_gcs has no variables: leave month out"),
        (("api_to_postgres", "--servce", "green"), "No such option: --servce"),
        (("api_to_postgres", "--servce", "green"), "--service"),
        (("api_to_postgres", "green"), "unexpected extra argument (green)"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_cannot_be_is_refused_before_anything_is_started(
    given: tuple[str, ...], said: str, refused: Callable[..., str]
) -> None:
    assert said in refused("run", *given)


def test_a_pipeline_of_the_scheduler_alone_says_where_it_runs(refused: Callable[..., str]) -> None:
    result = CliRunner().invoke(taxi, ["run", "load_many"])
    assert result.exit_code == 1
    assert result.output == "FAILED  load_many runs in Mage's scheduler only: taxi ui, then its Triggers, Run@once\n"


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the command would run."""
    runs: list[object] = []
    monkeypatch.setattr(environment, "environment", lambda **_: {"an": "environment"})
    monkeypatch.setattr(run, "run_pipeline", lambda *given: runs.append(given))
    return runs


@pytest.mark.parametrize(
    ("given", "variables"),
    [
        (("api_to_postgres",), {}),
        (
            (
                "api_to_postgres",
                "--service",
                "green",
                "--month",
                "2020-10",
                "--origin",
                "tlc",
                "--rules",
                "has_passengers,positive_distance",
            ),
            {
                "service": "green",
                "month": "2020-10",
                "origin": "tlc",
                "rules": "has_passengers,positive_distance",
            },
        ),
        (
            ("api_to_gcs_parameterized", "--execution-date", "2021-01-05", "--prefix", "p"),
            {"execution_date": "2021-01-05", "prefix": "p"},
        ),
        (
            ("api_to_postgres", "--set", "wait_hours=2", "--set", "force=true"),
            {"wait_hours": "2", "force": "true"},
        ),
        (("api_to_postgres", "--rules", "none"), {"rules": "none"}),
        (("gcs_to_bigquery", "--service", "yellow", "--month", "2021-01"), {"service": "yellow", "month": "2021-01"}),
    ],
)
def test_options_become_the_variables_of_the_run(
    given: tuple[str, ...], variables: dict[str, str], handed_over: list[object]
) -> None:
    result = CliRunner().invoke(taxi, ["run", *given])
    assert (result.exit_code, result.output) == (0, "")
    assert handed_over == [(given[0], variables, {"an": "environment"})]


def test_a_pipeline_of_ones_own_is_known_with_its_variables(
    handed_over: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "pipelines" / "mine"
    shutil.copytree(PROJECT / "pipelines" / "test_config", own)
    described = yaml.safe_load((own / "metadata.yaml").read_text())
    variables = {"colour": "red", "service": "yellow", "month": ""}  # and no default_date
    (own / "metadata.yaml").write_text(yaml.safe_dump(described | {"tags": [], "variables": variables}))
    monkeypatch.setattr(pipelines, "PROJECT", tmp_path)
    assert CliRunner().invoke(taxi, ["run", "mine", "--set", "colour=blue=green"]).exit_code == 0
    assert handed_over == [("mine", {"colour": "blue=green"}, {"an": "environment"})]
    wrong = CliRunner().invoke(taxi, ["run", "mine", "--set", "color=blue"])
    assert wrong.exit_code == 2
    assert "mine: variable 'color' is not one of colour, month, service; did you mean colour?" in wrong.output
