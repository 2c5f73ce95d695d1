"""What is seen of a stream while it runs: how far it is, and its last half hour."""

import asyncio
import time
from dataclasses import replace

import pytest
from nyc_taxi.live import look
from nyc_taxi.live.executor import LiveRun
from nyc_taxi.live.store import stored_position
from nyc_taxi.settings import Settings

from ops.paths import PROJECT
from tests.conftest import environment_of, sql
from tests.nyc_taxi.live.streaming import OwnBroker, delete_stream, on, publish, store_all, trips

CHARTS = ("live_progress", "live_trips_per_minute", "live_busiest_zones")


def row_of(run: LiveRun) -> dict[str, str]:
    """The row of the one stream, asked where an event loop runs, as in the kernel of Mage's editor."""

    async def asked() -> tuple[list[str], list[list[str]]]:
        return look.progress(run.settings)

    headings, [row] = asyncio.run(asked())
    return dict(zip(headings, row, strict=True))


def hold(run: LiveRun, pickup: str, *minutes: tuple[int, str, int]) -> Settings:
    """Tables of a stream as if these zones, minutes and trips were stored, and a trip of this pickup last."""
    settings = run.settings.postgres
    stored_position(settings, run.service)
    for zone, minute, count in minutes:
        sql(settings, f"INSERT INTO ny_taxi.live_zone_minutes VALUES ('yellow', {zone}, '{minute}', {count}, 0, 0)")
    sql(settings, f"UPDATE ny_taxi.live_position SET message = 1, stored_at = now(), pickup = '{pickup}'")
    return run.settings


def test_what_waits_is_told_with_the_age_of_the_oldest(run: LiveRun) -> None:
    publish(run.settings, *trips(5))
    store_all(run)
    assert row_of(run) | {"stored at": ""} == {
        "service": "yellow",
        "stored up to message": "5",
        "messages waiting": "0",
        "seconds behind": "0.0",
        "last pickup": "2021-01-01 00:04:10",
        "stored at": "",
    }
    publish(run.settings, *trips(3))
    time.sleep(0.2)
    assert row_of(run)["messages waiting"] == "3"
    assert 0.2 <= float(row_of(run)["seconds behind"]) < 10


def test_without_broker_or_stream_the_database_tells_what_it_knows(
    run: LiveRun, broker: OwnBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(run.settings, *trips(2))
    store_all(run)
    on(run.settings, delete_stream)
    row = row_of(run)
    assert (row["stored up to message"], row["messages waiting"]) == ("2", "0")
    capsys.readouterr()
    nobody = replace(run.settings.broker, url="nats://127.0.0.1:1")
    row = row_of(replace(run, settings=replace(run.settings, broker=nobody)))
    assert (row["stored up to message"], row["messages waiting"]) == ("2", "?")
    assert row["seconds behind"] == "?"
    told = "NATS at nats://127.0.0.1:1 does not answer: nobody knows what waits there\n"
    assert capsys.readouterr().out == told


def test_the_last_half_hour_of_pickups_is_drawn_minute_by_minute(run: LiveRun) -> None:
    before, first, last = ("2021-01-01 23:40", "2021-01-01 23:41", "2021-01-02 00:10")
    settings = hold(run, f"{last}:30", (142, before, 9), (142, first, 2), (7, first, 1), (142, last, 4))
    minutes, counts = look.trips_per_minute(settings)
    assert (len(minutes), minutes[0], minutes[-1]) == (look.MINUTES_SHOWN, "23:41", "00:10")
    assert (counts[0], counts[-1], sum(counts)) == (3, 4, 7)
    assert look.busiest_zones(settings) == (["zone 142", "zone 7"], [6, 1])


def test_zones_have_names_where_those_are_loaded_and_no_more_than_ten_are_drawn(run: LiveRun) -> None:
    minute = "2021-01-01 00:00"
    settings = hold(run, f"{minute}:30", *((zone, minute, zone) for zone in range(1, 15)))
    sql(settings.postgres, "CREATE TABLE ny_taxi.taxi_zones AS SELECT 14 AS location_id, 'Bay Ridge' AS zone")
    zones, counts = look.busiest_zones(settings)
    assert zones == ["Bay Ridge", *(f"zone {number}" for number in range(13, 4, -1))]
    assert counts == list(range(14, 4, -1))


@pytest.mark.parametrize("chart", CHARTS)
def test_a_chart_draws_nothing_and_says_why_before_anything_is_stored(
    chart: str, run: LiveRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = environment_of(run.settings.postgres) | {"NATS_URL": run.settings.broker.url}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    code, found = (PROJECT / "charts" / f"{chart}.py").read_text(), dict[str, object]()
    exec(code, found)  # noqa: S102  Mage runs a chart's file so
    assert list(found.values())[-2:] == [[], []]
    assert capsys.readouterr().out == "nothing to draw yet: taxi live replays a month, and live_trips stores it\n"
    monkeypatch.setenv("POSTGRES_PORT", "1")
    exec(code, found)  # noqa: S102
    [line] = capsys.readouterr().out.splitlines()
    assert "127.0.0.1:1" in line
