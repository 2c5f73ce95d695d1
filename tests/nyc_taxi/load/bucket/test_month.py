"""A month of trips in a bucket: what the object is, and that wrong numbers replace nothing."""

import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from nyc_taxi.catalog.services import SERVICES, YELLOW
from nyc_taxi.errors import CountsDisagree, NotATripFile
from nyc_taxi.google import storage_client
from nyc_taxi.load.bucket.month import (
    check_month,
    find_month,
    measure_month,
    replace_month,
)
from nyc_taxi.manifest import StagedFile
from nyc_taxi.settings import GoogleSettings

from tests.nyc_taxi.load.bucket.bucket_helpers import (
    JANUARY,
    KEPT,
    REJECTED,
    Months,
    generations,
    get,
    metadata_of,
    months_in,
    objects_in,
    read,
)
from tests.nyc_taxi.load.loading import miscounted


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


def test_a_month_without_warnings_is_the_bytes_that_it_was_before_there_were_any(
    google: GoogleSettings, months: Months
) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 500)
    told = {}
    for warned in ({}, {"too_fast": 3}):
        replace_month(replace(file, warned=warned), google)
        footer = pq.read_schema(io.BytesIO(get(google, KEPT))).metadata[b"nyc_taxi.manifest"]
        told[len(warned)] = set(json.loads(footer))
    assert told[1] - told[0] == {"warned"}
    assert find_month(YELLOW, JANUARY, google).warned == {"too_fast": 3}


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
    sums = {f"sum_{name}": repr(total) for name, total in file.sums.items()}
    published = {"url": file.url, "etag": file.etag, "bytes": str(file.bytes)}
    assert metadata_of(google, KEPT) == told | sums | published | {"rows": "1815"}
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


def test_nothing_stays_beside_the_staged_file(google: GoogleSettings, months: Months) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 2_000, malformed=3)
    replace_month(file, google)
    with pytest.raises(CountsDisagree):
        replace_month(miscounted(file, 1), google)
    assert list((Path(file.path).parent / "exports").iterdir()) == []
