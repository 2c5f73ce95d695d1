"""Months are read strictly, counted across years and bounded half-open."""

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nyc_taxi.months import Month, month_range

MONTHS = st.builds(Month, st.integers(2000, 2099), st.integers(1, 12))


@pytest.mark.parametrize(("text", "month"), [("2021-01", Month(2021, 1)), ("1999-12", Month(1999, 12))])
def test_a_month_is_read_from_year_and_number(text: str, month: Month) -> None:
    assert Month.parse(text) == month


@pytest.mark.parametrize(
    "text", ["", "2021", "2021-1", "2021-00", "2021-13", "2021-01-01", "21-01", "2021/01", " 2021-01", "2021-01\n"]
)
def test_anything_else_is_refused_with_the_form_that_is_meant(text: str) -> None:
    with pytest.raises(ValueError, match="is not of the form YYYY-MM, such as 2021-01") as refused:
        Month.parse(text)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize(
    ("months", "expected"),
    [
        (0, "2021-01"),
        (1, "2021-02"),
        (11, "2021-12"),
        (12, "2022-01"),
        (-1, "2020-12"),
        (-13, "2019-12"),
        (25, "2023-02"),
    ],
)
def test_a_shift_goes_across_years(months: int, expected: str) -> None:
    assert str(Month(2021, 1).shift(months)) == expected


@settings(deadline=None)
@given(MONTHS, st.integers(-500, 500))
def test_a_shift_there_and_back_ends_where_it_began(month: Month, months: int) -> None:
    there = month.shift(months)
    assert there.shift(-months) == month
    assert (there.year - month.year) * 12 + there.number - month.number == months
    assert 1 <= there.number <= 12


def test_the_bounds_hold_the_first_moment_and_not_the_next_months() -> None:
    assert Month(2020, 12).bounds() == (datetime(2020, 12, 1), datetime(2021, 1, 1))
    assert Month(2020, 2).bounds() == (datetime(2020, 2, 1), datetime(2020, 3, 1))


@settings(deadline=None)
@given(MONTHS)
def test_the_bounds_of_neighbours_meet(month: Month) -> None:
    start, end = month.bounds()
    assert end == month.shift(1).bounds()[0]
    assert start.date() == month.first_day
    assert Month.of(start) == Month.of(end - timedelta(microseconds=1)) == month


def test_the_month_of_a_day_holds_it() -> None:
    assert Month.of(date(2021, 1, 31)) == Month.of(datetime(2021, 1, 1, 23, 59)) == Month(2021, 1)


def test_a_range_has_both_ends_and_is_empty_backwards() -> None:
    assert list(map(str, month_range(Month(2020, 11), Month(2021, 2)))) == ["2020-11", "2020-12", "2021-01", "2021-02"]
    assert list(month_range(Month(2021, 1), Month(2021, 1))) == [Month(2021, 1)]
    assert list(month_range(Month(2021, 2), Month(2021, 1))) == []


@settings(deadline=None)
@given(MONTHS, MONTHS)
def test_months_sort_by_time_and_so_does_their_print(one: Month, other: Month) -> None:
    assert (one < other) == (one.first_day < other.first_day) == (str(one) < str(other))


@settings(deadline=None)
@given(MONTHS)
def test_what_a_month_prints_is_read_back(month: Month) -> None:
    assert Month.parse(str(month)) == month


def test_a_month_prints_with_a_leading_zero() -> None:
    assert f"{Month(2021, 7)}" == "2021-07"
