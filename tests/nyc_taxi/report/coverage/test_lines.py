"""The grid's rules, on what targets might tell: held, differing, failed, missing, unusual."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from nyc_taxi.load.holding import Holding, Holdings
from nyc_taxi.load.postgres.held import FailedLoad
from nyc_taxi.months import Month
from nyc_taxi.report.coverage.grid import CHANGED, Coverage, in_short, shown
from nyc_taxi.report.coverage.lines import Choice, Seen, lines_of

TODAY = date(2026, 11, 29)
LOADED_AT = datetime(2026, 1, 5, tzinfo=UTC)
BROKEN = "DownloadFailed: broken"


def told(rows: int, origin: str = "dtc", **more: object) -> Holding:
    return Holding(rows, origin=origin, loaded_at=LOADED_AT, **more)  # type: ignore[arg-type]


def months(service: str = "yellow", **rows: int) -> Holdings:
    """`_2021_01=5` for the rows of a month."""
    return {(service, Month(int(name[1:5]), int(name[6:]))): told(number) for name, number in rows.items()}


def failure(month: str, pipeline: str, block: str = "load_api_data", day: int = 6) -> FailedLoad:
    return FailedLoad(("yellow", Month.parse(month)), pipeline, block, BROKEN, datetime(2026, 1, day, tzinfo=UTC))


def grid(seen: Seen, **chosen: object) -> dict[str, list[str]]:
    """The cells of each month as they are shown, in the order of the targets."""
    lines = lines_of(seen, Choice(day=TODAY, **chosen))  # type: ignore[arg-type]
    return {f"{line.service} {line.month}": [shown(line, target) for target in line.cells] for line in lines}


def remarks(seen: Seen) -> list[str]:
    return [text for line in lines_of(seen, Choice(day=TODAY)) for text in line.remarks]


def test_a_month_between_those_that_are_held_is_missing() -> None:
    seen = Seen({"Postgres": months(_2021_01=5_000, _2021_03=5_100), "bucket": months(_2021_02=4_900)})
    assert grid(seen) == {
        "yellow 2021-01": ["5.0k", "-"],
        "yellow 2021-02": ["-", "4.9k"],
        "yellow 2021-03": ["5.1k", "-"],
    }
    coverage = Coverage(tuple(seen.held), lines_of(seen, Choice(day=TODAY)), ())
    assert coverage.missing == ["yellow, Postgres: 2021-02", "yellow, bucket: 2021-01, 2021-03"]


def test_a_span_is_as_chosen_and_what_is_not_published_yet_is_not_missing() -> None:
    held: Holdings = {("yellow", Month(2026, 7)): told(3_000, "tlc")}
    cells = grid(Seen({"Postgres": held}), since=Month(2026, 6), until=Month(2026, 10))
    assert cells == {
        "yellow 2026-06": ["-"],
        "yellow 2026-07": ["3.0k"],
        "yellow 2026-08": ["-"],
        "yellow 2026-09": ["."],  # published at the end of November, perhaps
        "yellow 2026-10": ["."],
    }


def test_a_service_of_which_nothing_is_known_is_shown_only_when_it_is_asked_for() -> None:
    seen = Seen({"Postgres": months(_2021_01=5)})
    assert list(grid(seen)) == ["yellow 2021-01"]
    assert grid(seen, services=("green",), since=Month(2021, 1), until=Month(2021, 1)) == {"green 2021-01": ["-"]}
    assert grid(seen, services=("green",)) == {}
    assert grid(Seen({})) == {}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (told(99), "bucket: differs, 99 rows, Postgres has 100"),
        (told(100, sums={"a": 2.0}), "bucket: differs, sums {'a': 2.0}, Postgres has {'a': 1.0}"),
        (told(100, trip_file="other"), "bucket: differs, made of another version of the trip file than Postgres"),
        (told(100, rules=()), "bucket: differs, by rules none, Postgres by has_passengers"),
        (told(100, odd=("it has no day objects",)), "bucket: differs, it has no day objects"),
        (told(100, sums={"a": 1.0 + 1e-12}, trip_file="one", rules=("has_passengers",)), ""),
        (Holding(100), ""),
    ],
)
def test_targets_differ_in_what_both_tell(other: Holding, said: str) -> None:
    key = ("yellow", Month(2021, 1))
    first = told(100, sums={"a": 1.0}, trip_file="one", rules=("has_passengers",))
    seen = Seen({"Postgres": {key: first}, "bucket": {key: other}})
    assert remarks(seen) == ([said] if said else [])
    assert grid(seen)["yellow 2021-01"] == ["100", "100!" if said and other.rows == 100 else "99!" if said else "100"]


def test_a_failure_is_of_the_target_that_its_pipeline_or_block_names_and_only_while_nothing_later_is_held() -> None:
    held = {"Postgres": months(_2021_01=7, _2021_02=7), "bucket": months(_2021_01=7), "BigQuery": months(_2021_01=7)}

    def cells(month: str, *given: FailedLoad) -> list[str]:
        return grid(Seen(held, given))[f"yellow {month}"]

    assert cells("2021-02", failure("2021-02", "api_to_gcs")) == ["7", "x", "-"]
    assert cells("2021-02", failure("2021-02", "gcs_to_bigquery")) == ["7", "-", "x"]
    assert cells("2021-01", failure("2021-01", "api_to_postgres")) == ["7x", "7", "7"]
    assert cells("2021-01", failure("2021-01", "api_to_postgres", day=4)) == ["7", "7", "7"]
    assert cells("2021-01", failure("2021-01", "all_targets", "taxi_to_gcs_parquet")) == ["7", "7x", "7"]
    assert cells("2021-01", failure("2021-01", "all_targets")) == ["7x", "7x", "7x"]
    assert cells("2021-01", failure("2021-01", "api_to_gcs_parameterized", "daily_trips_to_gcs")) == ["7", "7", "7"]
    assert cells("2021-07", failure("2021-07", "api_to_postgres")) == ["x", "-", "-"]
    said = remarks(Seen(held, [failure("2021-01", "api_to_postgres")]))
    assert said == [f"Postgres: failed, api_to_postgres on 2026-01-06: {BROKEN}; the month is there as it was before"]


def test_a_failure_far_from_what_is_held_makes_no_month_between_them_missing() -> None:
    seen = Seen({"Postgres": months(_2021_01=7)}, [failure("2021-06", "api_to_postgres")])
    assert grid(seen) == {"yellow 2021-01": ["7"], "yellow 2021-06": ["x"]}


def unusual(rows: dict[str, int]) -> list[str]:
    held = {("yellow", Month.parse(month)): told(number) for month, number in rows.items()}
    return [str(line.month) for line in lines_of(Seen({"Postgres": held}), Choice(day=TODAY)) if line.unusual]


def test_rows_are_unusual_outside_the_widened_range_of_neighbours_and_of_the_year_before() -> None:
    around = {"2021-01": 1_000, "2021-02": 1_100, "2021-04": 900, "2021-05": 1_000}
    assert unusual(around | {"2021-03": 599}) == ["2021-03"]
    assert unusual(around | {"2021-03": 600}) == []
    assert unusual(around | {"2021-03": 1_650}) == []
    assert unusual(around | {"2021-03": 1_651}) == ["2021-03"]
    assert unusual(around | {"2021-03": 1_651, "2020-03": 1_400}) == []


def test_an_odd_month_does_not_make_its_neighbours_unusual_nor_is_one_judged_by_a_single_other() -> None:
    assert unusual({"2021-01": 1_000, "2021-02": 1_100, "2021-03": 90, "2021-04": 900, "2021-05": 1_000}) == ["2021-03"]
    assert unusual({"2021-01": 1_000, "2021-02": 10}) == []


def test_the_newest_month_is_judged_by_those_before_it_and_the_pandemic_of_yellow_is_not_unusual() -> None:
    assert unusual({"2021-01": 1_000, "2021-02": 1_000, "2021-03": 500}) == ["2021-03"]
    thousands = (7_667, 7_019, 7_832, 7_433, 7_565, 6_941, 6_310, 6_073, 6_567, 7_213, 6_878, 6_896)
    pandemic = (6_405, 6_299, 3_007, 238, 348, 550, 800, 1_007, 1_341, 1_681, 1_509, 1_462)
    real = {f"2019-{number:02d}": rows for number, rows in enumerate(thousands, start=1)}
    assert unusual(real | {f"2020-{number:02d}": rows for number, rows in enumerate(pandemic, start=1)}) == []


def test_a_month_that_is_not_held_is_expected_from_where_its_nearest_neighbour_came() -> None:
    held = {("yellow", Month(2021, 1)): told(5, "tlc", rules=()), ("yellow", Month(2021, 5)): told(5, "dtc")}
    lines = lines_of(Seen({"Postgres": held}), Choice(until=Month(2021, 9), day=TODAY))
    assert [line.origin for line in lines] == ["tlc", "tlc", "tlc", "dtc", "dtc", "dtc", "dtc", "tlc", "tlc"]
    assert lines[1].rules == ()


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1_234, "1.2k"),
        (9_960, "10k"),
        (999_400, "999k"),
        (999_600, "1.0M"),
        (14_092_413, "14M"),
    ],
)
def test_rows_are_told_in_four_characters(rows: int, text: str) -> None:
    assert in_short(rows) == text
    assert len(text) <= 4


def test_a_mark_tells_the_worst() -> None:
    [line] = lines_of(Seen({"Postgres": months(_2021_01=1_369_765)}), Choice(day=TODAY))
    assert shown(replace(line, trip_file=CHANGED, unusual="why"), "Postgres") == "1.4M*"
    assert shown(replace(line, unusual="why"), "Postgres") == "1.4M~"
    assert shown(line, "Postgres") == "1.4M"
