"""The commands that load what is missing: the command line takes each, and a backfill can be made of it."""

import shlex
from collections.abc import Iterable
from datetime import date

from nyc_taxi.load.holding import Holding, Holdings
from nyc_taxi.months import Month
from nyc_taxi.report.coverage.commands import commands_for
from nyc_taxi.report.coverage.grid import CHANGED
from nyc_taxi.report.coverage.lines import Choice, Seen, lines_of

from ops.commands.backfill.command import command
from ops.commands.backfill.plan import plan_backfill
from ops.commands.pipelines import Checkout
from tests.taxi_lines import check

TODAY = date(2026, 11, 29)


def held(service: str, months: Iterable[str], origin: str = "dtc", rules: tuple[str, ...] | None = None) -> Holdings:
    return {(service, Month.parse(month)): Holding(5_000, origin=origin, rules=rules) for month in months}


def commands(seen: Seen, until: str = "2021-03") -> list[str]:
    """What is to be typed, after the command line has read it and a backfill was planned from it."""
    lines = lines_of(seen, Choice(since=Month(2021, 1), until=Month.parse(until), day=TODAY))
    found = commands_for(lines, seen.held)
    for line in found:
        check(line)
        words = shlex.split(line)[2:]
        given = command.make_context("backfill", list(words)).params
        plan = plan_backfill({name: value for name, value in given.items() if value is not None}, Checkout())
        assert plan.pipeline == words[0]
    return list(found)


def test_what_all_three_lack_comes_by_one_pipeline_and_the_rest_in_the_order_of_the_ways() -> None:
    seen = Seen(
        {
            "Postgres": held("yellow", ["2021-01"]),
            "bucket": held("yellow", ["2021-01", "2021-02"]),
            "BigQuery": held("yellow", ["2021-01"]),
        }
    )
    assert commands(seen, "2021-05") == [
        "taxi backfill api_to_postgres --service yellow --origin dtc --from 2021-02 --to 2021-02",
        "taxi backfill gcs_to_bigquery --service yellow --origin dtc --from 2021-02 --to 2021-02",
        "taxi backfill all_targets --service yellow --origin dtc --from 2021-03 --to 2021-05",
    ]


def test_what_bigquery_lacks_comes_through_the_bucket_where_nobody_knows_whether_it_is_there() -> None:
    seen = Seen({"BigQuery": held("green", ["2021-01", "2021-03"], "tlc")})
    assert commands(seen) == [
        "taxi backfill api_to_gcs --service green --origin tlc --from 2021-02 --to 2021-02",
        "taxi backfill gcs_to_bigquery --service green --origin tlc --from 2021-02 --to 2021-02",
    ]


def test_the_rules_of_the_neighbours_are_kept_and_the_services_own_need_no_option() -> None:
    by = {"none": (), "has_passengers,positive_distance": ("has_passengers", "positive_distance")}
    for text, rules in by.items():
        seen = Seen({"Postgres": held("green", ["2021-01", "2021-03"], rules=rules)})
        assert commands(seen) == [
            f"taxi backfill api_to_postgres --service green --origin dtc --rules {text} --from 2021-02 --to 2021-02"
        ]
    seen = Seen({"Postgres": held("green", ["2021-01", "2021-03"], rules=("has_passengers",))})
    assert "--rules" not in commands(seen)[0]


def test_where_targets_differ_all_that_hold_the_month_are_loaded_again() -> None:
    key = ("yellow", Month(2021, 1))
    seen = Seen(
        {
            "Postgres": {key: Holding(5, origin="dtc")},
            "bucket": {key: Holding(6, origin="dtc")},
            "BigQuery": {key: Holding(5)},
        }
    )
    assert commands(seen, "2021-01") == [
        "taxi backfill all_targets --service yellow --origin dtc --from 2021-01 --to 2021-01"
    ]


def test_a_trip_file_that_has_changed_is_loaded_again_where_it_was_and_nothing_else_is() -> None:
    seen = Seen({"Postgres": held("yellow", ["2021-01", "2021-02", "2021-03"])})
    lines = lines_of(seen, Choice(day=TODAY))
    assert commands_for(lines, seen.held) == ()
    changed = [type(line)(**{**vars(line), "trip_file": CHANGED}) if line.month.number == 2 else line for line in lines]
    assert commands_for(changed, seen.held) == (
        "taxi backfill api_to_postgres --service yellow --origin dtc --from 2021-02 --to 2021-02",
    )
