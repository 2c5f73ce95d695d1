"""The load history on a real Postgres: what it says, what it refuses, and that it stands or falls with the rows."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import psycopg2
import pytest
from nyc_taxi import audit
from nyc_taxi.database import connect
from nyc_taxi.errors import TargetUnavailable
from nyc_taxi.postgres import replace_month
from nyc_taxi.settings import PostgresSettings, Settings

from local.generate import trip_path
from local.trip_server import TripServer
from tests.conftest import sql
from tests.library.loading import judged


def audit_rows(database: PostgresSettings) -> int:
    [(count,)] = sql(database, "SELECT count(*) FROM ny_taxi.load_audit")
    return int(str(count))


def test_the_audit_row_says_what_the_manifest_says(settings: Settings, trips: TripServer) -> None:
    file = judged(settings, trips, "yellow", "2021-01", "dtc", 5_000, malformed=6)
    load = replace_month(file, settings.postgres)

    [row] = sql(
        settings.postgres,
        "SELECT load_id, service, file_month, origin, target, url, etag, bytes, sha256, rules::text, rows_read, "
        "rows_accepted, rows_rejected, rejected::text, sums::text, columns_dropped::text, seconds "
        "FROM ny_taxi.load_audit",
    )
    load_id, *said, rules, read, accepted, rejected, by_reason, sums, dropped, seconds = row
    published = trip_path("yellow", "2021-01", "dtc", trips.folder).read_bytes()
    url = f"{trips.dtc_base_url}/yellow/yellow_tripdata_2021-01.csv.gz"
    sha256 = hashlib.sha256(published).hexdigest()
    assert load_id == 1
    assert said == [
        "yellow",
        date(2021, 1, 1),
        "dtc",
        "ny_taxi.yellow_cab_data",
        url,
        file.etag,
        len(published),
        sha256,
    ]
    assert (file.url, file.bytes, file.sha256) == (url, len(published), sha256)
    assert file.etag
    assert json.loads(str(rules)) == ["has_passengers"]
    assert (read, accepted, rejected) == (5_000, file.rows_accepted, 5_000 - file.rows_accepted)
    assert json.loads(str(by_reason)) == dict(file.rejected)
    assert set(file.rejected) == {
        "no_passengers",
        "passenger_count_missing",
        "malformed: number of fields",
        "malformed: fare_amount",
        "malformed: tpep_pickup_datetime",
    }
    assert json.loads(str(sums)) == dict(file.sums)
    assert set(file.sums) == {"trip_distance", "total_amount"}
    assert json.loads(str(dropped)) == []
    assert isinstance(seconds, float)
    assert 0 < seconds < 60
    assert seconds == pytest.approx(load.seconds, abs=0.001)


def test_the_audit_row_lists_the_columns_that_have_no_place(settings: Settings, trips: TripServer) -> None:
    replace_month(judged(settings, trips, "yellow", "2009-01", "tlc", 1_000), settings.postgres)
    [(dropped,)] = sql(settings.postgres, "SELECT columns_dropped::text FROM ny_taxi.load_audit")
    assert json.loads(str(dropped)) == ["Start_Lon", "Start_Lat", "End_Lon", "End_Lat"]


def test_loads_are_numbered_and_dated_in_the_order_they_were_made(settings: Settings, trips: TripServer) -> None:
    began = datetime.now(UTC)
    for month in ("2021-02", "2021-01", "2021-02"):
        replace_month(judged(settings, trips, "green", month, "dtc", 500), settings.postgres)
    rows = sql(
        settings.postgres, "SELECT load_id, file_month::text, loaded_at FROM ny_taxi.load_audit ORDER BY loaded_at"
    )
    assert [row[:2] for row in rows] == [(1, "2021-02-01"), (2, "2021-01-01"), (3, "2021-02-01")]
    for _, _, loaded_at in rows:
        assert isinstance(loaded_at, datetime)
        assert timedelta(seconds=-1) < loaded_at - began < timedelta(seconds=60)


@pytest.mark.parametrize("lost", [1, -1])
def test_a_row_that_does_not_add_up_is_refused_by_the_database(
    settings: Settings, trips: TripServer, lost: int
) -> None:
    file = judged(settings, trips, "yellow", "2021-01", "dtc", 1_000)
    replace_month(file, settings.postgres)
    dishonest = audit.Load(replace(file, rows_accepted=file.rows_accepted - lost), "ny_taxi.yellow_cab_data", 1.0)
    with connect(settings.postgres) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.Error, match='violates check constraint "rows_conserved"'):
            audit.record(cursor, "ny_taxi", dishonest)
        connection.rollback()
    with pytest.raises(TargetUnavailable, match='violates check constraint "rows_conserved"'):
        sql(settings.postgres, f"UPDATE ny_taxi.load_audit SET rows_read = rows_read + {lost}")
    assert sql(settings.postgres, "SELECT rows_read FROM ny_taxi.load_audit") == [(1_000,)]


def test_without_its_audit_row_the_month_is_not_replaced(settings: Settings, trips: TripServer) -> None:
    old = judged(settings, trips, "yellow", "2021-01", "dtc", 1_000)
    replace_month(old, settings.postgres)
    sql(settings.postgres, "ALTER TABLE ny_taxi.load_audit ADD CONSTRAINT frozen CHECK (rows_read <= 1000)")
    with pytest.raises(TargetUnavailable, match='violates check constraint "frozen"'):
        replace_month(judged(settings, trips, "yellow", "2021-01", "dtc", 2_000), settings.postgres)
    assert sql(settings.postgres, "SELECT count(*) FROM ny_taxi.yellow_cab_data") == [(old.rows_accepted,)]
    assert audit_rows(settings.postgres) == 1
    assert sql(settings.postgres, r"SELECT relname FROM pg_class WHERE relname LIKE '%\_new'") == []
