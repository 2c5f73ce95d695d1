"""Each rule of the table in docs/rules.md: what it looks at, what breaks it, and how a run asks for it."""

import re
from datetime import datetime, timedelta

import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from nyc_taxi.catalog.services import FHV, FHVHV, GREEN, SERVICES, YELLOW
from nyc_taxi.errors import UnknownName
from nyc_taxi.manifest import StagedFile
from nyc_taxi.run import run_context
from nyc_taxi.settings import Settings
from nyc_taxi.transform.rule import WARN
from nyc_taxi.transform.rules import RULES, rule_named

from ops.paths import ROOT

NOON = datetime(2021, 1, 31, 12)
FILE = StagedFile("yellow", "2021-01", "tlc", "", "", 0, "", "", "", tuple(YELLOW.schema.names), (), 0, {})
OF_ROWS = [name for name in RULES if name not in ("not_a_duplicate", "no_reversal")]


def reason(text: str, **values: object) -> str | None:
    """What a rule says of one yellow row, whose pickup is at noon and whose other values are missing."""
    row = {"tpep_pickup_datetime": NOON} | values
    batch = pa.RecordBatch.from_pylist([{name: row.get(name) for name in YELLOW.schema.names}], YELLOW.schema)
    [found] = rule_named(text).judge(FILE)(batch, 0).to_pylist()
    return found  # type: ignore[no-any-return]


def ended(after: timedelta) -> dict[str, object]:
    return {"tpep_dropoff_datetime": NOON + after}


@pytest.mark.parametrize(
    ("pickup", "found"),
    [
        (datetime(2020, 12, 31, 23, 59, 59, 999_999), "outside_month"),
        (datetime(2021, 1, 1), None),
        (datetime(2021, 1, 31, 23, 59, 59, 999_999), None),
        (datetime(2021, 2, 1), "outside_month"),
        (datetime(1, 1, 1), "outside_month"),
        (datetime(9999, 12, 31), "outside_month"),
        (None, "pickup_missing"),
    ],
)
def test_in_month_is_half_open(pickup: datetime | None, found: str | None) -> None:
    assert reason("in_month", tpep_pickup_datetime=pickup) == found


def test_a_dropoff_comes_after_the_pickup() -> None:
    assert reason("dropoff_after_pickup", **ended(timedelta(microseconds=1))) is None
    assert reason("dropoff_after_pickup", **ended(timedelta())) == "dropoff_not_after_pickup"
    assert reason("dropoff_after_pickup", **ended(timedelta(hours=-1))) == "dropoff_not_after_pickup"
    assert reason("dropoff_after_pickup") == "dropoff_missing"
    assert reason("dropoff_after_pickup", tpep_pickup_datetime=None, **ended(timedelta())) == "pickup_missing"


@pytest.mark.parametrize(
    ("minutes", "miles", "rule", "found"),
    [
        (60, 100.0, "plausible_speed", None),
        (60, 100.001, "plausible_speed", "too_fast"),
        (6, 10.0, "plausible_speed", None),
        (6, 6.01, "plausible_speed:max_mph=60", "too_fast"),
        (0, 0.01, "plausible_speed", "too_fast"),
        (0, 0.0, "plausible_speed", None),
        (-10, 0.0, "plausible_speed", None),
        (-10, 0.1, "plausible_speed", "too_fast"),
        (10, -5.0, "plausible_speed", None),
        (10, None, "plausible_speed", "distance_missing"),
    ],
)
def test_a_speed_is_miles_by_hours(minutes: int, miles: float | None, rule: str, found: str | None) -> None:
    assert reason(rule, trip_distance=miles, **ended(timedelta(minutes=minutes))) == found


def test_a_speed_needs_both_times() -> None:
    assert reason("plausible_speed", trip_distance=1.0) == "dropoff_missing"
    first_and_last = {"tpep_pickup_datetime": datetime(1, 1, 1), "tpep_dropoff_datetime": datetime(9999, 12, 31)}
    assert reason("plausible_speed", trip_distance=1e6, **first_and_last) is None


@pytest.mark.parametrize(
    ("fare", "rule", "found"),
    [
        (0.0, "plausible_fare", None),
        (-0.01, "plausible_fare", "fare_too_low"),
        (1_000.0, "plausible_fare", None),
        (1_000.01, "plausible_fare", "fare_too_high"),
        (2.99, "plausible_fare:min_usd=3:max_usd=50", "fare_too_low"),
        (50.5, "plausible_fare:max_usd=50", "fare_too_high"),
        (-7.0, "plausible_fare:min_usd=-10", None),
        (None, "plausible_fare", "fare_missing"),
    ],
)
def test_a_fare_lies_between_two_amounts(fare: float | None, rule: str, found: str | None) -> None:
    assert reason(rule, fare_amount=fare) == found


@pytest.mark.parametrize(
    ("zones", "found"),
    [
        ((1, 265), None),
        ((264, 1), None),
        ((0, 1), "pickup_zone_unknown"),
        ((266, None), "pickup_zone_unknown"),
        ((1, 266), "dropoff_zone_unknown"),
        ((None, 1), "pickup_zone_missing"),
        ((1, None), "dropoff_zone_missing"),
    ],
)
def test_zones_are_those_of_tlc(zones: tuple[int | None, int | None], found: str | None) -> None:
    assert reason("known_zones", PULocationID=zones[0], DOLocationID=zones[1]) == found


@pytest.mark.parametrize("name", OF_ROWS)
def test_a_row_without_any_value_breaks_every_rule(name: str) -> None:
    assert reason(name, tpep_pickup_datetime=None) is not None


# --- how a run asks for rules


def asked(service: str, rules: object) -> tuple[str, ...]:
    origin = {"service": service, "month": "2021-01", "origin": "tlc"}
    return run_context({**origin, "rules": rules}, Settings.from_environment({})).rules


@pytest.mark.parametrize("service", SERVICES)
def test_the_services_own_rules_are_as_they_were(service: str) -> None:
    own = {"yellow": ("has_passengers",), "green": ("has_passengers",)}
    assert asked(service, "") == own.get(service, ())


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("plausible_speed", ("plausible_speed:max_mph=100",)),
        ("plausible_speed:reject", ("plausible_speed:max_mph=100",)),
        ("plausible_speed:max_mph=62.5:warn", ("plausible_speed:warn:max_mph=62.5",)),
        ("plausible_fare:max_usd=50", ("plausible_fare:min_usd=0:max_usd=50",)),
        (" in_month , known_zones:warn ", ("in_month", "known_zones:warn")),
        (["in_month", "known_zones:warn"], ("in_month", "known_zones:warn")),
        ("has_passengers,has_passengers", ("has_passengers",)),
        (
            "plausible_speed:warn:max_mph=60,plausible_speed",
            ("plausible_speed:warn:max_mph=60", "plausible_speed:max_mph=100"),
        ),
    ],
)
def test_a_run_asks_for_rules_by_name_action_and_parameters(rules: object, told: tuple[str, ...]) -> None:
    assert asked("yellow", rules) == told
    assert asked("yellow", ",".join(told)) == told


@pytest.mark.parametrize(
    ("service", "rules", "said"),
    [
        ("yellow", "plausible_sped", "did you mean plausible_speed?"),
        (
            "yellow",
            "plausible_speed:wran",
            "rule plausible_speed: 'wran' is not one of reject, warn, max_mph=100, each at most once",
        ),
        ("yellow", "plausible_speed:max=3", "rule plausible_speed: 'max=3' is not one of reject, warn, max_mph=100"),
        ("yellow", "plausible_speed:max_mph=fast", "rule plausible_speed: 'max_mph=fast' is not one of reject, warn"),
        ("yellow", "plausible_speed:max_mph=nan", "rule plausible_speed: 'max_mph=nan' is not one of reject, warn"),
        (
            "yellow",
            "plausible_speed:max_mph=-1",
            "'max_mph=-1' is not one of reject, warn, max_mph=100, each at most once",
        ),
        (
            "yellow",
            "plausible_fare:min_usd=10:max_usd=1",
            "rule plausible_fare: no row passes min_usd=10:max_usd=1, whose least is above its most",
        ),
        ("yellow", "plausible_speed:max_mph=1:max_mph=2", "rule plausible_speed: 'max_mph=2' is not one of"),
        ("yellow", "in_month:warn:reject", "rule in_month: 'warn:reject' is not one of reject, warn, each at most"),
        ("yellow", "in_month:", "rule in_month: '' is not one of reject, warn, each at most once"),
        ("yellow", "warn", "rule 'warn' is not one of has_passengers, "),
        ("yellow", "none:warn", "rule 'none' is not one of has_passengers, "),
        (
            "yellow",
            "plausible_speed,plausible_speed:max_mph=60",
            "plausible_speed:max_mph=60: plausible_speed can reject by one set of parameters only",
        ),
        ("fhv", "plausible_speed", "rule 'plausible_speed' looks at the distance, which fhv does not have"),
        ("fhv", "no_reversal:warn", "rule 'no_reversal' looks at the fare, which fhv does not have"),
        ("fhvhv", "has_passengers", "rule 'has_passengers' looks at passenger_count, which fhvhv does not have"),
    ],
)
def test_what_is_no_rule_is_refused_in_one_line_with_what_there_is(service: str, rules: str, said: str) -> None:
    with pytest.raises(UnknownName) as refused:
        asked(service, rules)
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@given(st.floats(min_value=0, allow_nan=False, allow_infinity=False), st.sampled_from(["", ":warn"]))
def test_a_rule_is_read_as_it_is_written(mph: float, action: str) -> None:
    rule = rule_named(f"plausible_speed:max_mph={mph!r}{action}")
    assert (rule.parameters, rule.action == WARN) == ({"max_mph": mph}, bool(action))
    assert rule_named(str(rule)) == rule
    # In a shell, in YAML and in a list with commas, it stands as it is.
    assert not set(str(rule)) & set(" ,'\"()[]{}$&;|<>*?#!~`\\")
    assert yaml.safe_load(f"rules: {rule}") == {"rules": str(rule)}


def test_rules_look_at_what_each_service_calls_its_columns() -> None:
    found = {service.name: RULES["plausible_speed"].columns_in(service) for service in (YELLOW, GREEN, FHVHV)}
    assert found == {
        "yellow": ["tpep_pickup_datetime", "tpep_dropoff_datetime", "trip_distance"],
        "green": ["lpep_pickup_datetime", "lpep_dropoff_datetime", "trip_distance"],
        "fhvhv": ["pickup_datetime", "dropoff_datetime", "trip_miles"],
    }
    assert RULES["dropoff_after_pickup"].columns_in(FHV) == ["pickup_datetime", "dropoff_datetime"]
    assert RULES["plausible_fare"].columns_in(FHVHV) == ["base_passenger_fare"]


def test_the_page_about_rules_tells_all_of_them_with_their_parameters() -> None:
    page = (ROOT / "docs" / "rules.md").read_text()
    told = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|", page, re.MULTILINE)
    parameters = {name: tuple(re.findall(r"`(\w+=[\d.]+)`", text)) for name, text in told}
    assert parameters == {name: tuple(str(rule).split(":")[1:]) for name, rule in RULES.items()}
