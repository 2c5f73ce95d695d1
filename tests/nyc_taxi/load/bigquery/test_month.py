"""Months into BigQuery, through Google's own client, on an emulator that speaks its protocol."""

import io
import json
import os
import re
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from google.api_core.exceptions import GoogleAPIError, NotFound
from google.cloud import bigquery
from google.cloud.bigquery._http import Connection
from nyc_taxi.catalog.services import GREEN, SERVICES, YELLOW, Service
from nyc_taxi.errors import CountsDisagree, NotATripFile, TargetUnavailable
from nyc_taxi.google import bigquery_client
from nyc_taxi.load.bigquery.month import (
    StagedMonth,
    check_month,
    drop_staging,
    measure_month,
    planned_bytes,
    stage_month,
)
from nyc_taxi.load.bigquery.tables import ensure_table, table_of
from nyc_taxi.load.bucket.month import find_month, replace_month
from nyc_taxi.load.bucket.pair import month_object
from nyc_taxi.manifest import StagedFile
from nyc_taxi.months import Month
from nyc_taxi.settings import GoogleSettings
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from ops.paths import HOST
from tests.nyc_taxi.load.bigquery.bigquery_helpers import SQL, load, merge_statement, name_of, query
from tests.nyc_taxi.load.bucket.bucket_helpers import DoomedStore, Line, Months, get, months_in, put, refusing

JANUARY, FEBRUARY = "2021-01-01", "2021-02-01"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Months]:
    """Synthetic months, each made once."""
    with months_in(tmp_path_factory.mktemp("months")) as months:
        yield months


@pytest.fixture
def google(google: GoogleSettings) -> GoogleSettings:
    """The emulators, with a bucket and a data set of the test's own."""
    own = replace(google, dataset=f"test_{uuid.uuid4().hex}")
    bigquery_client(own).create_dataset(own.dataset)
    return own


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute of patience becomes two seconds."""
    monkeypatch.setattr("nyc_taxi.google.RETRY_SECONDS", 2.0)
    monkeypatch.setattr("nyc_taxi.load.bigquery.month.CLEAN_UP_SECONDS", 1.0)
    for module in ("month", "tables"):
        monkeypatch.setattr(f"nyc_taxi.load.bigquery.{module}.REQUEST_SECONDS", 1.0)


def in_lake(file: StagedFile, google: GoogleSettings) -> StagedFile:
    """The month written to the lake and found there."""
    replace_month(file, google)
    return find_month(file.service, file.month, google)


def rows_by_month(google: GoogleSettings, service: Service = YELLOW) -> dict[str, int]:
    counted = f"SELECT CAST(file_month AS STRING), COUNT(*) FROM `{name_of(google, service)}` GROUP BY 1"
    return {str(month): int(str(rows)) for month, rows in query(google, counted)}


def fingerprint(google: GoogleSettings, month: str) -> list[tuple[object, ...]]:
    """Something that changes with any change of any row of the month."""
    return query(
        google,
        f"SELECT COUNT(*), SUM(total_amount), SUM(trip_distance), SUM(pulocationid * dolocationid), "
        f"MIN(tpep_pickup_datetime), MAX(tpep_dropoff_datetime) "
        f"FROM `{name_of(google)}` WHERE file_month = DATE '{month}'",
    )


def tables(google: GoogleSettings) -> list[str]:
    return sorted(table.table_id for table in bigquery_client(google).list_tables(google.dataset))


# --- the table


@pytest.mark.parametrize("service", SERVICES.values(), ids=list(SERVICES))
def test_a_table_has_the_columns_partitions_clusters_and_descriptions_of_its_service(
    service: Service, google: GoogleSettings
) -> None:
    client = bigquery_client(google)
    ensure_table(service, client, google)
    table = client.get_table(name_of(google, service))
    assert [field.name for field in table.schema] == [column.name.lower() for column in service.columns] + [
        "file_month"
    ]
    assert {field.name: field.description for field in table.schema} == {
        **{column.name.lower(): column.full_description for column in service.columns},
        "file_month": "first day of the month of the trip file",
    }
    assert {field.field_type for field in table.schema} <= {"INTEGER", "FLOAT", "STRING", "DATETIME", "DATE"}
    assert [field.name for field in table.schema if field.mode == "REQUIRED"] == ["file_month"]
    assert table.time_partitioning.type_ == "MONTH"
    assert table.time_partitioning.field == "file_month"
    assert table.clustering_fields == [service.pickup.lower(), "pulocationid"]
    assert table.description.startswith(f"Accepted {service.name} trips")


def test_a_table_that_lacks_columns_gets_them_and_keeps_its_rows(made: Months, google: GoogleSettings) -> None:
    january = in_lake(made.judged("yellow", "2021-01", "dtc", 2_000), google)
    client = bigquery_client(google)
    old = table_of(YELLOW, client, google)
    old.schema = [field for field in old.schema if field.name not in ("cbd_congestion_fee", "request_source")]
    client.create_table(old)
    query(google, f"INSERT INTO `{name_of(google)}` (vendorid, file_month) VALUES (1, DATE '2020-12-01')")
    load(january, google)
    table = client.get_table(name_of(google))
    assert [field.name for field in table.schema][-3:] == ["file_month", "cbd_congestion_fee", "request_source"]
    assert rows_by_month(google) == {"2020-12-01": 1, JANUARY: january.rows_accepted}
    fees = f"SELECT COUNT(cbd_congestion_fee), COUNT(vendorid) FROM `{name_of(google)}` WHERE file_month < '2021-01-01'"
    assert query(google, fees) == [(0, 1)]


def test_a_table_that_something_else_made_is_left_alone(made: Months, google: GoogleSettings) -> None:
    january = in_lake(made.judged("yellow", "2021-01", "dtc", 2_000), google)
    client = bigquery_client(google)
    client.create_table(bigquery.Table(name_of(google), schema=[bigquery.SchemaField("vendorid", "INTEGER")]))
    with pytest.raises(TargetUnavailable, match="yellow_cab_data is not partitioned by file_month: this project did"):
        stage_month(january, google)
    client.delete_table(name_of(google))
    other = table_of(YELLOW, client, google)
    other.schema = [
        bigquery.SchemaField(field.name, "STRING") if field.name == "vendorid" else field for field in other.schema
    ]
    client.create_table(other)
    with pytest.raises(TargetUnavailable, match="yellow_cab_data has other types in vendorid: this project did not"):
        stage_month(january, google)
    assert tables(google) == ["yellow_cab_data"]


def test_a_table_that_another_run_makes_first_is_used(google: GoogleSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    client, other = bigquery_client(google), bigquery_client(google)
    found, sought = client.get_table, []

    def not_yet_there(*args: object, **kwargs: object) -> bigquery.Table:
        sought.append(args)
        if len(sought) == 1:
            ensure_table(YELLOW, other, google)
            raise NotFound("Not found: Table")  # type: ignore[no-untyped-call]
        return found(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(client, "get_table", not_yet_there)
    assert len(ensure_table(YELLOW, client, google).schema) == len(YELLOW.columns) + 1
    assert len(sought) == 2
    assert tables(google) == ["yellow_cab_data"]


def test_columns_that_another_run_adds_first_are_used(google: GoogleSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    client, other = bigquery_client(google), bigquery_client(google)
    old = table_of(YELLOW, client, google)
    old.schema = [field for field in old.schema if field.name != "request_source"]
    client.create_table(old)
    update, updates = client.update_table, []

    def overtaken(*args: object, **kwargs: object) -> bigquery.Table:
        updates.append(args)
        ensure_table(YELLOW, other, google)
        return update(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(client, "update_table", overtaken)
    assert len(ensure_table(YELLOW, client, google).schema) == len(YELLOW.columns) + 1
    assert len(updates) == 1


# --- a month


def test_a_month_is_replaced_and_the_others_are_not_touched(made: Months, google: GoogleSettings) -> None:
    january = in_lake(made.judged("yellow", "2021-01", "dtc", 5_000), google)
    february = in_lake(made.judged("yellow", "2021-02", "dtc", 3_000), google)
    load(january, google)
    load(february, google)
    before = fingerprint(google, FEBRUARY)
    again = in_lake(made.judged("yellow", "2021-01", "dtc", 4_000, seed=1), google)
    load(again, google)
    assert rows_by_month(google) == {JANUARY: again.rows_accepted, FEBRUARY: february.rows_accepted}
    assert again.rows_accepted != january.rows_accepted
    assert fingerprint(google, FEBRUARY) == before
    assert tables(google) == ["yellow_cab_data"]


def test_the_same_month_twice_is_there_once(made: Months, google: GoogleSettings) -> None:
    january = in_lake(made.judged("yellow", "2021-01", "dtc", 5_000), google)
    load(january, google)
    before = fingerprint(google, JANUARY)
    load(january, google)
    assert fingerprint(google, JANUARY) == before
    assert rows_by_month(google) == {JANUARY: january.rows_accepted}


@pytest.mark.parametrize("service", SERVICES.values(), ids=list(SERVICES))
def test_every_value_arrives_as_it_is_in_the_lake(service: Service, made: Months, google: GoogleSettings) -> None:
    file = in_lake(made.judged(service.name, "2021-01", "dtc", 1_000), google)
    load(file, google)
    names = [column.name for column in service.columns]
    lists = ", ".join(name.lower() for name in names)
    loaded = query(google, f"SELECT {lists} FROM `{name_of(google, service)}`")
    parquet = get(google, month_object(service, file.month))
    written = pq.read_table(io.BytesIO(parquet)).select(names).to_pylist()
    # By their text: rows have nulls, which do not sort.
    assert sorted(map(str, loaded)) == sorted(str(tuple(row.values())) for row in written)


def test_eras_of_one_service_share_one_table_with_one_type_per_column(made: Months, google: GoogleSettings) -> None:
    files = [
        in_lake(made.judged("yellow", month, origin, 1_500), google)
        for month, origin in (("2009-01", "tlc"), ("2011-06", "tlc"), ("2021-01", "dtc"), ("2025-03", "tlc"))
    ]
    for file in files:
        load(file, google)
    assert rows_by_month(google) == {f"{file.month}-01": file.rows_accepted for file in files}
    schema = bigquery_client(google).get_table(name_of(google)).schema
    assert len({field.name.lower() for field in schema}) == len(schema) == len(YELLOW.columns) + 1
    for file in files:
        check_month(file, google)


def test_what_the_sql_needs_survives_a_frame(made: Months, google: GoogleSettings) -> None:
    staged = stage_month(in_lake(made.judged("green", "2020-10", "dtc", 1_000), google), google)
    assert StagedMonth.of_frame(staged.to_frame()) == staged
    assert staged.target == name_of(google, GREEN)
    assert re.fullmatch(re.escape(staged.target) + r"_staging_2020_10_[0-9a-f]{12}", staged.staging)
    assert staged.file_month == "2020-10-01"
    assert staged.columns.startswith("vendorid, lpep_pickup_datetime, lpep_dropoff_datetime, ")
    assert staged.columns.endswith(", request_source, file_month")
    staging = bigquery_client(google).get_table(staged.staging)
    assert [field.name for field in staging.schema] == GREEN.schema.names
    drop_staging(staged, google)
    drop_staging(staged, google)
    assert tables(google) == ["green_cab_data"]


def test_no_row_passes_through_this_process_and_staging_expires(made: Months, google: GoogleSettings) -> None:
    # Counted on the only two lines to the services: every byte of every request and answer.
    synthetic = made.judged("yellow", "2021-03", "dtc", 200_000)
    size = len(get_object(in_lake(synthetic, google), google))
    with Line(google.storage_emulator) as storage, Line(google.bigquery_emulator) as tables_line:
        watched = replace(google, storage_emulator=storage.url, bigquery_emulator=tables_line.url)
        file = find_month(YELLOW, Month(2021, 3), watched)
        started = time.time()
        load(file, watched)
        passed = storage.up + storage.down + tables_line.up + tables_line.down
        asked = bytes(tables_line.asked).decode(errors="replace")
    print(
        f"{file.rows_accepted:,} rows, {size:,} bytes of Parquet: {passed:,} bytes passed in "
        f"{time.time() - started:.1f} s"
    )
    assert file.rows_accepted > 150_000
    assert size > 3_000_000
    assert passed < 200_000
    [expires] = [int(found) / 1000 for found in re.findall(r'"expirationTime": ?"(\d+)"', asked)]
    assert started + 23 * 3600 < expires < started + 25 * 3600
    assert '"file_month": "2021-03"' in asked
    assert '"writeDisposition": "WRITE_EMPTY"' in asked


def get_object(file: StagedFile, google: GoogleSettings) -> bytes:
    return get(google, file.path.removeprefix(f"gs://{google.bucket}/"))


# --- what goes wrong with the object


def parquet_of(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def other_type(good: bytes) -> bytes:
    table = pq.read_table(io.BytesIO(good))
    return parquet_of(table.set_column(0, "VendorID", table["VendorID"].cast(pa.string())))


def other_column(good: bytes) -> bytes:
    table = pq.read_table(io.BytesIO(good))
    return parquet_of(table.append_column("surge", table["extra"]))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda good: b"<?xml version='1.0'?><Error/>", "Error while reading data"),
        (lambda good: good[: len(good) // 2], "Error while reading data"),
        (lambda good: b"", "Error while reading data"),
        (other_type, "changed type"),
        (other_column, "surge"),
        (None, "Not found: URI"),
    ],
    ids=["xml", "truncated", "empty", "other type", "other column", "gone"],
)
def test_an_object_that_bigquery_cannot_load_leaves_the_old_month_and_no_staging(
    content: Callable[[bytes], bytes] | None, said: str, made: Months, google: GoogleSettings
) -> None:
    january = in_lake(made.judged("yellow", "2021-01", "dtc", 2_000), google)
    load(january, google)
    before = fingerprint(google, JANUARY)
    bad = replace(january, path=f"gs://{google.bucket}/bad.parquet")
    if content:
        put(google, "bad.parquet", content(get_object(january, google)))
    with pytest.raises(NotATripFile) as refused:
        stage_month(bad, google)
    text = str(refused.value)
    assert text.startswith(f"{bad.path}: BigQuery cannot load it as yellow trips, and left the month as it was; ")
    assert "api_to_gcs for yellow 2021-01" in text
    assert said in text
    assert "\n" not in text
    assert fingerprint(google, JANUARY) == before
    assert tables(google) == ["yellow_cab_data"]


def test_another_services_object_is_refused(made: Months, google: GoogleSettings) -> None:
    yellow = in_lake(made.judged("yellow", "2021-01", "dtc", 2_000), google)
    green = in_lake(made.judged("green", "2021-01", "dtc", 2_000), google)
    with pytest.raises(NotATripFile, match="BigQuery cannot load it as yellow trips"):
        stage_month(replace(yellow, path=green.path), google)
    assert tables(google) == ["yellow_cab_data"]


def test_an_object_with_other_rows_than_the_manifest_replaces_nothing(made: Months, google: GoogleSettings) -> None:
    january = in_lake(made.judged("yellow", "2021-01", "dtc", 2_000), google)
    load(january, google)
    other = in_lake(made.judged("yellow", "2021-01", "dtc", 1_000, seed=2), google)
    with pytest.raises(CountsDisagree) as refused:
        stage_month(january, google)
    assert f"{january.rows_accepted:,} rows" in str(refused.value)
    assert f"BigQuery read {other.rows_accepted:,} rows: the object changed meanwhile or is" in str(refused.value)
    assert rows_by_month(google) == {JANUARY: january.rows_accepted}
    assert tables(google) == ["yellow_cab_data"]


def test_an_object_with_other_sums_than_the_manifest_replaces_nothing(made: Months, google: GoogleSettings) -> None:
    january = in_lake(made.judged("yellow", "2021-01", "dtc", 2_000), google)
    load(january, google)
    table = pq.read_table(io.BytesIO(get_object(january, google)))
    fares = pa.chunked_array([pa.nulls(len(table), pa.float64())])
    nulled = table.set_column(table.schema.get_field_index("total_amount"), "total_amount", fares)
    put(google, "nulled.parquet", parquet_of(nulled))
    with pytest.raises(CountsDisagree, match=r"'total_amount': 0\.0}: the object changed meanwhile or is damaged"):
        stage_month(replace(january, path=f"gs://{google.bucket}/nulled.parquet"), google)
    check_month(january, google)
    assert tables(google) == ["yellow_cab_data"]


def test_a_month_changed_by_hand_is_found_out(made: Months, google: GoogleSettings) -> None:
    january = in_lake(made.judged("yellow", "2021-01", "dtc", 2_000), google)
    load(january, google)
    query(google, f"UPDATE `{name_of(google)}` SET total_amount = total_amount + 1 WHERE file_month = '2021-01-01'")
    with pytest.raises(CountsDisagree, match="another run replaced the month, or rows were changed by hand"):
        check_month(january, google)
    load(january, google)
    query(google, f"INSERT INTO `{name_of(google)}` (vendorid, file_month) VALUES (1, DATE '2021-01-01')")
    rows = january.rows_accepted
    with pytest.raises(CountsDisagree, match=f"the manifest has {rows:,} rows .* BigQuery {rows + 1:,} and"):
        check_month(january, google)


# --- the statement


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("VALUES (vendorid", "VALUES (nobody"),
        ("SELECT *,", "SELECT * REPLACE (ERROR('in the middle') AS VendorID),"),
        ("_staging_", "_gone_"),
    ],
)
def test_a_statement_that_fails_leaves_the_old_month(good: str, bad: str, made: Months, google: GoogleSettings) -> None:
    january = in_lake(made.judged("yellow", "2021-01", "dtc", 2_000), google)
    load(january, google)
    before = fingerprint(google, JANUARY)
    staged = stage_month(in_lake(made.judged("yellow", "2021-01", "dtc", 900, seed=3), google), google)
    statement = merge_statement(staged)
    assert good in statement
    with pytest.raises(GoogleAPIError):
        query(google, statement.replace(good, bad))
    assert fingerprint(google, JANUARY) == before
    query(google, statement)
    assert rows_by_month(google)[JANUARY] < 900, "the staging table is there for another try"


def test_months_loaded_at_once_do_not_disturb_each_other(made: Months, google: GoogleSettings) -> None:
    files = [
        in_lake(made.judged("yellow", f"2021-{number:02d}", "dtc", 1_000 + number), google) for number in range(1, 6)
    ]
    # The emulator cannot be asked for a table while it makes it.
    ensure_table(YELLOW, bigquery_client(google), google)
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda file: load(file, google), files))
    assert rows_by_month(google) == {f"{file.month}-01": file.rows_accepted for file in files}
    assert tables(google) == ["yellow_cab_data"]


def test_one_month_loaded_by_many_at_once_is_there_once(made: Months, google: GoogleSettings) -> None:
    january = in_lake(made.judged("yellow", "2021-01", "dtc", 2_000), google)
    ensure_table(YELLOW, bigquery_client(google), google)
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: load(january, google), range(5)))
    check_month(january, google)
    assert rows_by_month(google) == {JANUARY: january.rows_accepted}
    assert tables(google) == ["yellow_cab_data"]


def test_the_statement_names_the_month_in_its_delete_and_is_one(made: Months, google: GoogleSettings) -> None:
    text = SQL.read_text()
    assert "{{" not in merge_statement(StagedMonth("p.d.t", "p.d.s", JANUARY, "vendorid, file_month"))
    assert ";" not in text.split("MERGE")[1]
    assert "ON FALSE" in text
    assert re.search(r"NOT MATCHED BY SOURCE\s+AND trips\.file_month = DATE '", text)


@pytest.mark.parametrize("days", [-400, -1, 0, 400])
def test_a_staging_table_lasts_a_day_by_the_clock_of_the_service(
    days: int, made: Months, google: GoogleSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    january = in_lake(made.judged("yellow", "2021-01", "dtc", 2_000), google)
    right, this_machine = datetime.now(UTC), Mock(wraps=datetime)
    this_machine.now.side_effect = lambda zone: datetime.now(zone) + timedelta(days=days)
    monkeypatch.setattr("nyc_taxi.load.bigquery.month.datetime", this_machine)
    staged = stage_month(january, google)
    expires = bigquery_client(google).get_table(staged.staging).expires
    assert abs(expires - right - timedelta(days=1)) < timedelta(minutes=2)


# --- what goes wrong with the service: answers in the words of the real one


@pytest.mark.parametrize(
    ("status", "reason", "message", "advice"),
    [
        (
            404,
            "notFound",
            "Not found: Dataset nyc:taxi",
            "no data set taxi at US: make it (bq mk --location=US taxi), or set BIGQUERY_DATASET to another",
        ),
        (
            404,
            "notFound",
            "Not found: Dataset nyc:taxi was not found in location US",
            "no data set taxi at US: make it (bq mk --location=US taxi), or set BIGQUERY_DATASET to another",
        ),
        (
            400,
            "invalid",
            "Cannot read and write in different locations: source: europe-west1, destination: US",
            "bucket {bucket}, data set {dataset} and GOOGLE_LOCATION must be in one place",
        ),
        (
            403,
            "accessDenied",
            "Access Denied: Project nyc: User does not have bigquery.jobs.create permission in project nyc.",
            "the account lacks bigquery.jobs.create: grant it roles/bigquery.jobUser on the project",
        ),
        (
            403,
            "accessDenied",
            "Access Denied: Dataset nyc:taxi: Permission bigquery.tables.create denied on dataset nyc:taxi",
            "the account lacks bigquery.tables.create: grant it roles/bigquery.dataEditor on the data set",
        ),
        (
            403,
            "billingNotEnabled",
            "Billing has not been enabled for this project. Enable billing. DML queries are not allowed.",
            "the project has no billing, without which BigQuery changes no rows: turn it on",
        ),
        (
            403,
            "accessNotConfigured",
            "BigQuery API has not been used in project 123 before or it is disabled.",
            "gcloud services enable bigquery.googleapis.com",
        ),
        (403, "quotaExceeded", "Quota exceeded: Your project exceeded quota for load jobs", "quota is used up: wait"),
        (
            503,
            "backendError",
            "Visibility check was unavailable. Please retry",
            "it does not answer: check the network",
        ),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_a_refusal_is_one_line_that_says_what_to_do(
    status: int, reason: str, message: str, advice: str, made: Months, google: GoogleSettings
) -> None:
    file = in_lake(made.judged("yellow", "2021-01", "dtc", 2_000), google)
    with refusing(status, message, reason) as url:
        stubbed = replace(google, bigquery_emulator=url)
        staged = StagedMonth(name_of(google), f"{name_of(google)}_staging", JANUARY, "vendorid")
        calls: list[Callable[[], object]] = [
            lambda: stage_month(file, stubbed),
            lambda: check_month(file, stubbed),
            lambda: planned_bytes("SELECT 1", stubbed),
        ]
        if status != 404:  # that what is to be removed is not there is no error
            calls.append(lambda: drop_staging(staged, stubbed))
        for call in calls:
            with pytest.raises(TargetUnavailable) as refused:
                call()
            text = str(refused.value)
            assert text.startswith(f"BigQuery {google.project}.{google.dataset}: ")
            assert advice.format(dataset=google.dataset, bucket=google.bucket) in text
            assert message in text
            assert "\n" not in text


def test_a_month_of_a_table_that_is_not_there_says_so(google: GoogleSettings) -> None:
    with pytest.raises(TargetUnavailable, match=r"no such table in data set .* load a month"):
        measure_month(YELLOW, Month(2021, 1), google)


def test_credentials_that_point_nowhere_are_named(made: Months, google: GoogleSettings) -> None:
    file = in_lake(made.judged("yellow", "2021-01", "dtc", 2_000), google)
    lost = replace(google, bigquery_emulator="", credentials="/nowhere/key.json")
    with pytest.raises(TargetUnavailable, match=r"GOOGLE_APPLICATION_CREDENTIALS /nowhere/key\.json does not exist"):
        stage_month(file, lost)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_not_there_is_given_up_in_time(made: Months, google: GoogleSettings) -> None:
    file = in_lake(made.judged("yellow", "2021-01", "dtc", 2_000), google)
    started = time.monotonic()
    with pytest.raises(TargetUnavailable, match="it does not answer: check the network, or start the emulators"):
        stage_month(file, replace(google, bigquery_emulator=f"http://{HOST}:9"))
    assert time.monotonic() - started < 6


def break_when_held(line: Line) -> None:
    if line.held.wait(10):
        line.break_off()


@pytest.mark.parametrize("silent", [True, False], ids=["falls silent", "goes away"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
@pytest.mark.usefixtures("impatient")
def test_a_server_that_stops_in_the_middle_is_given_up_in_time(
    share: float, silent: bool, made: Months, google: GoogleSettings
) -> None:
    january = in_lake(made.judged("yellow", "2021-01", "dtc", 2_000), google)
    load(january, google)
    before = fingerprint(google, JANUARY)
    with Line(google.bigquery_emulator) as whole:
        drop_staging(stage_month(january, replace(google, bigquery_emulator=whole.url)), google)
    with Line(google.bigquery_emulator, hold_after=int(share * whole.up)) as line:
        if not silent:
            threading.Thread(target=break_when_held, args=(line,), daemon=True).start()
        started = time.monotonic()
        with pytest.raises(TargetUnavailable, match="it does not answer: check the network"):
            stage_month(january, replace(google, bigquery_emulator=line.url))
        took = time.monotonic() - started
    print(f"given up after {took:.1f} s at {line.up:,} of {whole.up:,} bytes")
    assert took < 8
    assert fingerprint(google, JANUARY) == before
    load(january, google)


@pytest.mark.parametrize("lost", [False, True], ids=["its answer arrives", "its answer is lost"])
def test_an_emulator_that_is_killed_after_every_job_delays_a_load_and_no_more(
    lost: bool, made: Months, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DoomedStore(tmp_path) as store:
        january = in_lake(made.judged("yellow", "2021-01", "dtc", 2_000), store.settings)
        answer: Callable[..., Any] = Connection.api_request
        jobs = []

        def answer_and_die(connection: Connection, **request: Any) -> Any:
            answered = answer(connection, **request)
            if request["method"] == "POST" and request["path"].endswith("/jobs"):
                jobs.append(answered)
                os.kill(store.server.bigquery_pid, signal.SIGKILL)
                store.start()
                if lost:
                    raise requests.ConnectionError("nothing came")
            return answered

        with monkeypatch.context() as patch:
            patch.setattr(Connection, "api_request", answer_and_die)
            load(january, store.settings)
        assert len(jobs) == 4, "the load, its sums, the MERGE, the month's sums"
        assert rows_by_month(store.settings) == {JANUARY: january.rows_accepted}
        assert tables(store.settings) == ["yellow_cab_data"]


# --- what a query would cost


def test_the_plan_of_a_query_on_the_emulator_is_zero_and_a_bad_query_is_refused(google: GoogleSettings) -> None:
    ensure_table(YELLOW, bigquery_client(google), google)
    assert planned_bytes(f"SELECT COUNT(*) FROM `{name_of(google)}`", google) == 0
    assert planned_bytes("SELECT COUNT(*) FROM yellow_cab_data", google) == 0
    with pytest.raises(TargetUnavailable, match="it was refused"):
        planned_bytes("SELCT 1", google)


def test_the_plan_of_a_query_is_what_bigquery_says(google: GoogleSettings) -> None:
    def plan(request: Request) -> Response:
        statistics = {"query": {"totalBytesProcessed": "123456789"}}
        job = json.loads(request.data) | {"status": {"state": "DONE"}, "statistics": statistics}
        return Response(json.dumps(job), content_type="application/json")

    with HTTPServer(host=HOST) as server:
        server.expect_request(re.compile(".*/jobs"), method="POST").respond_with_handler(plan)
        stubbed = replace(google, bigquery_emulator=f"http://{HOST}:{server.port}")
        assert planned_bytes("SELECT 1 FROM yellow_cab_data", stubbed) == 123_456_789
    [(asked, _)] = server.log
    configuration = json.loads(asked.data)["configuration"]
    assert configuration["dryRun"] is True
    assert configuration["query"]["defaultDataset"]["datasetId"] == google.dataset
