"""The BigQuery emulator, through Google's own client: loads from the bucket, months replaced, errors that end."""

import gzip
import io
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import requests
from google.api_core.exceptions import BadRequest, Conflict, GoogleAPICallError, NotFound
from google.api_core.retry import Retry, if_exception_type
from google.cloud import bigquery, storage

from ops.paths import ROOT, emulator_python
from ops.stack import google
from ops.stack.google import GoogleServer

Ask = Callable[[bigquery.Client, str], list[tuple[object, ...]]]
ONCE = Retry(predicate=lambda error: False)
SCHEMA = [
    bigquery.SchemaField("vendorid", "INT64", description="who sent the record"),
    bigquery.SchemaField("pickup_datetime", "DATETIME", description="New York wall clock"),
    bigquery.SchemaField("fare_amount", "FLOAT64"),
    bigquery.SchemaField("flag", "STRING"),
    bigquery.SchemaField("file_month", "DATE"),
]
FIRST_TIME, LAST_TIME = -62_135_596_800_000_000, 253_402_300_799_999_999
NO_UTF8 = pc.cast(pa.array([b"\xe9"]), options=pc.CastOptions(target_type=pa.string(), allow_invalid_utf8=True))
REPLACE_MONTH = """
    MERGE `ny_taxi.trips` T
    USING (SELECT vendorid, pickup_datetime, fare_amount, flag, file_month FROM `ny_taxi.staging`) S
    ON FALSE
    WHEN NOT MATCHED BY SOURCE AND T.file_month = DATE '2021-01-01' THEN DELETE
    WHEN NOT MATCHED BY TARGET THEN INSERT (vendorid, pickup_datetime, fare_amount, flag, file_month)
        VALUES (vendorid, pickup_datetime, fare_amount, flag, file_month)
"""


@pytest.fixture
def client(google_server: GoogleServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[bigquery.Client]:
    for name, value in google_server.environment().items():
        monkeypatch.setenv(name, value)
    found = bigquery.Client(location="US")
    yield found
    for table in list(found.list_tables("ny_taxi")):
        ask(found, f"DROP {table.table_type} ny_taxi.{table.table_id}")


def trips(month: date, rows: int) -> pa.Table:
    """As they are in the bucket: TLC's letter case, columns in another order than the table's, one without a value."""
    return pa.table(
        {
            "file_month": pa.array([month] * rows),
            "VendorID": pa.array(range(rows), pa.int64()),
            "Pickup_DateTime": pa.array([datetime(month.year, month.month, 1)] * rows, pa.timestamp("us")),
            "Fare_amount": pa.array([1.5] * rows),
            "flag": pa.array([None] * rows, pa.string()),
        }
    )


def put(name: str, content: pa.Table | bytes) -> str:
    """Put an object into the bucket; its address."""
    if isinstance(content, pa.Table):
        sink = io.BytesIO()
        pq.write_table(content, sink)
        content = sink.getvalue()
    bucket = storage.Client().bucket("nyc-taxi-local")
    bucket.blob(name).upload_from_string(content)
    return f"gs://{bucket.name}/{name}"


def load(client: bigquery.Client, uri: str | list[str], table: str, **options: object) -> bigquery.LoadJob:
    config = bigquery.LoadJobConfig(source_format="PARQUET", **options)
    job = client.load_table_from_uri(uri, f"nyc-taxi-local.{table}", job_config=config, timeout=20)
    job.result(timeout=20, retry=ONCE)
    return job


def ask(client: bigquery.Client, sql: str, retry: Retry = ONCE) -> list[tuple[object, ...]]:
    job = client.query(sql, timeout=20, retry=retry, job_retry=None)
    return [tuple(row.values()) for row in job.result(timeout=20, retry=ONCE, job_retry=None)]


def make_trips(client: bigquery.Client) -> bigquery.Table:
    table = bigquery.Table("nyc-taxi-local.ny_taxi.trips", schema=SCHEMA)
    table.time_partitioning = bigquery.TimePartitioning(type_="MONTH", field="file_month")
    table.clustering_fields = ["pickup_datetime", "vendorid"]
    table.description, table.labels = "Trips of one service", {"service": "yellow"}
    table.expires = datetime(2099, 1, 1, tzinfo=UTC)
    return client.create_table(table, timeout=20)


def test_a_table_keeps_all_that_is_said_of_it(client: bigquery.Client) -> None:
    make_trips(client)
    table = client.get_table("ny_taxi.trips")
    assert [(field.name, field.field_type) for field in table.schema] == [
        ("vendorid", "INTEGER"),
        ("pickup_datetime", "DATETIME"),
        ("fare_amount", "FLOAT"),
        ("flag", "STRING"),
        ("file_month", "DATE"),
    ]
    assert [field.description for field in table.schema[:2]] == ["who sent the record", "New York wall clock"]
    assert (table.time_partitioning.type_, table.time_partitioning.field) == ("MONTH", "file_month")
    assert table.clustering_fields == ["pickup_datetime", "vendorid"]
    assert (table.description, table.labels, table.location) == ("Trips of one service", {"service": "yellow"}, "US")
    assert table.expires == datetime(2099, 1, 1, tzinfo=UTC)
    table.expires, table.description, table.labels = None, "Changed", {"service": None, "origin": "tlc"}
    table.schema = [*table.schema, bigquery.SchemaField("tip_amount", "FLOAT64")]
    client.update_table(table, ["expires", "description", "labels", "schema"], timeout=20)
    table = client.get_table("ny_taxi.trips")
    assert (table.expires, table.description, table.labels) == (None, "Changed", {"origin": "tlc"})
    assert table.clustering_fields == ["pickup_datetime", "vendorid"]
    assert ask(client, "SELECT COUNT(tip_amount) FROM ny_taxi.trips") == [(0,)]


def test_a_load_matches_columns_by_name_in_any_letter_case(client: bigquery.Client) -> None:
    make_trips(client)
    uri = put("trips/january.parquet", trips(date(2021, 1, 1), 3))
    job = load(client, uri, "ny_taxi.trips", write_disposition="WRITE_TRUNCATE", labels={"month": "2021-01"})
    assert (job.output_rows, job.input_files, job.labels) == (3, 1, {"month": "2021-01"})
    again = client.get_job(job.job_id, timeout=20)
    assert isinstance(again, bigquery.LoadJob)
    assert (again.state, again.output_rows) == ("DONE", 3)
    assert again.created <= again.started <= again.ended
    assert ask(client, "SELECT vendorid, fare_amount, flag, file_month FROM ny_taxi.trips ORDER BY vendorid") == [
        (number, 1.5, None, date(2021, 1, 1)) for number in range(3)
    ]
    assert client.get_table("ny_taxi.trips").num_rows == 3


def test_a_load_makes_its_table_and_takes_lists_and_wildcards(client: bigquery.Client) -> None:
    uris = [put(f"many/{number}/trips.parquet", trips(date(2021, number, 1), number)) for number in (1, 2)]
    assert load(client, uris, "ny_taxi.staging").output_rows == 3
    assert load(client, "gs://nyc-taxi-local/many/*.parquet", "ny_taxi.staging").output_rows == 3
    assert ask(client, "SELECT COUNT(*) FROM ny_taxi.staging") == [(6,)]


def test_a_partition_is_replaced_alone(client: bigquery.Client) -> None:
    make_trips(client)
    for month in (1, 2):
        uri = put(f"trips/{month}.parquet", trips(date(2021, month, 1), 10))
        load(client, uri, f"ny_taxi.trips$20210{month}", write_disposition="WRITE_TRUNCATE")
    uri = put("trips/1.parquet", trips(date(2021, 1, 1), 4))
    load(client, uri, "ny_taxi.trips$202101", write_disposition="WRITE_TRUNCATE")
    by_month = "SELECT file_month, COUNT(*) FROM ny_taxi.trips GROUP BY file_month ORDER BY file_month"
    assert ask(client, by_month) == [(date(2021, 1, 1), 4), (date(2021, 2, 1), 10)]
    with pytest.raises(BadRequest, match="do not belong to the partition"):
        load(client, uri, "ny_taxi.trips$202102", write_disposition="WRITE_TRUNCATE")
    assert ask(client, by_month) == [(date(2021, 1, 1), 4), (date(2021, 2, 1), 10)]


def test_a_merge_replaces_one_month(client: bigquery.Client) -> None:
    make_trips(client)
    load(client, put("1.parquet", trips(date(2021, 1, 1), 5)), "ny_taxi.trips")
    load(client, put("2.parquet", trips(date(2021, 2, 1), 7)), "ny_taxi.trips")
    load(client, put("new.parquet", trips(date(2021, 1, 1), 9)), "ny_taxi.staging")
    for _ in range(2):
        ask(client, REPLACE_MONTH)
        assert ask(
            client, "SELECT file_month, COUNT(*), SUM(fare_amount) FROM ny_taxi.trips GROUP BY 1 ORDER BY 1"
        ) == [
            (date(2021, 1, 1), 9, 13.5),
            (date(2021, 2, 1), 7, 10.5),
        ]
    assert client.get_table("ny_taxi.trips").num_rows == 16


LINES = {
    "CSV": b"vendorid,flag\n1,Y\n2,\n",
    "NEWLINE_DELIMITED_JSON": b'{"vendorid": 1, "flag": "Y"}\n{"vendorid": 2}\n',
}


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_text_is_loaded_packed_by_gzip_or_not_whatever_its_name(
    client: bigquery.Client, kind: str, pack: Callable[[bytes], bytes]
) -> None:
    content, config = pack(LINES[kind]), bigquery.LoadJobConfig(source_format=kind, schema=[SCHEMA[0], SCHEMA[3]])
    client.load_table_from_file(io.BytesIO(content), "ny_taxi.uploaded", job_config=config).result(timeout=20)
    client.load_table_from_file(  # with its length, in one request; without, in parts
        io.BytesIO(content), "ny_taxi.uploaded", size=len(content), job_config=config
    ).result(timeout=20)
    uris = [put(name, content) for name in ("lines", "lines.gz")]
    client.load_table_from_uri(uris, "ny_taxi.uploaded", job_config=config).result(timeout=20)
    rows = ask(client, "SELECT vendorid, flag, COUNT(*) FROM ny_taxi.uploaded GROUP BY 1, 2 ORDER BY 1")
    assert rows == [(1, "Y", 4), (2, None, 4)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"vendorid,flag\n" + b"1,Y\n" * 100_000)[:-99], "gzip: .*ended before"),
        (gzip.compress(b"vendorid,flag\none,Y\n"), "one"),
        (b"vendorid,flag\n3,Y\nfour,N\n", "four"),
    ],
    ids=["cut", "wrong", "wrong and plain"],
)
@pytest.mark.parametrize("disposition", ["WRITE_TRUNCATE", "WRITE_APPEND"])
def test_text_that_cannot_be_read_is_400_and_changes_nothing(
    client: bigquery.Client, content: bytes, said: str, disposition: str
) -> None:
    config = bigquery.LoadJobConfig(source_format="CSV", schema=[SCHEMA[0], SCHEMA[3]])
    good = put("good.csv", LINES["CSV"])
    for uris, rows in (([good, good], 4), ([good], 2)):
        job = client.load_table_from_uri(uris, "ny_taxi.text", job_config=config)
        job.result(timeout=20)
        assert (job.output_rows, job.input_files) == (rows, len(uris))
    config.write_disposition = disposition
    for table in ("ny_taxi.text", "ny_taxi.absent"):
        send = partial(client.load_table_from_file, io.BytesIO(content), table, rewind=True, job_config=config)
        with pytest.raises(BadRequest, match=said):
            send().result(timeout=20, retry=ONCE)
        uris = [good, put("bad.csv", content)]
        with pytest.raises(BadRequest, match=said) as refused:
            client.load_table_from_uri(uris, table, job_config=config).result(timeout=20, retry=ONCE)
    assert "gs://nyc-taxi-local/bad.csv" in str(refused.value)
    assert ask(client, "SELECT COUNT(*) FROM ny_taxi.text") == [(6,)]
    with pytest.raises(NotFound):
        client.get_table("ny_taxi.absent", retry=ONCE)


def test_text_goes_by_its_own_schema_by_the_tables_or_by_what_is_in_it(client: bigquery.Client) -> None:
    make_trips(client)
    narrow = bigquery.LoadJobConfig(source_format="CSV", schema=[SCHEMA[3], SCHEMA[0]])
    client.load_table_from_uri(put("a.csv", b"flag,vendorid\nY,1\n"), "ny_taxi.trips", job_config=narrow).result()
    lines = bigquery.LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON")
    uri = put("a.json", b'{"vendorid": 2, "fare_amount": 1.5, "file_month": "2021-01-01"}')
    client.load_table_from_uri(uri, "ny_taxi.trips", job_config=lines).result()
    rows = "SELECT vendorid, flag, fare_amount, file_month FROM ny_taxi.trips ORDER BY 1"
    assert ask(client, rows) == [(1, "Y", None, None), (2, None, 1.5, date(2021, 1, 1))]
    with pytest.raises(BadRequest, match="no schema"):
        client.load_table_from_uri(uri, "ny_taxi.made", job_config=lines).result(retry=ONCE)
    lines.autodetect = True
    client.load_table_from_uri(uri, "ny_taxi.made", job_config=lines).result()
    kinds = [(field.name, field.field_type) for field in client.get_table("ny_taxi.made").schema]
    assert kinds == [("vendorid", "INTEGER"), ("fare_amount", "FLOAT"), ("file_month", "DATE")]


def test_parquet_counts_by_its_content_and_is_refused_inside_gzip(client: bigquery.Client) -> None:
    sink = io.BytesIO()
    pq.write_table(trips(date(2021, 1, 1), 3), sink)
    assert load(client, put("plain.parquet.gz", sink.getvalue()), "ny_taxi.packed").output_rows == 3
    with pytest.raises(BadRequest, match=r"gs://nyc-taxi-local/packed\.parquet"):
        load(client, put("packed.parquet", gzip.compress(sink.getvalue())), "ny_taxi.packed")


@pytest.mark.parametrize(
    "path", ["/bigquery/v2/projects/nyc-taxi-local/queries", "/upload/bigquery/v2/projects/nyc-taxi-local/jobs"]
)
def test_a_request_may_be_packed_by_gzip(client: bigquery.Client, google_server: GoogleServer, path: str) -> None:
    kind, body, query = "application/json", b'{"query": "SELECT 5 AS n", "useLegacySql": false}', ""
    if path.startswith("/upload"):
        kind, query = "multipart/related; boundary=next", "?uploadType=multipart"
        config = (
            b'{"configuration": {"load": {"sourceFormat": "NEWLINE_DELIMITED_JSON", "autodetect": true, '
            b'"destinationTable": {"projectId": "nyc-taxi-local", "datasetId": "ny_taxi", "tableId": "sent"}}}}'
        )
        body = b"\r\n".join(
            (
                *(b"--next", b"Content-Type: application/json", b"", config),
                *(b"--next", b"Content-Type: */*", b"", gzip.compress(b'{"n": 5}\n'), b"--next--", b""),
            )
        )
    headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
    url = f"http://127.0.0.1:{google_server.bigquery_port}{path}{query}"
    answer = requests.post(url, gzip.compress(body), headers=headers, timeout=20)
    assert answer.status_code == 200, answer.text
    assert "errorResult" not in answer.text
    if query:
        assert ask(client, "SELECT n FROM ny_taxi.sent") == [(5,)]
    else:
        assert answer.json()["rows"] == [{"f": [{"v": "5"}]}]


def test_views_tables_and_their_layout_by_sql(client: bigquery.Client) -> None:
    ask(
        client,
        "CREATE TABLE ny_taxi.made (day DATE, n INT64) PARTITION BY DATE_TRUNC(day, MONTH) CLUSTER BY n "
        "OPTIONS (description = 'by SQL')",
    )
    table = client.get_table("ny_taxi.made")
    assert (table.time_partitioning.type_, table.time_partitioning.field) == ("MONTH", "day")
    assert (table.clustering_fields, table.description) == (["n"], "by SQL")
    ask(client, "INSERT INTO ny_taxi.made (day, n) VALUES (DATE '2021-01-31', 5)")
    ask(client, "CREATE OR REPLACE VIEW ny_taxi.seen AS SELECT n + 1 AS m FROM ny_taxi.made")
    assert ask(client, "SELECT m FROM ny_taxi.seen") == [(6,)]
    assert "SELECT n + 1 AS m" in client.get_table("ny_taxi.seen").view_query
    ask(client, "DROP VIEW ny_taxi.seen")
    ask(client, "DROP TABLE ny_taxi.made")
    ask(client, "DROP TABLE IF EXISTS ny_taxi.made")
    assert list(client.list_tables("ny_taxi")) == []


NAMED = "nyc-taxi-local.ny_taxi"


@pytest.mark.parametrize("ask", [ask, lambda client, sql: [tuple(row.values()) for row in client.query_and_wait(sql)]])
def test_a_project_with_dashes_needs_no_quotes_where_a_table_is_named(client: bigquery.Client, ask: Ask) -> None:
    for statement in (
        f"CREATE OR REPLACE TABLE {NAMED}.dashed AS SELECT 5 AS n, 2 AS less",
        f"CREATE TABLE IF NOT EXISTS {NAMED}.dashed (n INT64, less INT64)",
        f"INSERT INTO {NAMED}.dashed (n, less) SELECT n + 1, less FROM {NAMED}.dashed",
        f"INSERT {NAMED}.dashed (n, less) VALUES (10, 3)",
        f"UPDATE {NAMED}.dashed SET less = 1 WHERE n = 10",
        f"MERGE INTO {NAMED}.dashed T USING {NAMED}.dashed S ON T.n = S.n AND S.n = 6 WHEN MATCHED THEN DELETE",
        f"CREATE VIEW {NAMED}.seen AS SELECT n - less AS left_over FROM {NAMED}.dashed",
    ):
        ask(client, statement)
    assert ask(client, f"SELECT n-dashed.less FROM {NAMED}.dashed ORDER BY n") == [(3,), (9,)]
    assert ask(client, f"SELECT count(*) FROM (SELECT 1) AS one, {NAMED}.dashed, {NAMED}.seen AS s") == [(4,)]
    joined = f"SELECT max(d.n) FROM {NAMED}.seen AS s JOIN {NAMED}.dashed AS d ON d.n-d.less=s.left_over"
    assert ask(client, joined) == [(10,)]
    assert ask(client, f"SELECT 'FROM {NAMED}.dashed' -- FROM {NAMED}.dashed") == [(f"FROM {NAMED}.dashed",)]
    assert ask(client, "SELECT 'from', x-t.n FROM (SELECT 7 AS x) AS s, (SELECT 2 AS n) AS t") == [("from", 5)]
    listed = f"SELECT table_id FROM {NAMED}.__TABLES_SUMMARY__ ORDER BY 1"
    assert ask(client, listed) == [("dashed",), ("seen",)]
    kinds = f"SELECT table_type FROM {NAMED}.INFORMATION_SCHEMA.TABLES WHERE table_name = 'seen'"
    assert ask(client, kinds) == [("VIEW",)]
    ask(client, f"DELETE FROM {NAMED}.dashed WHERE TRUE; DROP VIEW {NAMED}.seen; DROP TABLE {NAMED}.dashed")
    assert ask(client, listed) == []


def test_parameters_are_bound(client: bigquery.Client) -> None:
    month = bigquery.ScalarQueryParameter("month", "DATE", date(2021, 1, 1))
    config = bigquery.QueryJobConfig(query_parameters=[month], labels={"asked": "by-a-test"})
    job = client.query("SELECT DATE_ADD(@month, INTERVAL 1 MONTH) AS next", job_config=config, timeout=20)
    assert [row.next for row in job.result(timeout=20)] == [date(2021, 2, 1)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.parquet", b"this is no Parquet at all", "gs://nyc-taxi-local/text.parquet"),
        ("empty.parquet", b"", "gs://nyc-taxi-local/empty.parquet"),
        ("cut.parquet", b"PAR1" + b"x" * 100, "gs://nyc-taxi-local/cut.parquet"),
        ("more.parquet", pa.table({"VendorID": [1], "extra": [1]}), "Cannot add fields"),
        ("other.parquet", pa.table({"VendorID": ["one"]}), "VendorID has changed type from INTEGER to STRING"),
        *(
            (f"{kind}.parquet", pa.table({name: pa.array([1], kind)}), f"{name} has changed type from {held} to {now}")
            for name, held, kind, now in (
                ("VendorID", "INTEGER", pa.float64(), "FLOAT"),
                ("Fare_amount", "FLOAT", pa.int64(), "INTEGER"),
                ("Pickup_DateTime", "DATETIME", pa.int64(), "INTEGER"),
                ("Pickup_DateTime", "DATETIME", pa.timestamp("us", "UTC"), "TIMESTAMP"),
                ("Pickup_DateTime", "DATETIME", pa.timestamp("ns"), "INTEGER"),
                ("Pickup_DateTime", "DATETIME", pa.date32(), "DATE"),
            )
        ),
        *(
            (f"{time}.parquet", pa.table({"Pickup_DateTime": pa.array([time], pa.timestamp("us"))}), message)
            for time in (FIRST_TIME - 1, LAST_TIME + 1)
            for message in (f"Invalid datetime value {time} for field 'Pickup_DateTime'.* The range of valid datetime",)
        ),
        ("day.parquet", pa.table({"file_month": pa.array([2_932_897], pa.date32())}), "Invalid date value"),
        ("latin.parquet", pa.table({"flag": NO_UTF8}), "not valid UTF8"),
    ],
)
def test_a_file_that_does_not_fit_is_400_and_changes_nothing(
    client: bigquery.Client, name: str, content: pa.Table | bytes, message: str
) -> None:
    make_trips(client)
    load(client, put("good.parquet", trips(date(2021, 1, 1), 3)), "ny_taxi.trips")
    with pytest.raises(BadRequest, match=message):
        load(client, put(name, content), "ny_taxi.trips", write_disposition="WRITE_TRUNCATE")
    assert ask(client, "SELECT COUNT(*) FROM ny_taxi.trips") == [(3,)]


def test_the_first_and_the_last_time_and_infinity_are_loaded(client: bigquery.Client) -> None:
    make_trips(client)
    times = pa.array([FIRST_TIME, LAST_TIME], pa.timestamp("us"))
    uri = put("ends.parquet", pa.table({"Pickup_DateTime": times, "Fare_amount": [float("inf"), float("-inf")]}))
    load(client, uri, "ny_taxi.trips")
    assert ask(client, "SELECT pickup_datetime, fare_amount FROM ny_taxi.trips ORDER BY 1") == [
        (datetime.min, float("inf")),
        (datetime.max, float("-inf")),
    ]


def test_what_is_missing_is_404(client: bigquery.Client) -> None:
    uri = put("good.parquet", trips(date(2021, 1, 1), 3))
    with pytest.raises(NotFound, match=r"gs://nyc-taxi-local/absent\.parquet"):
        load(client, "gs://nyc-taxi-local/absent.parquet", "ny_taxi.trips")
    with pytest.raises(NotFound, match="Dataset nyc-taxi-local:absent"):
        load(client, uri, "absent.trips")
    with pytest.raises(NotFound, match="Dataset nyc-taxi-local:absent"):
        client.load_table_from_file(io.BytesIO(LINES["CSV"]), "absent.trips").result(timeout=20, retry=ONCE)
    with pytest.raises(NotFound):
        client.get_table("ny_taxi.absent", retry=ONCE)
    with pytest.raises(NotFound):
        client.create_table(bigquery.Table("nyc-taxi-local.absent.trips", schema=SCHEMA), retry=ONCE)
    with pytest.raises(NotFound):
        ask(client, "SELECT * FROM ny_taxi.absent")


def test_no_file_of_this_machine_can_be_read(client: bigquery.Client, tmp_path: Path) -> None:
    pq.write_table(trips(date(2021, 1, 1), 1), tmp_path / "private.parquet")
    for uri in (f"file://{tmp_path}/private.parquet", str(tmp_path / "private.parquet")):
        with pytest.raises(BadRequest, match="must be a Google Cloud Storage location"):
            load(client, uri, "ny_taxi.stolen")


@pytest.mark.parametrize(
    "sql",
    [
        "SELEC 1",
        "SELECT 1 / 0",
        "SELECT ERROR('stop')",
        "SELECT no_such_function(1)",
        "SELECT CAST('x' AS INT64)",
        "BEGIN RAISE USING MESSAGE = 'stop'; END",
        "CREATE TABLE absent.t (a INT64)",
        "CREATE VIEW ny_taxi.v AS SELECT a FROM ny_taxi.absent",
        "SELECT ST_GEOGPOINT(1, 2)",
    ],
)
def test_what_a_statement_does_wrong_is_4xx(client: bigquery.Client, sql: str) -> None:
    with pytest.raises(GoogleAPICallError) as refused:
        ask(client, sql)
    assert 400 <= (refused.value.code or 0) < 500


def test_a_job_runs_once_under_its_name(client: bigquery.Client) -> None:
    uri = put("good.parquet", trips(date(2021, 1, 1), 3))
    config = bigquery.LoadJobConfig(source_format="PARQUET")
    name = f"once-{datetime.now(UTC):%H%M%S%f}"
    client.load_table_from_uri(uri, "ny_taxi.once", job_id=name, job_config=config).result(timeout=20)
    with pytest.raises(Conflict, match="Already Exists: Job"):
        client.load_table_from_uri(uri, "ny_taxi.once", job_id=name, job_config=config, retry=ONCE)
    assert ask(client, "SELECT COUNT(*) FROM ny_taxi.once") == [(3,)]


def test_an_upload_runs_once_under_its_name(client: bigquery.Client) -> None:
    name = f"upload-once-{datetime.now(UTC):%H%M%S%f}"
    config = bigquery.LoadJobConfig(source_format="CSV", schema=[SCHEMA[0], SCHEMA[3]])
    for size in (None, len(LINES["CSV"])):
        send = partial(client.load_table_from_file, size=size, job_id=f"{name}-{size}", job_config=config)
        assert send(io.BytesIO(LINES["CSV"]), "ny_taxi.once").result(timeout=20).job_id == f"{name}-{size}"
        assert client.get_job(f"{name}-{size}", timeout=20).state == "DONE"
        with pytest.raises(Conflict, match="Already Exists: Job"):
            send(io.BytesIO(LINES["CSV"]), "ny_taxi.once", num_retries=0)
    assert ask(client, "SELECT COUNT(*) FROM ny_taxi.once") == [(4,)]


def test_a_million_rows_are_replaced_in_seconds_and_little_memory(
    client: bigquery.Client, google_server: GoogleServer
) -> None:
    make_trips(client)
    uri = put("million.parquet", trips(date(2021, 1, 1), 1_000_000))
    load(client, uri, "ny_taxi.trips")
    load(client, uri, "ny_taxi.staging")
    began = time.monotonic()
    ask(client, REPLACE_MONTH)
    assert time.monotonic() - began < 15  # hours, if each row were compared with each
    assert client.get_table("ny_taxi.trips").num_rows == 1_000_000
    assert psutil.Process(google_server.bigquery_pid).memory_info().rss < 1_500_000_000


def test_sigkill_keeps_what_was_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = google.start(tmp_path)
    try:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        client = bigquery.Client(location="US")
        make_trips(client)
        load(client, put("1.parquet", trips(date(2021, 1, 1), 5)), "ny_taxi.trips")
        asked = client.query("SELECT vendorid, flag FROM ny_taxi.trips ORDER BY vendorid", timeout=20)
        os.kill(server.bigquery_pid, signal.SIGKILL)
        assert google.start(tmp_path).bigquery_port == server.bigquery_port
        table = client.get_table("ny_taxi.trips")
        assert (table.num_rows, table.clustering_fields) == (5, ["pickup_datetime", "vendorid"])
        assert [field.description for field in table.schema[:1]] == ["who sent the record"]
        rows = asked.result(timeout=20, retry=ONCE, job_retry=None)
        assert [tuple(row.items()) for row in rows] == [(("vendorid", number), ("flag", None)) for number in range(5)]
    finally:
        google.stop(tmp_path)


DIES_AFTER_ITS_LOAD = """
import os, signal
from ops.emulators import bigquery, bigquery_load
load = bigquery_load._replace_or_append
bigquery_load._replace_or_append = lambda *arguments: (load(*arguments), os.kill(os.getpid(), signal.SIGKILL))
bigquery.main()
"""


def test_sigkill_just_after_a_load_keeps_its_job_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = google.start(tmp_path)
    try:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        client = bigquery.Client(location="US")
        uri = put("1.parquet", trips(date(2021, 1, 1), 5))
        os.kill(server.bigquery_pid, signal.SIGKILL)
        folders = (tmp_path / "bigquery", str(server.bigquery_port), tmp_path / "gcs")
        doomed = subprocess.Popen([emulator_python(), "-c", DIES_AFTER_ITS_LOAD, *folders], cwd=ROOT)
        ask(client, "SELECT 1", Retry(if_exception_type(requests.ConnectionError), timeout=30))
        config = bigquery.LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_EMPTY")
        load_once = partial(client.load_table_from_uri, uri, "ny_taxi.once", job_id="once", job_config=config)
        with pytest.raises(requests.ConnectionError):
            load_once(retry=ONCE)
        assert doomed.wait(10) == -signal.SIGKILL
        google.start(tmp_path)
        with pytest.raises(Conflict, match="Already Exists: Job"):
            load_once(retry=ONCE)
        job = client.get_job("once", timeout=20)
        assert isinstance(job, bigquery.LoadJob)
        assert (job.state, job.output_rows) == ("DONE", 5)
        assert ask(client, "SELECT COUNT(*) FROM ny_taxi.once") == [(5,)]
    finally:
        google.stop(tmp_path)


OLD_ANSWERS_GO = """
import pathlib, sys
from ops.emulators import bigquery_jobs
bigquery_jobs.KEPT = 2
for start in "ab":
    answers = bigquery_jobs.Answers(pathlib.Path(sys.argv[1]), pathlib.Path.write_text, pathlib.Path.read_text)
    for job in ("1", "2", "3", "2", "4"):
        answers[start + job] = start
    print(*[job for job in ("a1", "a2", "a3", "a4", "b1", "b2", "b3", "b4") if answers.get(job)])
answers.pop("b2")
print(len(list(pathlib.Path(sys.argv[1]).iterdir())))
"""


def test_the_newest_answers_are_kept_and_no_more(tmp_path: Path) -> None:
    command = [str(emulator_python()), "-c", OLD_ANSWERS_GO, str(tmp_path)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-3:] == ["a2 a4", "b2 b4", "1"]


@pytest.mark.filterwarnings("error::UserWarning", "error::FutureWarning", "ignore::PendingDeprecationWarning")
def test_rows_become_a_data_frame_and_a_data_frame_a_table(client: bigquery.Client) -> None:
    frame = client.query("SELECT 1 AS n, DATE '2021-01-05' AS day, TIME '05:00:00' AS hour").to_dataframe(
        create_bqstorage_client=False
    )
    assert [str(kind) for kind in frame.dtypes] == ["Int64", "dbdate", "dbtime"]
    client.load_table_from_dataframe(frame, "ny_taxi.framed").result(timeout=20)
    assert ask(client, "SELECT n, day FROM ny_taxi.framed") == [(1, date(2021, 1, 5))]
