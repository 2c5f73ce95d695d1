"""What is loaded, asked of a real Postgres, of emulators and of an origin: true, cheap, and calm where one is not."""

from dataclasses import replace
from typing import Any

import pytest
import requests
from google.cloud.storage import Blob
from nyc_taxi.errors import UnknownName
from nyc_taxi.extract.published import request_file
from nyc_taxi.load.bucket.objects import listing
from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.months import Month
from nyc_taxi.operate.failures import describe, record
from nyc_taxi.report.coverage.grid import (
    CHANGED,
    DIFFERS,
    FAILED,
    GONE,
    LOADED,
    MISSING,
    NOT_ASKED,
    UNCHANGED,
    UNKNOWN,
    Coverage,
    Line,
)
from nyc_taxi.report.coverage.lines import Choice
from nyc_taxi.report.coverage.look import AT_ONCE, look
from nyc_taxi.run import RunContext
from nyc_taxi.settings import Settings

from ops.ports import free_port
from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.conftest import sql
from tests.nyc_taxi.load.bigquery.bigquery_helpers import query
from tests.nyc_taxi.load.bucket.bucket_helpers import bucket_of
from tests.nyc_taxi.report.coverage.conftest import Load

NOTHING_LISTENS = "it does not answer"


def line(coverage: Coverage, month: str, service: str = "yellow") -> Line:
    [found] = [line for line in coverage.lines if (line.service, str(line.month)) == (service, month)]
    return found


def cells(line: Line) -> dict[str, tuple[str, int | None]]:
    return {target: (cell.state, cell.rows) for target, cell in line.cells.items()}


def test_every_target_tells_the_same_rows_and_sums_and_what_is_not_there_is_missing(
    everywhere: Settings, load: Load, trips: TripServer
) -> None:
    load("yellow", "2021-01", "dtc", 1_000)
    load("yellow", "2021-02", "dtc", 900, ("Postgres", "bucket"))
    load("yellow", "2021-04", "dtc", 800, ("Postgres",))
    trips._requests.clear()
    coverage = look(everywhere, Choice(), sums=True)
    assert (coverage.targets, coverage.notes) == (("Postgres", "bucket", "BigQuery"), ())
    january = cells(line(coverage, "2021-01"))
    [(rows,)] = sql(everywhere.postgres, "SELECT rows_accepted FROM ny_taxi.load_audit WHERE file_month = '2021-01-01'")
    assert january == dict.fromkeys(coverage.targets, (LOADED, rows))
    assert {state for state, _ in cells(line(coverage, "2021-03")).values()} == {MISSING}
    assert [state for state, _ in cells(line(coverage, "2021-02")).values()] == [LOADED, LOADED, MISSING]
    assert [each.trip_file for each in coverage.lines] == [UNCHANGED, UNCHANGED, NOT_ASKED, UNCHANGED]
    assert sorted(trips._requests) == [
        ("HEAD", f"/dtc/yellow/yellow_tripdata_2021-{month}.csv.gz", 200) for month in ("01", "02", "04")
    ]
    assert coverage.commands == (
        "taxi backfill api_to_gcs --service yellow --origin dtc --from 2021-04 --to 2021-04",
        "taxi backfill gcs_to_bigquery --service yellow --origin dtc --from 2021-02 --to 2021-02",
        "taxi backfill gcs_to_bigquery --service yellow --origin dtc --from 2021-04 --to 2021-04",
        "taxi backfill all_targets --service yellow --origin dtc --from 2021-03 --to 2021-03",
    )


def test_no_trip_is_read_unless_sums_are_asked_for(
    everywhere: Settings, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    load("yellow", "2021-01", "dtc", 500)
    asked: list[str] = []
    client = "google.cloud.bigquery.Client.query"
    from google.cloud.bigquery import Client

    real = Client.query

    def remembered(self: Client, text: str, *given: Any, **named: Any) -> Any:
        asked.append(text)
        return real(self, text, *given, **named)

    monkeypatch.setattr(client, remembered)
    monkeypatch.setattr(Blob, "download_as_bytes", None)
    monkeypatch.setattr(Blob, "open", None)
    before = scans(everywhere)
    assert cells(line(look(everywhere, Choice(), offline=True), "2021-01"))["BigQuery"][0] == LOADED
    assert [("INFORMATION_SCHEMA.PARTITIONS" in text, "yellow_cab_data`" in text) for text in asked] == [(True, False)]
    assert scans(everywhere) == before
    look(everywhere, Choice(), offline=True, sums=True)
    assert scans(everywhere) > before


def scans(settings: Settings) -> int:
    """How often a partition of the trips was read from its beginning."""
    [(count,)] = sql(
        settings.postgres,
        "SELECT sum(seq_scan)::int FROM (SELECT pg_stat_force_next_flush()) AS now, pg_stat_all_tables "
        "WHERE relname LIKE 'yellow_cab_data_2%' AND schemaname = 'ny_taxi'",
    )
    assert isinstance(count, int)
    return count


def test_offline_asks_no_origin_and_one_that_is_silent_is_left_after_the_first_tries(
    everywhere: Settings, load: Load, trips: TripServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for month in range(1, 8):
        load("yellow", f"2021-{month:02d}", "dtc", 300, ("Postgres",))
    trips._requests.clear()
    assert {each.trip_file for each in look(everywhere, Choice(), offline=True).lines} == {NOT_ASKED}
    assert not trips._requests
    nowhere = replace(everywhere, base_urls={**everywhere.base_urls, "dtc": f"http://127.0.0.1:{free_port()}"})
    tried: list[str] = []

    def remembered(run: RunContext, method: str, url: str) -> requests.Response:
        tried.append(url)
        return request_file(run, method, url)

    monkeypatch.setattr("nyc_taxi.report.coverage.look.request_file", remembered)
    coverage = look(nowhere, Choice())
    assert {each.trip_file for each in coverage.lines} == {NOT_ASKED}
    assert 1 <= len(tried) <= AT_ONCE
    [note] = [note for note in coverage.notes if note.startswith("origin")]
    assert note.startswith("origin dtc is not asked any further: ")


def test_a_trip_file_that_was_replaced_or_is_gone_at_the_origin_is_told(
    everywhere: Settings, load: Load, trips: TripServer
) -> None:
    for month in ("2021-01", "2021-02", "2021-03"):
        load("yellow", month, "dtc", 400, ("Postgres",))
    generate("yellow", "2021-02", "dtc", 410, trips.folder)
    (trips.folder / "dtc" / "yellow" / "yellow_tripdata_2021-03.csv.gz").unlink()
    coverage = look(everywhere, Choice())
    assert [each.trip_file for each in coverage.lines] == [UNCHANGED, CHANGED, GONE]
    assert coverage.commands == (
        "taxi backfill api_to_postgres --service yellow --origin dtc --from 2021-02 --to 2021-02",
    )
    elsewhere = replace(everywhere, base_urls={**everywhere.base_urls, "dtc": f"{trips.url}/./dtc"})
    sql(everywhere.postgres, "UPDATE ny_taxi.load_audit SET etag = 'of another server'")
    assert look(elsewhere, Choice()).lines[0].trip_file == UNKNOWN, "two addresses have no ETags in common"


def test_rows_that_were_changed_by_hand_are_found_by_the_statistics_of_the_server(
    everywhere: Settings, load: Load
) -> None:
    for month in ("2021-01", "2021-02", "2021-03", "2021-04"):
        load("yellow", month, "dtc", 500, ("Postgres",))
    january = "ny_taxi.yellow_cab_data_2021_01"
    delete = f"DELETE FROM {january} WHERE ctid IN (SELECT ctid FROM {january} LIMIT 3)"
    sql(everywhere.postgres, delete)
    sql(everywhere.postgres, "UPDATE ny_taxi.yellow_cab_data_2021_02 SET total_amount = total_amount + 1")
    sql(everywhere.postgres, "TRUNCATE ny_taxi.yellow_cab_data_2021_03")
    with connect(everywhere.postgres) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO ny_taxi.yellow_cab_data SELECT * FROM ny_taxi.yellow_cab_data_2021_04")
        connection.rollback()
    sql(everywhere.postgres, "ANALYZE ny_taxi.yellow_cab_data_2021_04")
    lines = look(everywhere, Choice(), offline=True).lines
    said = [each.cells["Postgres"] for each in lines]
    loaded = [
        rows for (rows,) in sql(everywhere.postgres, "SELECT rows_accepted FROM ny_taxi.load_audit ORDER BY load_id")
    ]
    assert [(cell.state, cell.rows) for cell in said] == [
        (DIFFERS, int(str(loaded[0])) - 3),
        (DIFFERS, loaded[1]),
        (DIFFERS, 0),
        (LOADED, loaded[3]),
    ]
    assert said[0].said == (f"load_audit says that {loaded[0]:,} rows were loaded",)
    assert said[1].said == ("rows of it were changed after the load",)


def test_after_a_crash_which_loses_the_statistics_the_audit_row_tells(everywhere: Settings, load: Load) -> None:
    load("yellow", "2021-01", "dtc", 500, ("Postgres",))
    sql(everywhere.postgres, "SELECT pg_stat_reset()")
    [found] = look(everywhere, Choice(), offline=True).lines
    assert found.cells["Postgres"].state == LOADED


def test_sums_that_differ_are_found_when_they_are_asked_for(everywhere: Settings, load: Load) -> None:
    load("yellow", "2021-01", "dtc", 500)
    query(everywhere.google, f"UPDATE `{everywhere.google.dataset}.yellow_cab_data` SET total_amount = 0 WHERE TRUE")
    assert line(look(everywhere, Choice(), offline=True), "2021-01").cells["BigQuery"].state == LOADED
    cell = line(look(everywhere, Choice(), offline=True, sums=True), "2021-01").cells["BigQuery"]
    assert cell.state == DIFFERS
    assert cell.said[0].startswith("sums {'trip_distance': ")


def test_days_that_are_gone_or_of_another_version_are_told(everywhere: Settings, load: Load) -> None:
    load("yellow", "2021-01", "dtc", 500, ("bucket",))
    bucket = bucket_of(everywhere.google)
    found = listing(bucket, "trips_by_day/yellow/*/*.parquet")
    bucket.delete_blob(min(found))
    [january] = look(everywhere, Choice(), offline=True).lines
    assert january.cells["bucket"].state == DIFFERS
    assert january.cells["bucket"].said[0].startswith("its day objects hold ")
    for name in sorted(found)[1:]:
        bucket.delete_blob(name)
    [january] = look(everywhere, Choice(), offline=True).lines
    assert january.cells["bucket"].said == ("it has no day objects",)


def test_an_object_that_somebody_else_wrote_is_told_and_no_error(everywhere: Settings, load: Load) -> None:
    load("yellow", "2021-01", "dtc", 500, ("bucket",))
    bucket_of(everywhere.google).blob("trips/yellow/yellow_tripdata_2021-02.parquet").upload_from_string(b"PAR1")
    bucket_of(everywhere.google).blob("trips/yellow/notes.txt").upload_from_string(b"mine")
    cell = line(look(everywhere, Choice(), offline=True), "2021-02").cells["bucket"]
    assert (cell.state, cell.rows, cell.said) == (DIFFERS, None, ("another program wrote the object",))


def test_a_failure_is_told_until_the_month_is_loaded(everywhere: Settings, load: Load) -> None:
    load("yellow", "2021-01", "dtc", 500, ("Postgres",))
    variables = {"service": "yellow", "month": "2021-02", "pipeline_uuid": "api_to_postgres", "pipeline_run_id": 1}
    assert record(describe(ValueError("broken"), "load_api_data", variables), everywhere.postgres)
    february = line(look(everywhere, Choice(), offline=True), "2021-02")
    assert february.cells["Postgres"].state == FAILED
    assert "ValueError: broken" in february.cells["Postgres"].said[0]
    load("yellow", "2021-02", "dtc", 500, ("Postgres",))
    february = line(look(everywhere, Choice(), offline=True), "2021-02")
    assert february.cells["Postgres"].state == LOADED


def test_an_empty_database_and_one_without_a_table_are_no_error(everywhere: Settings) -> None:
    coverage = look(everywhere, Choice())
    assert (coverage.lines, coverage.commands, coverage.notes) == ((), (), ())
    sql(everywhere.postgres, "CREATE SCHEMA ny_taxi; CREATE TABLE ny_taxi.yellow_cab_data (x int)")
    sql(everywhere.postgres, "CREATE TABLE ny_taxi.load_audit (x int)")
    assert look(everywhere, Choice()).lines == ()
    chosen = Choice(services=("green",), since=Month(2021, 1), until=Month(2021, 2))
    assert [str(each.month) for each in look(everywhere, chosen).lines] == ["2021-01", "2021-02"]


def test_targets_that_are_not_there_are_a_line_each_and_the_others_are_shown(everywhere: Settings, load: Load) -> None:
    load("yellow", "2021-01", "dtc", 500, ("bucket",))
    nowhere = f"http://127.0.0.1:{free_port()}"
    gone = replace(
        everywhere,
        postgres=replace(everywhere.postgres, port=free_port()),
        google=replace(everywhere.google, bigquery_emulator=nowhere),
    )
    coverage = look(gone, Choice(), offline=True)
    assert coverage.targets == ("bucket",)
    postgres, bigquery = coverage.notes
    assert postgres.startswith("Postgres is left out: Postgres at 127.0.0.1:")
    assert bigquery.startswith("BigQuery is left out: BigQuery ")
    assert NOTHING_LISTENS in bigquery
    assert not any("\n" in note for note in coverage.notes)
    unset = replace(gone, google=replace(gone.google, bucket="", project="", bigquery_emulator=""))
    assert [note.split(":")[1] for note in look(unset, Choice()).notes][1:] == [
        " GCS_BUCKET is not set",
        " GOOGLE_CLOUD_PROJECT is not set",
    ]


def test_a_target_without_any_month_is_left_out_unless_it_is_asked_for(everywhere: Settings, load: Load) -> None:
    load("yellow", "2021-01", "dtc", 500, ("Postgres",))
    coverage = look(everywhere, Choice(), offline=True)
    assert (coverage.targets, coverage.notes) == (("Postgres",), ("bucket holds no month", "BigQuery holds no month"))
    [january] = look(everywhere, Choice(targets=("Postgres", "bucket")), offline=True).lines
    assert january.cells["bucket"].state == MISSING


def test_a_span_that_ends_before_it_begins_is_refused(everywhere: Settings) -> None:
    with pytest.raises(UnknownName, match="since 2021-02 is after until 2021-01"):
        look(everywhere, Choice(since=Month(2021, 2), until=Month(2021, 1)))
