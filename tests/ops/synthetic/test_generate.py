"""The generator writes what the origins publish: each era's columns and types, and the oddities of real rows."""

import gzip
import io
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ops.synthetic import eras
from ops.synthetic.generate import CSV_CHUNK_ROWS, generate
from ops.synthetic.plan import plan_file
from ops.synthetic.trips import make_chunk

YELLOW_PARTS = [
    "fare_amount", "extra", "mta_tax", "tip_amount", "tolls_amount", "improvement_surcharge", "congestion_surcharge",
]  # fmt: skip


def parquet_types(service: str, month: str, folder: Path) -> dict[str, str]:
    path = generate(service, month, "tlc", 50, folder)
    return {field.name: str(field.type) for field in pq.read_schema(path)}


def lines(path: Path) -> list[bytes]:
    """The lines of a CSV file without the header, in bytes without their line end."""
    text = gzip.decompress(path.read_bytes())
    assert text.endswith(b"\r\n")
    return text.removesuffix(b"\r\n").split(b"\r\n")[1:]


def csv_rows(path: Path) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(gzip.decompress(path.read_bytes())), low_memory=False)


# One month for every row of TLC's drift table: how many columns, and the types that tell this era from the others.
ERAS: list[tuple[str, str, int, dict[str, str | None]]] = [
    ("yellow", "2009-01", 18, {"vendor_name": "string", "Trip_Pickup_DateTime": "string", "Start_Lon": "double"}),
    ("yellow", "2010-01", 18, {"vendor_id": "string", "pickup_datetime": "string", "rate_code": "string"}),
    ("yellow", "2010-02", 19, {"__index_level_0__": "int64", "pickup_longitude": "double"}),
    ("yellow", "2010-03", 19, {"__index_level_0__": "int64"}),
    ("yellow", "2010-04", 18, {"__index_level_0__": None, "surcharge": "double"}),
    ("yellow", "2011-01", 19, {"passenger_count": "int64", "congestion_surcharge": "null", "airport_fee": "null"}),
    ("yellow", "2018-06", 19, {"passenger_count": "int64", "RatecodeID": "int64"}),
    ("yellow", "2018-07", 19, {"passenger_count": "double", "RatecodeID": "double", "VendorID": "int64"}),
    ("yellow", "2020-07", 19, {"airport_fee": "null", "congestion_surcharge": "double"}),
    ("yellow", "2020-08", 19, {"airport_fee": "double"}),
    ("yellow", "2020-10", 19, {"airport_fee": "null"}),
    ("yellow", "2020-11", 19, {"airport_fee": "double"}),
    ("yellow", "2023-01", 19, {"airport_fee": "double", "VendorID": "int64", "store_and_fwd_flag": "string"}),
    ("yellow", "2023-02", 19, {"Airport_fee": "double", "airport_fee": None, "VendorID": "int32",
                               "PULocationID": "int32", "DOLocationID": "int32", "passenger_count": "int64",
                               "RatecodeID": "int64", "store_and_fwd_flag": "large_string"}),
    ("yellow", "2025-01", 20, {"cbd_congestion_fee": "double", "tpep_pickup_datetime": "timestamp[us]"}),
    ("yellow", "2026-06", 21, {"request_source": "string"}),
    ("green", "2019-08", 20, {"ehail_fee": "double"}),
    ("green", "2019-09", 20, {"ehail_fee": "null", "payment_type": "double", "trip_type": "double"}),
    ("green", "2023-02", 20, {"ehail_fee": "double", "payment_type": "int64", "trip_type": "int64",
                              "VendorID": "int32", "store_and_fwd_flag": "large_string"}),
    ("green", "2025-01", 21, {"cbd_congestion_fee": "double"}),
    ("green", "2026-06", 22, {"request_source": "string"}),
    ("fhv", "2019-02", 7, {"SR_Flag": "double", "PUlocationID": "double", "dropOff_datetime": "timestamp[us]"}),
    ("fhv", "2019-03", 7, {"SR_Flag": "null"}),
    ("fhv", "2019-05", 7, {"PUlocationID": "int64", "DOlocationID": "int64"}),
    ("fhv", "2019-06", 7, {"PUlocationID": "double", "DOlocationID": "double"}),
    ("fhv", "2020-07", 7, {"PUlocationID": "int64"}),
    ("fhv", "2023-02", 7, {"SR_Flag": "int64", "PUlocationID": "int64", "dispatching_base_num": "large_string"}),
    ("fhvhv", "2019-02", 24, {"wav_match_flag": "null", "airport_fee": "null", "PULocationID": "int64"}),
    ("fhvhv", "2019-03", 24, {"wav_match_flag": "string"}),
    ("fhvhv", "2020-04", 24, {"airport_fee": "null"}),
    ("fhvhv", "2022-01", 24, {"airport_fee": "double", "hvfhs_license_num": "string"}),
    ("fhvhv", "2023-02", 24, {"PULocationID": "int32", "hvfhs_license_num": "large_string"}),
    ("fhvhv", "2025-01", 25, {"cbd_congestion_fee": "double"}),
]  # fmt: skip


@pytest.mark.parametrize(("service", "month", "columns", "telling"), ERAS)
def test_a_parquet_file_has_the_columns_and_types_of_its_era(
    service: str, month: str, columns: int, telling: dict[str, str | None], tmp_path: Path
) -> None:
    types = parquet_types(service, month, tmp_path)
    assert len(types) == columns
    assert {name: types.get(name) for name in telling} == telling


@pytest.mark.parametrize("service", eras.SERVICES)
def test_every_published_month_of_both_origins_can_be_made(service: str) -> None:
    made = Counter[str]()
    for origin in eras.ORIGINS:
        first = eras.ERAS[origin][service][0].month
        for year in range(2009, 2027):
            for month in (f"{year}-{number:02d}" for number in range(1, 13)):
                if first <= month <= eras.LAST_MONTH[origin]:
                    plan = plan_file(service, month, origin, 40)
                    assert make_chunk(plan, 0, 0, 40).num_rows == 40
                    made[origin] += 1
    assert made["dtc"] == (30 if service == "fhvhv" else 31)
    assert made["tlc"] == {"yellow": 216, "green": 161, "fhv": 144, "fhvhv": 95}[service]


@pytest.mark.parametrize(
    ("service", "month", "first", "dropoff", "zone", "last"),
    [
        (
            "fhv",
            "2019-12",
            "dispatching_base_num",
            "dropOff_datetime",
            "PUlocationID",
            "Affiliated_base_number",
        ),
        (
            "fhv",
            "2020-01",
            "dispatching_base_num",
            "dropoff_datetime",
            "PULocationID",
            "Affiliated_base_number",
        ),
        ("fhvhv", "2021-05", "hvfhs_license_num", "dropoff_datetime", "PULocationID", "SR_Flag"),
        (
            "fhvhv",
            "2021-06",
            "dispatching_base_num",
            "dropoff_datetime",
            "PULocationID",
            "Affiliated_base_number",
        ),
    ],
)
def test_for_hire_csv_headers_are_spelled_as_in_their_year(
    service: str, month: str, first: str, dropoff: str, zone: str, last: str, tmp_path: Path
) -> None:
    path = generate(service, month, "dtc", 20, tmp_path)
    header = gzip.decompress(path.read_bytes()).split(b"\r\n")[0].decode().split(",")
    assert (len(header), header[0], header[-1]) == (7, first, last)
    assert [name for name in header if name.lower() in ("dropoff_datetime", "pulocationid")] == [
        dropoff,
        zone,
    ]


def test_files_lie_where_the_origins_have_them(tmp_path: Path) -> None:
    csv = generate("green", "2020-10", "dtc", 10, tmp_path)
    parquet = generate("green", "2020-10", "tlc", 10, tmp_path)
    assert csv.relative_to(tmp_path).as_posix() == "dtc/green/green_tripdata_2020-10.csv.gz"
    assert parquet.relative_to(tmp_path).as_posix() == "trip-data/green_tripdata_2020-10.parquet"
    zones = tmp_path / "misc" / "taxi_zone_lookup.csv"
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {csv, parquet, zones}  # no unfinished file stays


@pytest.mark.parametrize("origin", eras.ORIGINS)
@pytest.mark.parametrize("service", eras.SERVICES)
def test_the_same_arguments_give_the_same_bytes_and_another_seed_gives_others(
    service: str, origin: str, tmp_path: Path
) -> None:
    first = generate(service, "2021-01", origin, 3_000, tmp_path / "a").read_bytes()
    again = generate(service, "2021-01", origin, 3_000, tmp_path / "b").read_bytes()
    other = generate(service, "2021-01", origin, 3_000, tmp_path / "c", seed=1).read_bytes()
    assert first == again
    assert first != other


@pytest.mark.parametrize("rows", [0, 1, 2, 9, 100, CSV_CHUNK_ROWS + 1])
def test_a_file_has_as_many_rows_as_asked_for(rows: int, tmp_path: Path) -> None:
    assert len(csv_rows(generate("yellow", "2021-01", "dtc", rows, tmp_path))) == rows
    assert pq.read_metadata(generate("yellow", "2021-01", "tlc", rows, tmp_path)).num_rows == rows


def test_a_csv_file_has_crlf_line_ends_and_no_quotes(tmp_path: Path) -> None:
    text = gzip.decompress(generate("green", "2020-10", "dtc", 1_000, tmp_path, malformed=7).read_bytes())
    assert text.count(b"\r\n") == text.count(b"\n") == 1_001
    assert b'"' not in text


def test_malformed_lines_replace_rows_and_come_in_three_kinds_evenly_spread(tmp_path: Path) -> None:
    found = lines(generate("yellow", "2021-01", "dtc", 1_000, tmp_path, malformed=9))
    fields = [line.split(b",") for line in found]
    short = [at for at, line in enumerate(fields) if len(line) == 17]
    words = [at for at, line in enumerate(fields) if line[10] == b"n/a"]
    dates = [at for at, line in enumerate(fields) if line[1] == b"01/01/2021 0:30"]
    assert len(found) == 1_000
    assert [len(short), len(words), len(dates)] == [3, 3, 3]
    assert sorted(short + words + dates) == [55, 166, 277, 388, 500, 611, 722, 833, 944]


def test_every_line_can_be_malformed(tmp_path: Path) -> None:
    found = lines(generate("fhv", "2020-04", "dtc", 6, tmp_path, malformed=6))
    assert [line.count(b",") for line in found] == [5, 6, 6, 5, 6, 6]
    assert [found[1].split(b",")[3], found[2].split(b",")[1]] == [b"n/a", b"01/01/2021 0:30"]


def test_seven_percent_of_csv_taxi_rows_have_no_meter_record(tmp_path: Path) -> None:
    rows = csv_rows(generate("yellow", "2021-01", "dtc", 10_000, tmp_path))
    gaps = rows[["VendorID", "passenger_count", "RatecodeID", "store_and_fwd_flag", "payment_type"]].isna()
    assert gaps.sum().tolist() == [700] * 5
    assert (gaps.any(axis=1) == gaps.all(axis=1)).all()
    assert 150 <= (rows["passenger_count"] == 0).sum() <= 250
    assert 150 <= (rows["trip_distance"] == 0).sum() <= 250


def test_parquet_yellow_rows_without_a_meter_record_have_a_vendor_and_payment_type_0(tmp_path: Path) -> None:
    rows = pq.read_table(generate("yellow", "2021-01", "tlc", 10_000, tmp_path))
    unmetered = rows.filter(pc.field("payment_type") == 0)
    assert unmetered.num_rows == rows["passenger_count"].null_count == 700
    assert rows["VendorID"].null_count == 0
    assert unmetered["store_and_fwd_flag"].null_count == unmetered["RatecodeID"].null_count == 700


@pytest.mark.parametrize(("service", "month"), [("yellow", "2021-01"), ("green", "2020-12")])
def test_totals_equal_the_sum_of_their_parts_to_the_cent(service: str, month: str, tmp_path: Path) -> None:
    rows = csv_rows(generate(service, month, "dtc", 10_000, tmp_path))
    parts = (rows[YELLOW_PARTS].fillna(0) * 100).round().astype(int).sum(axis=1)
    assert ((rows["total_amount"] * 100).round().astype(int) == parts).all()
    assert max(len(text.partition(".")[2]) for text in rows["total_amount"].astype(str)) <= 2


def test_totals_of_modern_parquet_files_include_airport_and_congestion_zone_fees(tmp_path: Path) -> None:
    rows = pq.read_table(generate("yellow", "2025-02", "tlc", 10_000, tmp_path)).to_pandas()
    parts = [*YELLOW_PARTS, "Airport_fee", "cbd_congestion_fee"]
    cents = (rows[parts].fillna(0) * 100).round().astype(int).sum(axis=1)
    assert ((rows["total_amount"] * 100).round().astype(int) == cents).all()
    assert (rows["cbd_congestion_fee"].abs() == 0.75).sum() > 1_000


def test_every_negative_fare_takes_back_a_positive_twin(tmp_path: Path) -> None:
    rows = csv_rows(generate("yellow", "2021-01", "dtc", 10_000, tmp_path))
    money = [*YELLOW_PARTS, "total_amount"]
    same = [name for name in rows.columns if name not in money]
    negative = rows.index[rows["fare_amount"] < 0]
    assert len(negative) == 30
    for at in negative:
        assert (rows.loc[at, same] == rows.loc[at - 1, same]).all()
        assert (rows.loc[at, money] == -rows.loc[at - 1, money]).all()


def test_malformed_lines_do_not_break_up_twins(tmp_path: Path) -> None:
    found = lines(generate("yellow", "2021-01", "dtc", 10_000, tmp_path, malformed=3_000))
    fares = [line.split(b",")[10] for line in found]
    taken_back = [at for at, fare in enumerate(fares) if fare.startswith(b"-")]
    assert len(taken_back) == 30
    assert [fares[at - 1] for at in taken_back] == [fares[at].removeprefix(b"-") for at in taken_back]


@pytest.mark.parametrize("month", ["2019-01", "2020-02", "2020-10", "2021-07"])
def test_two_to_ten_pickups_lie_outside_the_month_and_one_of_them_in_2008(month: str, tmp_path: Path) -> None:
    rows = csv_rows(generate("green", month, "dtc", 20_000, tmp_path))
    months = rows["lpep_pickup_datetime"].str[:7]
    assert 2 <= (months != month).sum() <= 10
    assert (months == "2008-12").sum() == 1


@pytest.mark.parametrize(("service", "origin"), [("yellow", "dtc"), ("green", "tlc"), ("fhvhv", "tlc")])
def test_trips_end_after_they_begin_in_zones_1_to_265(service: str, origin: str) -> None:
    table = make_chunk(plan_file(service, "2021-01", origin, 20_000), 0, 0, 20_000)
    columns: dict[str, Any] = {eras.meaning(name): table[name].to_pandas() for name in table.column_names}
    assert (columns["dropoff_datetime"] > columns["pickup_datetime"]).all()
    for zone in ("pulocationid", "dolocationid"):
        assert (columns[zone].min(), columns[zone].max()) == (1, 265)


@pytest.mark.parametrize("origin", eras.ORIGINS)
def test_one_for_hire_trip_ends_in_the_year_3019_until_2022(origin: str, tmp_path: Path) -> None:
    for month, expected in (("2019-06", 1), ("2021-03", 1), ("2023-06", 0)):
        if month > eras.LAST_MONTH[origin]:
            continue
        table = make_chunk(plan_file("fhv", month, origin, 1_000), 0, 0, 1_000)
        years = table[2].to_numpy().astype("datetime64[Y]").astype(int) + 1970
        assert (years == 3019).sum() == (years > 2100).sum() == expected


def test_an_n_stands_only_in_text_flags() -> None:
    text = make_chunk(plan_file("fhv", "2020-04", "dtc", 20_000), 0, 0, 20_000)["SR_Flag"]
    number = make_chunk(plan_file("fhv", "2019-02", "tlc", 20_000), 0, 0, 20_000)["SR_Flag"]
    assert set(text.to_pylist()) == {None, "1", "N"}
    assert set(number.to_pylist()) == {None, 1.0}
    assert text.null_count > 19_000


@pytest.mark.parametrize(
    ("arguments", "malformed", "message"),
    [
        (("purple", "2021-01", "dtc", 10), 0, "service 'purple' is not one of yellow, green, fhv, fhvhv"),
        (("yellow", "2021-01", "ftp", 10), 0, "origin 'ftp' is not one of dtc, tlc"),
        (("yellow", "2021-08", "dtc", 10), 0, "dtc has yellow files from 2019-01 to 2021-07"),
        (("yellow", "2021-13", "tlc", 10), 0, "tlc has yellow files from 2009-01 to 2026-12"),
        (
            ("yellow", "2021-01", "dtc", 10),
            11,
            r"malformed lines \(11\) must be between 0 and the rows \(10\)",
        ),
        (("yellow", "2021-01", "tlc", 10), 1, "only CSV lines can be malformed"),
    ],
)
def test_what_no_origin_publishes_is_refused_with_what_it_has(
    arguments: tuple[str, str, str, int], malformed: int, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        generate(*arguments, tmp_path, malformed=malformed)
    assert list(tmp_path.iterdir()) == []
