"""A month of trips in a bucket: what the object is, who may replace it, and what is left when a writer dies."""

import io
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from google.cloud.storage import blob as google_blob
from nyc_taxi.catalog.services import FHVHV, GREEN, SERVICES, YELLOW
from nyc_taxi.errors import CountsDisagree, NotATripFile, NotPublished, TargetUnavailable, UnknownName
from nyc_taxi.load.bucket import objects
from nyc_taxi.load.bucket.month import (
    FOOTER_BYTES,
    check_month,
    find_month,
    measure_month,
    replace_month,
    slice_object,
    write_slice,
)
from nyc_taxi.load.google import storage_client
from nyc_taxi.manifest import StagedFile
from nyc_taxi.months import Month
from nyc_taxi.settings import GoogleSettings

from ops.ports import free_port
from tests.nyc_taxi.load.bucket.bucket_helpers import (
    DoomedStore,
    Line,
    Months,
    generations,
    get,
    metadata_of,
    months_in,
    objects_in,
    of_rows,
    put,
    read,
    refusing,
    sorted_rows,
    start_run,
)
from tests.nyc_taxi.load.loading import miscounted

KEPT = "trips/yellow/yellow_tripdata_2021-01.parquet"
REJECTED = "trips_rejected/yellow/yellow_tripdata_2021-01.parquet"
JANUARY = Month(2021, 1)
MIDNIGHT = datetime(2021, 1, 15)
A_MOMENT = timedelta(microseconds=1)


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Months]:
    """Synthetic months, each made once."""
    with months_in(tmp_path_factory.mktemp("lake")) as made:
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    """A second in the place of the minute for which a request is repeated."""
    monkeypatch.setattr("nyc_taxi.load.google.RETRY_SECONDS", 1.0)
    return 1.0


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> int:
    """Uploads in pieces of 256 KiB, the least that the service allows, whatever the size of the whole."""
    monkeypatch.setattr(objects, "CHUNK_BYTES", 256 << 10)
    monkeypatch.setattr(google_blob, "_MAX_MULTIPART_SIZE", 0)
    return 256 << 10


def columns_over(source: pa.Table, rows: list[datetime | None], pickup: str) -> pa.Table:
    """The first rows of a table with these times of pickup."""
    times = pa.array(rows, pa.timestamp("us"))
    return source.slice(0, len(rows)).set_column(source.schema.get_field_index(pickup), pickup, times)


# --- What the object is


def test_a_month_is_one_object_of_its_accepted_rows_and_one_of_its_rejected(
    google: GoogleSettings, months: Months
) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 2_000, malformed=3)
    replace_month(file, google)
    assert set(objects_in(google)) == {KEPT, REJECTED}
    assert (file.rows_read, file.rows_accepted, file.rows_rejected) == (2_000, 1_815, 185)
    assert read(google, KEPT).num_rows == 1_815
    assert read(google, REJECTED).num_rows == 185
    check_month(file, google)
    rows, sums = measure_month(YELLOW, JANUARY, google)
    assert rows == 1_815
    assert sums == pytest.approx(file.sums, rel=1e-9)


def test_a_month_written_twice_is_the_same_bytes(google: GoogleSettings, months: Months) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 2_000, malformed=3)
    replace_month(file, google)
    first, writings = objects_in(google), generations(google)
    replace_month(file, google)
    assert objects_in(google) == first
    assert len(first) == 2
    assert all(generations(google)[name] > writing for name, writing in writings.items())
    assert find_month(YELLOW, JANUARY, google).rows_accepted == 1_815


def test_the_bytes_do_not_depend_on_where_the_month_was_staged(google: GoogleSettings, tmp_path: Path) -> None:
    found = []
    for machine in ("one", "another"):
        with months_in(tmp_path / machine) as months:
            file = months.judged("yellow", "2021-01", "dtc", 500, malformed=1)
            replace_month(replace(file, url="https://dtc.example/yellow.csv.gz", etag='"1"'), google)
            found.append(objects_in(google))
            footer = get(google, KEPT)
            assert str(tmp_path).encode() not in footer
            assert file.path.encode() not in footer
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("service", "eras"),
    [
        (
            "yellow",
            ["2009-03 tlc", "2010-02 tlc", "2011-05 tlc", "2019-01 tlc", "2019-06 dtc", "2021-01 dtc", "2023-03 tlc",
             "2025-02 tlc", "2026-06 tlc"],
        ),
        ("green", ["2014-01 tlc", "2019-10 tlc", "2020-10 dtc", "2023-03 tlc", "2025-02 tlc"]),
        ("fhv", ["2015-02 tlc", "2019-05 tlc", "2019-06 tlc", "2019-01 dtc", "2021-01 dtc", "2023-03 tlc"]),
        ("fhvhv", ["2019-02 tlc", "2021-06 dtc", "2020-01 dtc", "2023-03 tlc", "2025-02 tlc"]),
    ],
)  # fmt: skip
def test_every_era_of_a_service_becomes_one_schema(
    google: GoogleSettings, months: Months, service: str, eras: list[str]
) -> None:
    wanted = SERVICES[service].schema
    for era in eras:
        month, origin = era.split()
        file = months.judged(service, month, origin, 200)
        replace_month(file, google)
        found = pq.read_schema(io.BytesIO(get(google, f"trips/{service}/{service}_tripdata_{month}.parquet")))
        assert found.equals(wanted), era
        assert found.names == [column.name for column in SERVICES[service].columns]
        assert {field.nullable for field in found} == {True}
    stored = objects_in(google, f"trips/{service}/")
    assert len(stored) == len(eras)
    assert {pq.read_schema(io.BytesIO(get(google, name))).remove_metadata() for name in stored} == {
        wanted.remove_metadata()
    }


@pytest.mark.parametrize("service", ["yellow", "green", "fhv", "fhvhv"])
@pytest.mark.parametrize("what", ["trips", "trips_rejected"])
def test_the_file_is_what_bigquery_loads_without_a_word(
    google: GoogleSettings, months: Months, service: str, what: str
) -> None:
    replace_month(months.judged(service, "2021-01", "dtc", 500, malformed=3), google)
    metadata = pq.read_metadata(io.BytesIO(get(google, f"{what}/{service}/{service}_tripdata_2021-01.parquet")))
    times = 0
    for column in map(metadata.schema.column, range(metadata.num_columns)):
        kind = json.loads(column.logical_type.to_json())
        if kind["Type"] == "Timestamp":
            assert (column.physical_type, kind["timeUnit"], kind["isAdjustedToUTC"]) == ("INT64", "microseconds", False)
            times += 1
        assert column.physical_type in {"INT32", "INT64", "DOUBLE", "BYTE_ARRAY"}
        assert kind["Type"] in {"None", "Timestamp", "String"}, column.name  # Null is the type that is refused
        assert column.name != "__index_level_0__"
    assert times == (4 if service == "fhvhv" else 2)
    assert set(metadata.metadata or {}) <= {b"nyc_taxi.manifest", b"ARROW:schema"}


def test_a_far_drop_off_keeps_its_year(google: GoogleSettings, months: Months) -> None:
    replace_month(months.judged("fhv", "2021-01", "dtc", 500), google)
    dropoffs = read(google, "trips/fhv/fhv_tripdata_2021-01.parquet")["dropoff_datetime"]
    assert pc.max(dropoffs).as_py() == datetime(3019, 2, 3, 17, 30, 32)


def test_the_object_has_the_rows_of_the_staged_file_in_their_order(google: GoogleSettings, months: Months) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 2_000)
    replace_month(file, google)
    staged = pq.read_table(file.path)
    expected = staged.filter(pc.greater(staged["passenger_count"], 0))
    assert read(google, KEPT).equals(expected)
    assert len(expected) == file.rows_accepted


def test_row_groups_are_even_and_the_last_is_smaller(
    google: GoogleSettings, months: Months, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nyc_taxi.load.bucket.parquet.ROW_GROUP", 20_000)
    file = months.judged("fhv", "2020-01", "tlc", 100_000)
    replace_month(file, google)
    metadata = pq.read_metadata(io.BytesIO(get(google, "trips/fhv/fhv_tripdata_2020-01.parquet")))
    groups = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    # Batches are not cut: a group ends with the first batch of 16,384 rows that fills it.
    assert groups == [32_768, 32_768, 32_768, 1_696]


def test_rejected_rows_are_kept_with_their_reason_and_malformed_ones_with_their_text(
    google: GoogleSettings, months: Months
) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 2_000, malformed=3)
    replace_month(file, google)
    rejected = read(google, REJECTED)
    assert rejected.schema.names == [*YELLOW.schema.names, "reason", "source_row", "source_text"]
    assert [str(rejected.schema.field(name).type) for name in ("reason", "source_row", "source_text")] == [
        "string",
        "int64",
        "string",
    ]
    assert Counter(rejected["reason"].to_pylist()) == file.rejected
    assert file.rejected == {
        "no_passengers": 42,
        "passenger_count_missing": 140,
        "malformed: number of fields": 1,
        "malformed: fare_amount": 1,
        "malformed: tpep_pickup_datetime": 1,
    }
    nobody = rejected.filter(pc.equal(rejected["reason"], "no_passengers"))
    assert set(nobody["passenger_count"].to_pylist()) == {0}
    assert nobody["tpep_pickup_datetime"].null_count == nobody["total_amount"].null_count == 0
    broken = rejected.filter(pc.is_valid(rejected["source_row"])).to_pylist()
    assert [row["source_row"] for row in broken] == [334, 1_001, 1_667]
    assert ",n/a," in broken[1]["source_text"]
    assert "01/01/2021 0:30" in broken[2]["source_text"]
    assert {row[name] for row in broken for name in YELLOW.schema.names} == {None}


def test_the_rejected_object_goes_when_the_next_version_rejects_nothing(google: GoogleSettings, months: Months) -> None:
    replace_month(months.judged("yellow", "2021-01", "dtc", 500, malformed=3), google)
    assert set(objects_in(google)) == {KEPT, REJECTED}
    fixed = months.judged("yellow", "2021-01", "dtc", 500, rules="none")
    replace_month(fixed, google)
    assert set(objects_in(google)) == {KEPT}
    assert fixed.rows_accepted == read(google, KEPT).num_rows == 500
    replace_month(fixed, google)
    assert set(objects_in(google)) == {KEPT}


def test_a_month_and_its_neighbours_do_not_touch_each_other(google: GoogleSettings, months: Months) -> None:
    for service, month in (("fhv", "2021-01"), ("fhvhv", "2021-01"), ("fhv", "2021-02")):
        replace_month(months.judged(service, month, "dtc", 300), google)
    before = generations(google)
    assert set(before) == {f"trips/{s}/{s}_tripdata_{m}.parquet"
                           for s, m in (("fhv", "2021-01"), ("fhvhv", "2021-01"), ("fhv", "2021-02"))}  # fmt: skip
    replace_month(months.judged("fhv", "2021-01", "dtc", 300, seed=1), google)
    after = generations(google)
    assert {name for name in before if before[name] != after[name]} == {"trips/fhv/fhv_tripdata_2021-01.parquet"}


def test_the_object_tells_any_tool_what_it_is(google: GoogleSettings, months: Months) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 2_000, malformed=3)
    replace_month(file, google)
    told = {
        "service": "yellow",
        "month": "2021-01",
        "origin": "dtc",
        "trip_file_sha256": file.sha256,
        "rules": "has_passengers",
    }
    assert metadata_of(google, KEPT) == told | {"rows": "1815"}
    assert metadata_of(google, REJECTED) == told | {"rows": "185"}
    assert storage_client(google).bucket(google.bucket).get_blob(KEPT).content_type == (
        "application/vnd.apache.parquet"
    )


def test_the_manifest_comes_back_out_of_the_footer_without_any_local_path(
    google: GoogleSettings, months: Months
) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 2_000, malformed=3)
    replace_month(file, google)
    found = find_month(YELLOW, JANUARY, google)
    assert found == replace(file, path=f"gs://{google.bucket}/{KEPT}", malformed_path="")
    schema = pq.read_schema(io.BytesIO(get(google, KEPT)))
    row = json.loads(schema.metadata[b"nyc_taxi.manifest"])
    assert (row["path"], row["malformed_path"]) == ("", "")
    assert str(Path(file.path).parent).encode() not in get(google, KEPT)


# --- Finding a month


def test_finding_a_month_reads_its_end_only_however_many_row_groups_it_has(
    google: GoogleSettings, months: Months, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nyc_taxi.load.bucket.parquet.ROW_GROUP", 1)  # a group for every batch
    source = months.judged("fhvhv", "2023-03", "tlc", 30_000)
    table = pq.read_table(source.path)
    many = of_rows(source, pa.concat_tables([table] * 20), Path(source.path).parent / "many")
    with Line(google.storage_emulator) as line:
        replace_month(many, line.of(google))  # an object's address for downloads is that of its upload
        before = line.down
        assert find_month(FHVHV, Month(2023, 3), line.of(google)).rows_accepted == 600_000
        came = line.down - before
    [(size, _)] = objects_in(google).values()
    content = get(google, "trips/fhvhv/fhvhv_tripdata_2023-03.parquet")
    footer = int.from_bytes(content[-8:-4], "little") + 8
    assert pq.read_metadata(io.BytesIO(content)).num_row_groups == 37
    assert size > 10_000_000
    assert footer > FOOTER_BYTES  # so that the first read is not enough
    assert footer < came < FOOTER_BYTES + footer + 10_000 < 1_000_000


def test_measuring_a_month_reads_little_more_than_the_measured_columns(google: GoogleSettings, months: Months) -> None:
    file = months.judged("fhvhv", "2023-03", "tlc", 150_000)
    with Line(google.storage_emulator) as line:
        replace_month(file, line.of(google))
        before = line.down
        rows, sums = measure_month(FHVHV, Month(2023, 3), line.of(google))
        came = line.down - before
    assert rows == 150_000
    assert sums == pytest.approx(file.sums, rel=1e-9)
    name = "trips/fhvhv/fhvhv_tripdata_2023-03.parquet"
    metadata = pq.read_metadata(io.BytesIO(get(google, name)))
    measured = sum(
        column.total_compressed_size
        for group in map(metadata.row_group, range(metadata.num_row_groups))
        for column in map(group.column, range(group.num_columns))
        if column.path_in_schema in FHVHV.measures
    )
    # The client reads ahead of every column, and the footer is read twice.
    ahead = (2 * metadata.num_row_groups + 4) * FOOTER_BYTES
    assert measured < came < measured + ahead < objects_in(google)[name][0] / 2


@pytest.mark.parametrize("ask", [find_month, measure_month])
def test_a_month_that_is_not_there_is_named_with_the_pipeline_that_brings_it(
    google: GoogleSettings, ask: Callable[..., object]
) -> None:
    with pytest.raises(NotPublished) as missing:
        ask(GREEN, Month(2020, 10), google)
    assert str(missing.value) == (
        f"gs://{google.bucket}/trips/green/green_tripdata_2020-10.parquet does not exist: "
        f"run api_to_gcs for green 2020-10 first"
    )


def parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def with_manifest(schema: pa.Schema, text: str) -> bytes:
    return parquet(schema.with_metadata({"nyc_taxi.manifest": text}).empty_table())


FOREIGN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", r"is no Parquet file \(it ends with b''\): run api_to_gcs to replace it"),
    "three bytes": (b"PAR", r"is no Parquet file \(it ends with b'PAR'\): run api_to_gcs"),
    "an error page": (b"<html>not found</html>" * 9, r"is no Parquet file \(it ends with b'tml>'\): run api_to_gcs"),
    "only the mark": (b"PAR1", r"is no Parquet file .*: run api_to_gcs to replace it"),
    "a length beyond its size": (b"PAR1" + b"\xff\xff\x00\x00PAR1", r"is no Parquet file .*: run api_to_gcs"),
    "a length of zero": (b"PAR1" + bytes(99) + bytes(4) + b"PAR1", r"has a damaged footer \(.*\): run api_to_gcs"),
    "a damaged footer": (
        b"PAR1" + b"x" * 100 + (100).to_bytes(4, "little") + b"PAR1",
        r"has a damaged footer \(.*\): run api_to_gcs to replace it",
    ),
    "another program's columns": (
        parquet(pa.table({"a": [1], "VendorID": [1.5]})),
        r"has not the columns of yellow \(VendorID is double, .*\): another program wrote it, or an older version; "
        r"run api_to_gcs to replace it",
    ),
    "one column more": (
        parquet(YELLOW.schema.append(pa.field("tip_of_the_day", pa.string())).empty_table()),
        r"has not the columns of yellow \(tip_of_the_day\): another program",
    ),
    "another order": (
        parquet(pa.schema(list(YELLOW.schema)[::-1]).empty_table()),
        r"has not the columns of yellow \(another order, or columns that must not be null\): another program",
    ),
    "times with a zone": (
        parquet(YELLOW.schema.set(1, pa.field("tpep_pickup_datetime", pa.timestamp("us", "UTC"))).empty_table()),
        r"has not the columns of yellow \(tpep_pickup_datetime is timestamp\[us, tz=UTC\]\)",
    ),
    "no manifest": (
        parquet(YELLOW.schema.empty_table()),
        r"carries no manifest: another program wrote it; run api_to_gcs to replace it",
    ),
    "a manifest that is no JSON": (
        with_manifest(YELLOW.schema, "yellow"),
        r"carries a manifest of another form: run api_to_gcs to replace it",
    ),
    "a manifest of another version": (
        with_manifest(YELLOW.schema, '{"service": "yellow"}'),
        r"carries a manifest of another form: run api_to_gcs to replace it",
    ),
    "a manifest that is a list": (
        with_manifest(YELLOW.schema, "[1]"),
        r"carries a manifest of another form: run api_to_gcs to replace it",
    ),
}


@pytest.mark.parametrize(("content", "message"), FOREIGN.values(), ids=list(FOREIGN))
def test_a_foreign_object_is_named_with_what_to_do(google: GoogleSettings, content: bytes, message: str) -> None:
    put(google, KEPT, content)
    with pytest.raises(NotATripFile, match=message) as refused:
        find_month(YELLOW, JANUARY, google)
    assert str(refused.value).startswith(f"gs://{google.bucket}/{KEPT} ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("share", [0.3, 0.999])
def test_a_truncated_month_is_refused(google: GoogleSettings, months: Months, share: float) -> None:
    replace_month(months.judged("yellow", "2021-01", "dtc", 500), google)
    content = get(google, KEPT)
    put(google, KEPT, content[: int(len(content) * share)])
    with pytest.raises(NotATripFile, match=r"is no Parquet file .* run api_to_gcs to replace it"):
        find_month(YELLOW, JANUARY, google)


def test_another_services_month_and_another_month_are_refused(google: GoogleSettings, months: Months) -> None:
    for service, month in (("green", "2021-01"), ("yellow", "2021-02")):
        replace_month(months.judged(service, month, "dtc", 500), google)
    put(google, KEPT, get(google, "trips/green/green_tripdata_2021-01.parquet"))
    with pytest.raises(NotATripFile, match=r"has not the columns of yellow \(tpep_pickup_datetime is missing, "):
        find_month(YELLOW, JANUARY, google)
    put(google, KEPT, get(google, "trips/yellow/yellow_tripdata_2021-02.parquet"))
    with pytest.raises(
        NotATripFile,
        match=r"holds 452 rows and says it is yellow 2021-02 with 452: run api_to_gcs for yellow 2021-01 to replace",
    ):
        find_month(YELLOW, JANUARY, google)


def test_a_manifest_that_counts_other_rows_than_its_file_is_refused(google: GoogleSettings, months: Months) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 500)
    table = pq.read_table(file.path).slice(0, 400)
    put(google, KEPT, parquet(table.replace_schema_metadata({"nyc_taxi.manifest": json.dumps(file.to_row())})))
    with pytest.raises(NotATripFile, match=f"holds 400 rows and says it is yellow 2021-01 with {file.rows_accepted}"):
        find_month(YELLOW, JANUARY, google)


def test_a_month_that_another_run_replaced_is_found_by_the_check(google: GoogleSettings, months: Months) -> None:
    ours = months.judged("yellow", "2021-01", "dtc", 500)
    theirs = months.judged("yellow", "2021-01", "dtc", 500, rules="none")
    replace_month(ours, google)
    check_month(ours, google)
    replace_month(theirs, google)
    with pytest.raises(CountsDisagree) as refused:
        check_month(ours, google)
    assert str(refused.value) == (
        f"gs://{google.bucket}/{KEPT} holds 500 rows of trip file {ours.sha256[:12]}, the manifest "
        f"{ours.rows_accepted} of {ours.sha256[:12]}: another run replaced the month"
    )


# --- Wrong numbers


def other_sums(file: StagedFile) -> StagedFile:
    return replace(file, sums={**file.sums, "total_amount": file.sums["total_amount"] + 1})


def other_reasons(file: StagedFile) -> StagedFile:
    return replace(file, rows_read=file.rows_read + 1, rejected={**file.rejected, "no_passengers": 1_000})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: miscounted(file, 1), "nothing was changed: run the pipeline again"),
        (lambda file: miscounted(file, -1), "nothing was changed: run the pipeline again"),
        (other_sums, "nothing was changed: run the pipeline again"),
        (lambda file: replace(file, sums={}), "nothing was changed: run the pipeline again"),
        (lambda file: replace(file, rules=()), "nothing was changed: run the pipeline again"),
        (other_reasons, "yellow 2021-01: 2,001 rows read, but .*: run transform_taxi_data again"),
        (lambda file: replace(file, rejected={}), "rows read, but 1,815 accepted and 0 rejected"),
    ],
    ids=["a row too many", "a row too few", "another sum", "no sums", "no rules", "other reasons", "no reasons"],
)
def test_numbers_that_are_wrong_change_nothing(
    google: GoogleSettings, months: Months, spoil: Callable[[StagedFile], StagedFile], message: str
) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 2_000, malformed=3)
    replace_month(months.judged("yellow", "2021-01", "dtc", 500), google)
    before = generations(google)
    with pytest.raises(CountsDisagree, match=message):
        replace_month(spoil(file), google)
    assert generations(google) == before
    assert set(before) == {KEPT, REJECTED}


def test_a_staged_file_that_is_gone_is_named_and_nothing_changes(google: GoogleSettings, months: Months) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 500)
    gone = str(Path(file.path).with_name("gone.parquet"))
    with pytest.raises(NotATripFile) as refused:
        replace_month(replace(file, path=gone), google)
    assert str(refused.value) == f"staged file {gone} is gone: run load_api_data again"
    assert objects_in(google) == {}


# --- A writer that dies


def test_a_writer_killed_in_the_middle_of_an_upload_leaves_the_old_month_and_the_next_run_heals_it(
    google: GoogleSettings, months: Months, tmp_path: Path
) -> None:
    old = months.judged("yellow", "2021-01", "dtc", 500)
    new = months.judged("yellow", "2021-01", "tlc", 400_000, rules="none")
    replace_month(old, google)
    before = generations(google)
    with Line(google.storage_emulator, hold_after=9_000_000) as line:
        process = start_run(new, line.of(google), "month", tmp_path)
        try:
            assert line.held.wait(30), process.communicate(timeout=5)[0] if process.poll() is not None else "no upload"
            process.send_signal(signal.SIGKILL)
            assert process.wait(10) == -signal.SIGKILL
        finally:
            process.kill()
            process.communicate(timeout=10)
        assert b"uploadType=resumable" in line.asked
    time.sleep(0.3)  # for the service to make of the rest what it will
    assert generations(google) == before
    check_month(old, google)
    replace_month(new, google)
    assert find_month(YELLOW, JANUARY, google).rows_accepted == 400_000
    [(size, _)] = objects_in(google).values()
    assert size > 9_000_000


def test_an_upload_whose_line_drops_goes_on_where_it_was(
    google: GoogleSettings, months: Months, in_pieces: int
) -> None:
    file = months.judged("yellow", "2021-01", "tlc", 60_000, rules="none")
    replace_month(file, google)
    expected = objects_in(google)
    [(size, _)] = expected.values()
    assert size > 5 * in_pieces
    with Line(google.storage_emulator, cuts=(2 * in_pieces, 4 * in_pieces)) as line:
        replace_month(file, line.of(google))
        assert line.cuts == []
        # Each cut repeats one piece at most, not the whole.
        assert size < line.up < size + 2 * in_pieces + 20_000
    assert objects_in(google) == expected


def test_a_line_that_stays_dead_ends_within_the_retry_time_and_leaves_the_old_month(
    google: GoogleSettings, months: Months, impatient: float
) -> None:
    old = months.judged("yellow", "2021-01", "dtc", 500)
    new = months.judged("yellow", "2021-01", "dtc", 2_000, malformed=3)
    replace_month(old, google)
    before = generations(google)
    with Line(google.storage_emulator, break_after=20_000) as line:
        began = time.monotonic()
        with pytest.raises(TargetUnavailable) as failed:
            replace_month(new, line.of(google))
        assert time.monotonic() - began < 3 * impatient
        assert line.broken
    assert str(failed.value).startswith(f"gs://{google.bucket}/{KEPT}: it does not answer: check the network, or start")
    # The rejected rows come first, each object whole.
    assert (generations(google)[KEPT], read(google, REJECTED).num_rows) == (before[KEPT], 185)
    check_month(old, google)
    replace_month(new, google)
    check_month(new, google)


def test_a_store_that_dies_in_the_middle_is_named_and_comes_back_with_the_old_month(
    months: Months, tmp_path: Path, impatient: float
) -> None:
    old = months.judged("yellow", "2021-01", "dtc", 500)
    new = months.judged("yellow", "2021-01", "tlc", 60_000)
    with DoomedStore(tmp_path / "doomed") as store:
        doomed = store.settings
        replace_month(old, doomed)
        before = generations(doomed)
        with Line(doomed.storage_emulator, hold_after=500_000) as line:

            def kill() -> None:
                line.held.wait(20)
                store.kill()
                line.release.set()

            killer = threading.Thread(target=kill)
            killer.start()
            with pytest.raises(TargetUnavailable, match=r"it does not answer: .* run again"):
                replace_month(new, line.of(doomed))
            killer.join()
        for ask in (find_month, measure_month):
            began = time.monotonic()
            with pytest.raises(TargetUnavailable, match=r"start the emulators \(taxi up\), and run again"):
                ask(YELLOW, JANUARY, doomed)
            assert time.monotonic() - began < 3 * impatient
        assert store.start().storage_emulator == doomed.storage_emulator
        assert generations(doomed)[KEPT] == before[KEPT]
        check_month(old, doomed)
        replace_month(new, doomed)
        check_month(new, doomed)


def test_two_writers_at_once_leave_one_whole_month(google: GoogleSettings, months: Months) -> None:
    two = [months.judged("yellow", "2021-01", "dtc", 2_000, rules=rules) for rules in ("none", "has_passengers")]
    errors: list[Exception] = []

    def write(file: StagedFile) -> None:
        try:
            for _ in range(5):
                replace_month(file, google)
        except Exception as error:  # noqa: BLE001  any error is what the test is about
            errors.append(error)

    threads = [threading.Thread(target=write, args=(file,)) for file in two]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = find_month(YELLOW, JANUARY, google)
    assert found.rules in {(), ("has_passengers",)}
    assert read(google, KEPT).num_rows == found.rows_accepted


# --- A bucket that cannot be


def test_without_a_bucket_the_message_names_the_variable(google: GoogleSettings, months: Months) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 500)
    nameless = replace(google, bucket="")
    wanted = "^GCS_BUCKET is not set: give the name of a bucket, in .env or in the environment$"
    for ask in (
        lambda: replace_month(file, nameless),
        lambda: find_month(YELLOW, JANUARY, nameless),
        lambda: measure_month(YELLOW, JANUARY, nameless),
        lambda: write_slice(file, date(2021, 1, 15), nameless),
    ):
        with pytest.raises(UnknownName, match=wanted):
            ask()


def test_a_bucket_that_does_not_exist_is_named_with_the_command_that_makes_it(
    google: GoogleSettings, months: Months
) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 500)
    with pytest.raises(TargetUnavailable) as refused:
        replace_month(file, replace(google, bucket="nobodys"))
    assert str(refused.value).startswith(
        f"gs://nobodys/{KEPT}: make the bucket (gcloud storage buckets create gs://nobodys --location=US), or set "
        f"GCS_BUCKET ["
    )
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "said", "reason", "message"),
    [
        (
            403,
            "mage@p.iam.gserviceaccount.com does not have storage.objects.create access to the Google Cloud Storage "
            "object. Permission 'storage.objects.create' denied on resource (or it may not exist).",
            "forbidden",
            "the account lacks storage.objects.create: grant it roles/storage.objectAdmin on the bucket",
        ),
        (
            403,
            "mage@p.iam.gserviceaccount.com does not have storage.buckets.get access to the Google Cloud Storage "
            "bucket.",
            "forbidden",
            "the account lacks storage.buckets.get: grant it roles/storage.legacyBucketReader on the bucket",
        ),
        (
            404,
            "The specified bucket does not exist.",
            "notFound",
            "make the bucket (gcloud storage buckets create gs://nyc-taxi-trips --location=US), or set GCS_BUCKET",
        ),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_grant_or_make(
    google: GoogleSettings, months: Months, status: int, said: str, reason: str, message: str
) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 500)
    with refusing(status, said, reason) as url:
        refused_by = replace(google, storage_emulator=url, bucket="nyc-taxi-trips")
        began = time.monotonic()
        with pytest.raises(TargetUnavailable) as refused:
            replace_month(file, refused_by)
        assert time.monotonic() - began < 2  # what is refused is not asked again
    assert str(refused.value).startswith(f"gs://nyc-taxi-trips/{KEPT}: {message} [{status} ")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_finding_a_month_that_we_may_not_read_names_the_role(google: GoogleSettings) -> None:
    said = "mage@p.iam.gserviceaccount.com does not have storage.objects.get access to the Google Cloud Storage object."
    with refusing(403, said, "forbidden") as url, pytest.raises(TargetUnavailable) as refused:
        find_month(YELLOW, JANUARY, replace(google, storage_emulator=url))
    assert ": the account lacks storage.objects.get: grant it roles/storage.objectAdmin on the bucket [403 " in str(
        refused.value
    )


def test_a_service_that_is_overloaded_is_asked_again_and_then_named(
    google: GoogleSettings, months: Months, impatient: float
) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 500)
    with refusing(503, "We encountered an internal error. Please try again.", "backendError") as url:
        busy = replace(google, storage_emulator=url)
        began = time.monotonic()
        with pytest.raises(TargetUnavailable, match=rf"^gs://{google.bucket}/{KEPT}: it does not answer: .* 503"):
            replace_month(file, busy)
        assert time.monotonic() - began < 3 * impatient
        with pytest.raises(TargetUnavailable, match=r": it does not answer: check the network, .* \[503 "):
            find_month(YELLOW, JANUARY, busy)


def test_an_address_where_nobody_listens_is_named(google: GoogleSettings, months: Months, impatient: float) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 500)
    began = time.monotonic()
    with pytest.raises(TargetUnavailable, match=r"it does not answer: .* start the emulators \(taxi up\)"):
        replace_month(file, replace(google, storage_emulator=f"http://127.0.0.1:{free_port()}"))
    assert time.monotonic() - began < 3 * impatient


def test_credentials_that_point_nowhere_or_to_a_folder_are_named_before_anything_is_sent(
    google: GoogleSettings, months: Months, tmp_path: Path
) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 500)
    for path, kind in ((tmp_path / "key.json", "does not exist"), (tmp_path, "is a folder")):
        real = replace(google, storage_emulator="", credentials=str(path))
        with pytest.raises(TargetUnavailable) as refused:
            replace_month(file, real)
        assert str(refused.value) == (
            f"GOOGLE_APPLICATION_CREDENTIALS {path} {kind}: name a service account's key file, or leave it empty to "
            f"use application default credentials"
        )


@pytest.mark.parametrize("content", ["", "{}", "not JSON", '{"type": "service_account"}'])
def test_a_key_file_that_is_none_is_named(google: GoogleSettings, months: Months, tmp_path: Path, content: str) -> None:
    key = tmp_path / "key.json"
    key.write_text(content)
    real = replace(google, storage_emulator="", credentials=str(key))
    with pytest.raises(TargetUnavailable) as refused:
        replace_month(months.judged("yellow", "2021-01", "dtc", 500), real)
    assert str(refused.value).startswith(
        "no usable Google credentials: run `gcloud auth application-default login`, or set "
        "GOOGLE_APPLICATION_CREDENTIALS to a key file ["
    )
    assert "\n" not in str(refused.value)


# --- A day's slice


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("", "2021/01/05/daily-trips.parquet"),
        ("green", "green/2021/01/05/daily-trips.parquet"),
        ("/by/hand/", "by/hand/2021/01/05/daily-trips.parquet"),
    ],
)
def test_a_slice_is_named_after_its_day(prefix: str, name: str) -> None:
    assert slice_object(date(2021, 1, 5), prefix) == name


def test_the_trip_at_midnight_belongs_to_the_new_day(google: GoogleSettings, months: Months, tmp_path: Path) -> None:
    source = months.judged("yellow", "2021-01", "dtc", 500)
    times = [
        MIDNIGHT - A_MOMENT,
        MIDNIGHT,
        MIDNIGHT + A_MOMENT,
        None,
        MIDNIGHT + timedelta(days=1) - A_MOMENT,
        MIDNIGHT + timedelta(days=1),
        datetime(2008, 1, 15, 12),
    ]
    file = of_rows(source, columns_over(pq.read_table(source.path), times, YELLOW.pickup), tmp_path / "rows")
    written = {day: write_slice(file, date(2021, 1, day), google) for day in (14, 15, 16)}
    assert written == {14: 1, 15: 3, 16: 1}
    found = {day: read(google, f"2021/01/{day}/daily-trips.parquet")[YELLOW.pickup].to_pylist() for day in written}
    assert found == {14: [times[0]], 15: [times[1], times[2], times[4]], 16: [times[5]]}


def test_the_days_of_a_month_are_all_of_its_accepted_rows(google: GoogleSettings, months: Months) -> None:
    file = months.judged("green", "2021-01", "dtc", 2_000, malformed=3)
    first, end = (bound.date() for bound in JANUARY.bounds())
    days = [first + timedelta(days=number) for number in range((end - first).days)]
    written = sum(write_slice(file, day, google, "green") for day in days)
    replace_month(file, google)
    pickups = read(google, "trips/green/green_tripdata_2021-01.parquet")[GREEN.pickup]
    outside = sum(not first <= pickup.date() < end for pickup in pickups.to_pylist())
    assert outside >= 2  # every taxi file has trips of other months
    assert written + outside == file.rows_accepted
    assert len(objects_in(google, "green/2021/01/")) == 31


def test_a_slice_written_twice_is_the_same_bytes_and_tells_what_it_is(google: GoogleSettings, months: Months) -> None:
    file = months.judged("green", "2021-01", "dtc", 2_000)
    rows = write_slice(file, date(2021, 1, 15), google)
    first = objects_in(google)
    assert write_slice(file, date(2021, 1, 15), google) == rows
    assert objects_in(google) == first
    name = "2021/01/15/daily-trips.parquet"
    assert set(first) == {name}
    about = metadata_of(google, name)
    assert (about["service"], about["month"], about["rows"]) == ("green", "2021-01", str(rows))
    assert read(google, name).schema.equals(GREEN.schema)
    assert read(google, name).num_rows == rows > 0


def test_another_services_slice_of_the_day_is_not_replaced(google: GoogleSettings, months: Months) -> None:
    yellow = months.judged("yellow", "2021-01", "dtc", 2_000)
    green = months.judged("green", "2021-01", "dtc", 2_000)
    day = date(2021, 1, 15)
    write_slice(yellow, day, google)
    before = generations(google)
    with pytest.raises(CountsDisagree) as refused:
        write_slice(green, day, google)
    assert str(refused.value) == (
        f"gs://{google.bucket}/2021/01/15/daily-trips.parquet holds yellow trips, which green would replace: "
        f"set the variable prefix, such as green"
    )
    assert generations(google) == before
    rows = write_slice(green, day, google, "green")
    assert read(google, "green/2021/01/15/daily-trips.parquet").num_rows == rows > 0


def test_a_day_without_trips_is_refused_and_what_is_there_stays(google: GoogleSettings, months: Months) -> None:
    file = months.judged("green", "2021-01", "dtc", 2_000)
    put(google, "2021/03/09/daily-trips.parquet", b"what was there", {"service": "green"})
    before = generations(google)
    with pytest.raises(NotATripFile) as refused:
        write_slice(file, date(2021, 3, 9), google)
    assert str(refused.value) == (
        f"{file.url}: no accepted trip was picked up on 2021-03-09; "
        f"gs://{google.bucket}/2021/03/09/daily-trips.parquet is as it was"
    )
    assert generations(google) == before


def test_a_slice_has_no_rejected_trip(google: GoogleSettings, months: Months) -> None:
    strict = months.judged("green", "2021-01", "dtc", 2_000, rules="has_passengers,positive_distance")
    everything = months.judged("green", "2021-01", "dtc", 2_000, rules="none")
    day = date(2021, 1, 15)
    kept, all_rows = write_slice(strict, day, google, "kept"), write_slice(everything, day, google, "all")
    table = read(google, "all/2021/01/15/daily-trips.parquet")
    passing = table.filter(pc.and_(pc.greater(table["passenger_count"], 0), pc.greater(table["trip_distance"], 0)))
    assert 0 < kept == len(passing) < all_rows == len(table)
    assert sorted_rows(passing).equals(sorted_rows(read(google, "kept/2021/01/15/daily-trips.parquet")))


# --- What is left on this machine


def test_nothing_stays_beside_the_staged_file(google: GoogleSettings, months: Months) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 2_000, malformed=3)
    replace_month(file, google)
    with pytest.raises(CountsDisagree):
        replace_month(miscounted(file, 1), google)
    assert list((Path(file.path).parent / "exports").iterdir()) == []
