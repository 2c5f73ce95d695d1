"""A run is what its variables say; one that cannot be is refused before anything is fetched."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from nyc_taxi.catalog.services import GREEN, YELLOW
from nyc_taxi.errors import DownloadFailed, UnknownName
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.months import Month
from nyc_taxi.run import RunContext, execution_day, run_context, service_and_month
from nyc_taxi.settings import Settings
from nyc_taxi.transform.rules import RULES

from ops.ports import free_port

NEW_YORK = timezone(timedelta(hours=-5))


@pytest.fixture
def offline(tmp_path: Path) -> Settings:
    """Settings whose origins are closed ports: whatever goes to the network fails with DownloadFailed."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    return replace(
        Settings.from_environment({}), base_urls={"dtc": nowhere, "tlc": nowhere}, staging_dir=tmp_path / "staging"
    )


def context(settings: Settings, **variables: object) -> RunContext:
    return run_context(variables, settings)


@pytest.mark.parametrize(
    "when",
    [
        "2021-01-15",
        "2021-01-15T10:00:00",
        "2021-01-15 10:00:00.123456",
        "2021-01-15T10:00:00+00:00",
        "2021-01-15T10:00:00Z",
        " 2021-01-15 ",
        datetime(2021, 1, 15, 10),
        datetime(2021, 1, 15, 10, tzinfo=UTC),
        datetime(2021, 1, 15, 10, tzinfo=NEW_YORK),
        date(2021, 1, 15),
    ],
)
def test_the_month_is_that_of_the_execution_date(offline: Settings, when: object) -> None:
    assert context(offline, execution_date=when).month == Month(2021, 1)


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_without_month_and_execution_date_the_message_names_both(offline: Settings, nothing: object) -> None:
    with pytest.raises(UnknownName, match=r"no month: give the variable month \(YYYY-MM\), or run with an execution_d"):
        context(offline, execution_date=nothing)
    with pytest.raises(UnknownName, match="no month"):
        context(offline)


def test_an_execution_date_that_is_none_is_named(offline: Settings) -> None:
    with pytest.raises(UnknownName, match="execution_date 'yesterday' is not a date such as 2021-01-31T00:00:00"):
        context(offline, execution_date="yesterday")


def test_a_run_by_hand_takes_the_default_date_and_a_scheduled_one_never_does(offline: Settings) -> None:
    now = datetime(2026, 11, 21, 8, 0)
    by_hand: list[dict[str, object]] = [{}, {"execution_date": None}, {"execution_date": now, "env": "dev"}]
    for given in by_hand:
        assert context(offline, default_date="2021-01-05", **given).month == Month(2021, 1), given
    scheduled = context(offline, default_date="2021-01-05", execution_date=datetime(2020, 10, 31), pipeline_run_id=7)
    assert scheduled.month == Month(2020, 10)
    assert context(offline, default_date="2021-01-05", execution_date="2020-10-31").month == Month(2020, 10)
    assert context(offline, default_date="2021-01-05", month="2020-11").month == Month(2020, 11)
    assert execution_day({"default_date": "2021-01-05", "execution_date": now}) == date(2021, 1, 5)


def test_a_default_date_that_is_none_is_named(offline: Settings) -> None:
    with pytest.raises(UnknownName, match="default_date 'soon' is not a date such as 2021-01-31T00:00:00"):
        context(offline, default_date="soon")


@pytest.mark.parametrize(
    ("origin", "month", "day"), [("dtc", "2021-07", date(2021, 7, 1)), ("tlc", "2026-08", date(2026, 8, 1))]
)
def test_a_run_by_hand_in_a_pipeline_of_ones_own_takes_the_newest_month_that_is_surely_there(
    origin: str, month: str, day: date, offline: Settings
) -> None:
    now = datetime(2026, 11, 29, 12, tzinfo=UTC)
    by_hand = {"origin": origin, "execution_date": now}
    assert str(context(offline, **by_hand).month) == month
    assert execution_day(by_hand) == day
    assert str(service_and_month(by_hand)[1]) == month
    assert str(context(offline, **by_hand, month="2021-01").month) == "2021-01"
    assert execution_day({**by_hand, "pipeline_run_id": 7}) == now.date()
    with pytest.raises(UnknownName, match="origin 'nowhere' is not one of dtc, tlc"):
        execution_day({**by_hand, "origin": "nowhere"})


def test_a_given_month_wins_over_execution_date_and_offset(offline: Settings) -> None:
    run = context(offline, month=" 2020-11 ", execution_date="2021-01-15", month_offset=-2)
    assert run.month == Month(2020, 11)


@pytest.mark.parametrize(
    ("offset", "month"), [(-2, "2020-11"), ("-2", "2020-11"), (0, "2021-01"), ("", "2021-01"), (1, "2021-02")]
)
def test_the_offset_moves_the_month_of_the_execution_date(offline: Settings, offset: object, month: str) -> None:
    assert str(context(offline, execution_date="2021-01-15", month_offset=offset).month) == month


@pytest.mark.parametrize("day", [29, 30, 31])
def test_the_last_days_of_a_month_give_the_same_month_as_its_first(offline: Settings, day: int) -> None:
    # February has none of these days, or only the first of them.
    run = context(offline, execution_date=datetime(2021, 3, day, 23, 59, 59), month_offset=-1)
    assert run.month == Month(2021, 2)


def test_an_offset_that_is_no_number_is_named(offline: Settings) -> None:
    with pytest.raises(UnknownName, match="month_offset 'two' is not a whole number of months such as -2"):
        context(offline, execution_date="2021-01-15", month_offset="two")


def test_without_variables_but_a_month_it_is_a_yellow_run_of_the_csv_origin(offline: Settings) -> None:
    run = context(offline, month="2021-01")
    assert (run.service.name, run.origin.name, run.rules) == ("yellow", "dtc", ("has_passengers",))
    assert str(run) == "yellow 2021-01 (dtc)"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"service": "purple"}, "service 'purple' is not one of yellow, green, fhv, fhvhv"),
        ({"service": "Yellow"}, "service 'Yellow' is not one of yellow, green, fhv, fhvhv; did you mean yellow?"),
        ({"origin": "ftp"}, "origin 'ftp' is not one of dtc, tlc"),
        ({"month": "2021-13"}, "month '2021-13' is not of the form YYYY-MM, such as 2021-01"),
        ({"month": "January"}, "month 'January' is not of the form YYYY-MM, such as 2021-01"),
        ({"rules": "has_fun"}, f"rule 'has_fun' is not one of {', '.join(RULES)} (or none)"),
        ({"rules": "has_passengers,none"}, "rules has_passengers, none: none stands alone, or the others without it"),
        ({"rules": ["has_passengers", "x"]}, f"rule 'x' is not one of {', '.join(RULES)} (or none)"),
        (
            {"month": "2022-01"},
            "yellow 2022-01 does not exist at origin dtc, which has 2019-01 to 2021-07: choose another "
            "month, or origin tlc",
        ),
        (
            {"month": "2018-12", "service": "green"},
            "green 2018-12 does not exist at origin dtc, which has 2019-01 to 2021-07: choose another "
            "month, or origin tlc",
        ),
        (
            {"month": "2008-12", "origin": "tlc"},
            "yellow 2008-12 does not exist at origin tlc, which has 2009-01 to about two months ago: "
            "choose another month",
        ),
        (
            {"month": "2013-07", "origin": "tlc", "service": "green"},
            "green 2013-07 does not exist at origin tlc, which has 2013-08 to about two months ago: "
            "choose another month",
        ),
    ],
)
def test_what_does_not_exist_is_named_with_what_does_before_any_request(
    offline: Settings, variables: Mapping[str, object], message: str
) -> None:
    with pytest.raises(UnknownName) as refused:
        stage_trip_file(run_context({"month": "2021-01"} | dict(variables), offline))
    assert str(refused.value) == message
    assert not offline.staging_dir.exists()


def test_the_same_settings_do_reach_for_the_network_with_good_names(
    offline: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nyc_taxi.extract.http.sleep", lambda seconds: None)
    with pytest.raises(DownloadFailed, match="Connection refused"):
        stage_trip_file(context(offline, month="2021-01"))


@pytest.mark.parametrize(
    ("service", "month", "origin"),
    [("yellow", "2019-01", "dtc"), ("yellow", "2021-07", "dtc"), ("yellow", "2009-01", "tlc"),
     ("green", "2013-08", "tlc"), ("fhv", "2015-01", "tlc"), ("fhvhv", "2019-02", "tlc"), ("yellow", "2026-06", "tlc")],
)  # fmt: skip
def test_the_ends_of_an_origin_belong_to_it(offline: Settings, service: str, month: str, origin: str) -> None:
    assert str(context(offline, service=service, month=month, origin=origin)) == f"{service} {month} ({origin})"


@pytest.mark.parametrize(
    ("given", "rules"),
    [
        (None, ("has_passengers",)),
        ("", ("has_passengers",)),
        ("  ", ("has_passengers",)),
        ([], ("has_passengers",)),
        ("none", ()),
        (["none"], ()),
        ("positive_distance", ("positive_distance",)),
        ("has_passengers,positive_distance", ("has_passengers", "positive_distance")),
        (" positive_distance , has_passengers ,", ("positive_distance", "has_passengers")),
        (["has_passengers", "positive_distance"], ("has_passengers", "positive_distance")),
        (("positive_distance",), ("positive_distance",)),
    ],
)
def test_rules_come_as_text_or_list_and_their_order_is_kept(
    offline: Settings, given: object, rules: tuple[str, ...]
) -> None:
    assert context(offline, month="2021-01", rules=given).rules == rules


@pytest.mark.parametrize(
    ("service", "rules"),
    [("yellow", ("has_passengers",)), ("green", ("has_passengers",)), ("fhv", ()), ("fhvhv", ())],
)
def test_each_service_has_its_own_rules(offline: Settings, service: str, rules: tuple[str, ...]) -> None:
    assert context(offline, service=service, month="2021-01").rules == rules


@pytest.mark.parametrize(
    ("service", "rule", "column"),
    [("fhv", "has_passengers", "passenger_count"), ("fhvhv", "positive_distance", "trip_distance")],
)
def test_a_rule_on_a_column_that_the_service_does_not_have_is_refused(
    offline: Settings, service: str, rule: str, column: str
) -> None:
    with pytest.raises(UnknownName, match=f"rule '{rule}' looks at {column}, which {service} does not have"):
        context(offline, service=service, month="2021-01", rules=rule)


def test_a_run_of_the_lake_has_a_service_and_a_month_of_any_year() -> None:
    assert service_and_month({"month": "2021-01"}) == (YELLOW, Month(2021, 1))
    assert service_and_month({"service": " green ", "month": "1999-12"}) == (GREEN, Month(1999, 12))
    moved = {"service": "green", "execution_date": datetime(2021, 3, 31, tzinfo=UTC), "month_offset": "-1"}
    assert service_and_month(moved) == (GREEN, Month(2021, 2))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"service": "purple", "month": "2021-01"}, "service 'purple' is not one of yellow, green, fhv, fhvhv"),
        ({"month": "2021-1"}, "month '2021-1' is not of the form YYYY-MM, such as 2021-01"),
        ({}, "no month: give the variable month (YYYY-MM), or run with an execution_date"),
    ],
)
def test_a_run_of_the_lake_that_cannot_be_is_refused(variables: Mapping[str, object], message: str) -> None:
    with pytest.raises(UnknownName) as refused:
        service_and_month(variables)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    "when",
    [
        "2021-01-31",
        "2021-01-31T23:59:59.999999",
        " 2021-01-31T05:00:00Z ",
        "2021-01-31T23:00:00-05:00",
        datetime(2021, 1, 31, 23, 59, 59),
        datetime(2021, 1, 31, tzinfo=UTC),
        datetime(2021, 1, 31, 23, tzinfo=NEW_YORK),
        date(2021, 1, 31),
    ],
)
def test_the_day_is_that_of_the_execution_date_as_it_is_written(when: object) -> None:
    day = execution_day({"execution_date": when})
    assert day == date(2021, 1, 31)
    assert type(day) is date  # a datetime would compare unequal to it, and print with a time


@pytest.mark.parametrize("variables", [{}, {"execution_date": None}, {"execution_date": ""}, {"execution_date": "  "}])
def test_without_an_execution_date_there_is_no_day(variables: Mapping[str, object]) -> None:
    with pytest.raises(UnknownName) as refused:
        execution_day(variables)
    assert str(refused.value) == "no execution_date: give it as YYYY-MM-DD, or run by a trigger or a backfill"


def test_an_execution_date_that_is_no_date_is_no_day() -> None:
    with pytest.raises(UnknownName, match="execution_date 'yesterday' is not a date such as 2021-01-31T00:00:00"):
        execution_day({"execution_date": "yesterday"})
