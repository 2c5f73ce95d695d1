"""`taxi backfill`: what it refuses before a Mage is started; tests/server has what it does."""

from collections.abc import Callable

import pytest

POSTGRES = "api_to_postgres"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "Which pipeline? Or --retry, or --show"),
        (("api_to_mars", "--from", "2021-01"), "pipeline 'api_to_mars' is not one of all_targets,"),
        (("api_to_postgre", "--from", "2021-01"), "did you mean api_to_postgres?"),
        (("green_taxi_etl", "--from", "2020-10"), "does not take service and month from its run"),
        ((POSTGRES,), "--from nothing --to nothing: api_to_postgres has one run per month"),
        ((POSTGRES, "--from", "2021-01", "--to", "2020-12"), "--from 2021-01 is after --to 2020-12"),
        ((POSTGRES, "--from", "2021-13"), "give both as YYYY-MM, such as 2021-01"),
        ((POSTGRES, "--from", "2021-06", "--to", "2021-08"), "yellow 2021-08 does not exist at origin dtc"),
        ((POSTGRES, "--from", "2021-06", "--service", "gren"), "did you mean green?"),
        ((POSTGRES, "--from", "2021-06", "--rules", "kind"), "rule 'kind' is not one of has_passengers"),
        ((POSTGRES, "--from", "2021-06", "--parallel", "0"), "0 is not in the range x>=1"),
        ((POSTGRES, "--from", "2021-06", "--prefix", "x"), "api_to_postgres: variable 'prefix' is not one of"),
        (("api_to_gcs", "--from", "2021-06", "--force"), "api_to_gcs: variable 'force' is not one of"),
        (("--retry", "all"), "'all' is no backfill: give its number, or last"),
        (("--show", "1.5"), "'1.5' is no backfill"),
        (("--retry", "last", "--show", "last"), "--retry takes a backfill as it is: leave --show out"),
        (("--retry", "7", "--service", "green"), "--retry takes a backfill as it is: leave --service out"),
        ((POSTGRES, "--form", "2021-01"), "No such option: --form"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_cannot_be_is_refused_before_a_mage_is_started(
    given: tuple[str, ...], said: str, refused: Callable[..., str]
) -> None:
    assert said in refused("backfill", *given)
