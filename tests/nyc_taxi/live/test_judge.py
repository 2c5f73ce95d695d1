"""From messages to rows: by the batch side's rules, each message in one place, whatever it is."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nyc_taxi.catalog.services import SERVICES, service_named
from nyc_taxi.errors import UnknownName
from nyc_taxi.live.executor import live_run
from nyc_taxi.live.judge import Judged, judge, rules_of_a_stream
from nyc_taxi.live.reader import Piece

YELLOW = service_named("yellow")
RULES = rules_of_a_stream(["has_passengers"])
TRIP = {"tpep_pickup_datetime": "2021-01-01T00:30:10", "passenger_count": 1, "fare_amount": 3.5}


def judged(*messages: Mapping[str, object] | bytes, first: int = 1) -> Judged:
    bodies = tuple(one if isinstance(one, bytes) else json.dumps(one).encode() for one in messages)
    return judge(Piece(first, bodies, "now", 0.0), YELLOW, RULES)


def places(found: Judged) -> tuple[list[int], list[int], list[int]]:
    accepted, rejected, others = (
        part["message"].to_pylist() for part in (found.accepted, found.rejected, found.not_trips)
    )
    return accepted, rejected, others


def test_accepted_rejected_and_what_is_no_trip_keep_their_numbers() -> None:
    found = judged(TRIP, TRIP | {"passenger_count": 0}, b"hello", TRIP, first=41)
    assert places(found) == ([41, 44], [42], [43])
    assert found.rejected["reason"].to_pylist() == ["no_passengers"]
    assert found.not_trips.to_pylist() == [{"message": 43, "reason": "no JSON object", "body": "hello"}]
    assert found.accepted["fare_amount"].to_pylist() == [3.5, 3.5]


def test_a_trip_without_a_time_of_pickup_is_rejected() -> None:
    found = judged({"passenger_count": 1}, TRIP)
    assert places(found) == ([2], [1], [])
    assert found.rejected["reason"].to_pylist() == ["malformed: tpep_pickup_datetime"]


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "no JSON object"),
        (b"null", "no JSON object"),
        (b"[]", "no JSON object"),
        (b"\xff\xfe\x00", "no JSON object"),
        (b"{}{}", "more than one JSON object"),
        (b'{"fare_amount": "3.5"}', "JSON parse error: Column(/fare_amount) changed from number to string in row 0"),
        (b'{"passenger_count": 1.5}', "could not be read"),
        (b'{"VendorID": 3000000000}', "could not be read"),
        (b'{"tpep_pickup_datetime": "soon"}', "could not be read"),
        (b'{"fare_amount": 1e999}', "JSON parse error: Number too big"),
        (b'{"fare_amount": NaN}', "fare_amount is no number from -1,000,000,000,000 to 1,000,000,000,000"),
        (b'{"fare_amount": -1e300}', "fare_amount is no number from"),
        (b'{"passenger_count": 9223372036854775807}', "passenger_count is no number from"),
        (b'{"passenger_count": -9223372036854775808}', "passenger_count is no number from"),
        (b'{"tpep_dropoff_datetime": "0000-12-31T00:00:00"}', "tpep_dropoff_datetime is before 0001-01-02"),
        (b'{"tpep_pickup_datetime": "2021-01-01T00:30:10Z"}', "Failed to parse string: '2021-01-01T00:30:10Z'"),
        (b'{"tpep_pickup_datetime": "2021-01-01T00:30:10-05:00"}', "Failed to parse string"),
        (b'{"file_month": "0000-01-01"}', "file_month is before"),
        (b'{"store_and_fwd_flag": "\xff"}', "no UTF-8"),
        (b'{"\xff": 1}', "no UTF-8"),
        (b'{"request_source": "a\\u0000b"}', "request_source has a zero byte"),
        (b'{"a": {"b": 1}', "JSON parse error"),
    ],
)
def test_what_is_no_trip_is_kept_with_the_reason_and_the_others_go_on(message: bytes, why: str) -> None:
    found = judged(TRIP, message, TRIP)
    assert places(found) == ([1, 3], [], [2])
    [said] = found.not_trips["reason"].to_pylist()
    assert said.startswith(why) or why == "could not be read"
    assert "\0" not in found.not_trips["body"].to_pylist()[0]


def test_one_object_over_two_messages_and_two_in_one_do_not_make_up_for_each_other() -> None:
    found = judged(b'{"passenger_count": 1', b"}", b'{"passenger_count": 2}{"passenger_count": 3}')
    assert places(found) == ([], [], [1, 2, 3])


@settings(deadline=None)  # the machine has other tests to run
@given(
    st.lists(
        st.one_of(st.just(json.dumps(TRIP).encode()), st.binary(max_size=40), st.text('{}[]",:1 \n').map(str.encode))
    )
)
def test_every_message_is_in_one_place(bodies: list[bytes]) -> None:
    accepted, rejected, others = places(judged(*bodies, first=7))
    assert sorted(accepted + rejected + others) == list(range(7, 7 + len(bodies)))


def test_a_field_that_no_column_is_for_is_left_out_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        found = judged(TRIP | {"robot": True}, TRIP | {"robot": "no"}, TRIP)
    assert places(found) == ([1, 2, 3], [], [])
    assert capsys.readouterr().out.count("WARNING messages have a field robot, which no column is for") == 1


@pytest.mark.parametrize(
    "value",
    [b"[1, {}]", b"[" * 200_000 + b"]" * 200_000, b'{"a":' * 150_000 + b"1" + b"}" * 150_000, b"9" * 500_000],
    ids=["of two types", "deep list", "deep object", "long number"],
)
def test_a_field_that_no_column_is_for_may_hold_anything(value: bytes) -> None:
    odd = json.dumps(TRIP).encode()[:-1] + b', "odd": ' + value + b"}"
    assert places(judged(TRIP, odd, TRIP)) == ([1, 2, 3], [], [])


@pytest.mark.parametrize("service", SERVICES)
def test_the_rules_of_every_service_can_judge_its_stream(service: str) -> None:
    assert live_run({"service": service}).service.name == service


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"rules": "in_month"}, "rule in_month looks at a whole month: a stream has none, leave it out"),
        (
            {"rules": "plausible_speed:warn"},
            "rule plausible_speed:warn:max_mph=100: nobody counts warnings in a stream",
        ),
        ({"service": "purple"}, "service 'purple' is not one of yellow, green, fhv, fhvhv"),
        ({"messages_at_once": 0}, "messages_at_once '0' is not a number from 1 to 100,000"),
        ({"until_idle": "soon"}, "until_idle 'soon' is not a number from 0"),
    ],
)
def test_a_run_that_cannot_be_is_refused_in_one_line(variables: dict[str, object], why: str) -> None:
    with pytest.raises(UnknownName) as refused:
        live_run(variables)
    assert str(refused.value).startswith(why)
