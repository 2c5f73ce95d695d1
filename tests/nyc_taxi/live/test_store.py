"""What is stored of a stream: each message once, with the position; never half, and never silently anew."""

import json
from dataclasses import replace
from itertools import zip_longest

import psycopg2
import pytest
from nyc_taxi.catalog.columns import REAL, Column
from nyc_taxi.errors import StreamRefused, TargetUnavailable
from nyc_taxi.live.executor import LiveRun
from nyc_taxi.live.reader import Piece
from nyc_taxi.live.store import stored_position
from nyc_taxi.settings import PostgresSettings

from tests.conftest import sql
from tests.nyc_taxi.live.streaming import TRIP, YELLOW, held, publish, store_all, trips

MINUTES = "SELECT zone, minute::text, trips, passengers, revenue FROM ny_taxi.live_zone_minutes ORDER BY 1, 2"


def test_every_message_is_in_one_table_and_the_position_after_the_last(
    run: LiveRun, database: PostgresSettings
) -> None:
    publish(run.settings, TRIP, TRIP | {"passenger_count": 0}, b"hello", TRIP)
    assert store_all(run) >= 1
    assert held(database) == [1, 4]
    assert sql(database, "SELECT message, reason FROM ny_taxi.yellow_cab_data_live_rejected") == [(2, "no_passengers")]
    assert sql(database, "SELECT * FROM ny_taxi.live_not_trips") == [("yellow", 3, "no JSON object", "hello")]
    [(last, pickup, behind)] = sql(database, "SELECT message, pickup::text, behind_seconds FROM ny_taxi.live_position")
    assert (last, pickup) == (4, "2021-01-01 00:30:10")
    assert isinstance(behind, float)
    assert 0 <= behind < 5


def test_a_message_twice_is_stored_once(run: LiveRun, database: PostgresSettings) -> None:
    publish(run.settings, *trips(5))
    store_all(run)
    bodies = tuple(json.dumps(trip).encode() for trip in trips(6))
    store = run.store()
    store.write(run.judged(Piece(1, bodies[:5], "", 0.0)))
    store.write(run.judged(Piece(4, bodies[3:], "", 0.0)))
    store.write(run.judged(Piece(1, bodies[:5], "", 0.0)))
    store.close()
    assert held(database) == [1, 2, 3, 4, 5, 6]
    assert sql(database, "SELECT sum(trips) FROM ny_taxi.live_zone_minutes") == [(6,)]
    assert stored_position(database, YELLOW).last == 6


def test_a_piece_that_would_leave_messages_out_is_refused(run: LiveRun, database: PostgresSettings) -> None:
    publish(run.settings, *trips(5))
    store_all(run)
    with pytest.raises(StreamRefused, match="message 6 is due, but 8 came: somebody has changed the position"):
        run.store().write(run.judged(Piece(8, (b"{}",), "", 0.0)))
    assert held(database) == [1, 2, 3, 4, 5]


def test_a_late_trip_changes_its_minute(run: LiveRun, database: PostgresSettings) -> None:
    publish(run.settings, TRIP, TRIP | {"tpep_pickup_datetime": "2021-01-01T09:00:00"})
    store_all(run)
    assert sql(database, MINUTES)[0] == (142, "2021-01-01 00:30:00", 1, 2, 11.8)
    publish(run.settings, TRIP | {"tpep_pickup_datetime": "2021-01-01T00:30:59", "passenger_count": 1})
    store_all(run)
    assert sql(database, MINUTES) == [
        (142, "2021-01-01 00:30:00", 2, 3, 23.6),
        (142, "2021-01-01 09:00:00", 1, 2, 11.8),
    ]


def test_a_sink_that_refuses_stores_nothing_of_the_piece_and_the_next_run_all_of_it(
    run: LiveRun, database: PostgresSettings
) -> None:
    publish(run.settings, *trips(5))
    stored_position(database, YELLOW)
    sql(database, "ALTER TABLE ny_taxi.live_zone_minutes ADD CONSTRAINT none CHECK (trips < 0)")
    with pytest.raises(TargetUnavailable, match="a constraint of the table refuses a row"):
        store_all(run)
    assert held(database) == []
    sql(database, "ALTER TABLE ny_taxi.live_zone_minutes DROP CONSTRAINT none")
    store_all(run)
    assert held(database) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "table", ["yellow_cab_data_live", "yellow_cab_data_live_rejected", "live_zone_minutes", "live_not_trips"]
)
def test_a_table_that_was_dropped_is_refused_and_not_made_anew(
    table: str, run: LiveRun, database: PostgresSettings
) -> None:
    publish(run.settings, TRIP)
    store_all(run)
    sql(database, f"DROP TABLE ny_taxi.{table}")
    publish(run.settings, TRIP)
    with pytest.raises(
        StreamRefused, match=rf"ny_taxi.{table} is gone, though messages up to 1 are stored: restore it"
    ):
        store_all(run)
    assert sql(database, f"SELECT to_regclass('ny_taxi.{table}')") == [(None,)]


def test_without_the_position_no_trip_is_stored_twice(run: LiveRun, database: PostgresSettings) -> None:
    publish(run.settings, TRIP)
    store_all(run)
    sql(database, "DROP TABLE ny_taxi.live_position")
    with pytest.raises(StreamRefused, match=r"of yellow in ny_taxi\.live_position is gone, though its trips are"):
        store_all(run)
    assert held(database) == [1]


def test_a_table_that_is_dropped_while_it_runs_ends_the_run(run: LiveRun, database: PostgresSettings) -> None:
    publish(run.settings, *trips(150))
    store, unread = run.store(), run.unread()
    store.write(run.judged(next(unread)))
    sql(database, "DROP TABLE ny_taxi.yellow_cab_data_live")
    with pytest.raises(TargetUnavailable, match=r'relation "ny_taxi\.yellow_cab_data_live" does not exist'):
        store.write(run.judged(next(unread)))
    store.close()


def test_a_column_that_a_service_gets_is_added_and_the_older_trips_have_none(
    run: LiveRun, database: PostgresSettings
) -> None:
    publish(run.settings, TRIP)
    store_all(run)
    wider = replace(run.service, columns=(*run.service.columns, Column("robot_fee", REAL, unit="USD")))
    publish(run.settings, TRIP | {"robot_fee": 1.5})
    store_all(replace(run, service=wider))
    assert sql(database, "SELECT message, robot_fee FROM ny_taxi.yellow_cab_data_live ORDER BY 1") == [
        (1, None),
        (2, 1.5),
    ]


def test_a_stop_of_postgres_in_the_middle_is_one_line_and_loses_nothing(
    run: LiveRun, database: PostgresSettings
) -> None:
    publish(run.settings, *trips(150))
    store, unread = run.store(), run.unread()
    store.write(run.judged(next(unread)))
    sql(
        database,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'idle'",
    )
    with pytest.raises(TargetUnavailable, match="the server stopped in the middle; what was not committed is undone"):
        store.write(run.judged(next(unread)))
    store.close()
    store_all(run)
    assert held(database) == list(range(1, 151))


def test_two_executors_at_once_store_each_message_once(run: LiveRun, database: PostgresSettings) -> None:
    publish(run.settings, *trips(250))
    stores, reads = [run.store(), run.store()], [run.unread(), run.unread()]
    for pieces in zip_longest(*reads):  # in turn
        for store, piece in zip(stores, pieces, strict=True):
            if piece is not None:
                store.write(run.judged(piece))
    assert held(database) == list(range(1, 251))
    assert sql(database, "SELECT sum(trips) FROM ny_taxi.live_zone_minutes") == [(250,)]
    for store in stores:
        store.close()


def test_readers_are_not_shut_out_by_a_start(run: LiveRun, database: PostgresSettings) -> None:
    publish(run.settings, TRIP)
    store_all(run)
    with psycopg2.connect(
        host=database.host,
        port=database.port,
        dbname=database.dbname,
        user=database.user,
        password=database.password,
    ) as reader:
        reader.cursor().execute("SELECT * FROM ny_taxi.yellow_cab_data_live")
        publish(run.settings, TRIP)
        store_all(run)
    reader.close()
    assert held(database) == [1, 2]
