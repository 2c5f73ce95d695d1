"""A month is found in the bucket by its end; what is no month of ours is refused."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nyc_taxi.catalog.services import FHVHV, GREEN, YELLOW
from nyc_taxi.errors import CountsDisagree, NotATripFile, NotPublished
from nyc_taxi.load.bucket.month import (
    FOOTER_BYTES,
    check_month,
    find_month,
    measure_month,
    replace_month,
)
from nyc_taxi.months import Month
from nyc_taxi.settings import GoogleSettings

from tests.nyc_taxi.load.bucket.bucket_helpers import (
    JANUARY,
    KEPT,
    Line,
    Months,
    get,
    objects_in,
    of_rows,
    put,
)


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
        r"carries no manifest: another program wrote it; move it and run api_to_gcs",
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
