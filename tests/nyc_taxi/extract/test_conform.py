"""Trip files of every era become the canonical columns without losing a value; malformed rows keep a reason."""

import csv
import gzip
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nyc_taxi.catalog.services import FHV, GREEN, SERVICES, YELLOW, Service
from nyc_taxi.errors import NotATripFile, TooManyMalformed, UnknownColumn, UnknownName
from nyc_taxi.extract import conform, readers, unpack
from nyc_taxi.extract.conform import Columns, Malformed, match_columns
from nyc_taxi.extract.readers import count_rows, open_csv, open_parquet
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.run import run_context
from nyc_taxi.settings import Settings

from ops.stack.trip_server import TripServer
from ops.synthetic import eras
from ops.synthetic.generate import generate
from tests.conftest import settings_for

READERS = {"dtc": open_csv, "tlc": open_parquet}
ERAS = [
    *(("yellow", month, "tlc") for month in (
        "2009-01", "2010-01", "2010-02", "2010-04", "2011-01", "2018-07", "2019-01", "2020-08", "2020-10", "2020-11",
        "2023-02", "2025-01", "2026-06")),
    *(("green", month, "tlc") for month in ("2013-08", "2019-01", "2019-09", "2023-02", "2025-01", "2026-06")),
    *(("fhv", month, "tlc") for month in ("2015-01", "2019-03", "2019-05", "2019-06", "2020-07", "2020-08", "2023-02")),
    *(("fhvhv", month, "tlc") for month in (
        "2019-02", "2019-03", "2019-08", "2020-01", "2021-01", "2023-02", "2025-01")),
    *((service, month, "dtc") for service in ("yellow", "green") for month in ("2019-01", "2021-07")),
    *(("fhv", month, "dtc") for month in ("2019-01", "2020-01", "2021-07")),
    *(("fhvhv", month, "dtc") for month in ("2019-02", "2021-05", "2021-06")),
]  # fmt: skip
ALL_ERA_STARTS = {
    (service, era.month, origin)
    for origin, services in eras.ERAS.items()
    for service, found in services.items()
    for era in found
}
# What the generator calls a column that has no canonical name of its own, and the codes of its words.
OTHER_NAMES = {"vendor_word": "vendorid", "store_and_forward_number": "store_and_fwd_flag"}
NO_PLACE = {"pickup_longitude", "pickup_latitude", "dropoff_longitude", "dropoff_latitude", "__index_level_0__"}
VENDORS = {"CMT": 1, "VTS": 2, "DDS": 3}
PAYMENTS = {"Credit": 1, "CASH": 2, "No Charge": 3, "Dispute": 4, "Unknown": 5,
            "CRE": 1, "CAS": 2, "NOC": 3, "DIS": 4, "UNK": 5}  # fmt: skip


def read(path: Path, service: Service) -> tuple[Columns, pa.Table, list[Malformed]]:
    """The whole file."""
    columns, pieces = (open_csv if path.name.endswith("csv.gz") else open_parquet)(path, service)
    tables, malformed = [service.schema.empty_table()], []
    for piece in pieces:
        tables.append(piece.table)
        malformed += piece.malformed
    return columns, pa.concat_tables(tables), malformed


def plain_read(path: Path) -> dict[str, list[Any]]:
    """The columns of a file as Python values, without any of the library's code; CSV values stay text."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return {name: table[name].to_pylist() for name in table.column_names}
    with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    return dict(zip(rows[0], ([*column] for column in zip(*rows[1:], strict=True)), strict=True))


def plain_value(value: Any, name: str, kind: pa.DataType) -> Any:
    """What one published value is in canonical terms, written as plainly as can be."""
    if value is None or str(value).strip() == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if kind == pa.timestamp("us"):
        return datetime.fromisoformat(value) if isinstance(value, str) else value
    if pa.types.is_integer(kind):
        words = VENDORS if name == "VendorID" else PAYMENTS
        return words[value] if isinstance(value, str) and value in words else int(float(value))
    if kind == pa.float64():
        return float(value)
    text = value if isinstance(value, str) else str(int(value))
    return {"0": "N", "1": "Y"}.get(text, text) if name == "store_and_fwd_flag" else text


# --- eras


def test_every_era_of_the_generator_is_among_these() -> None:
    starts = {(service, eras.schema(service, month, origin).to_string(), origin) for service, month, origin in ERAS}
    assert {(s, eras.schema(s, month, origin).to_string(), origin) for s, month, origin in ALL_ERA_STARTS} == starts


@pytest.mark.parametrize(("name", "month", "origin"), ERAS)
def test_a_file_of_every_era_becomes_the_canonical_columns_value_for_value(
    name: str, month: str, origin: str, tmp_path: Path
) -> None:
    service, path = SERVICES[name], generate(name, month, origin, 2_000, tmp_path)
    columns, table, malformed = read(path, service)
    assert table.schema.equals(service.schema)
    assert (len(table), malformed) == (2_000, [])
    assert count_rows(path) == 2_000

    published = plain_read(path)
    by_meaning = {
        OTHER_NAMES.get(eras.meaning(name), eras.meaning(name)): values
        for name, values in published.items()
        if eras.meaning(name) not in NO_PLACE
    }
    assert columns.dropped == tuple(name for name in published if eras.meaning(name) in NO_PLACE)
    compared = 0
    for column, kind in zip(service.schema.names, service.schema.types, strict=True):
        source = by_meaning.get(eras.meaning(column))
        assert (column in columns.present) == (source is not None)
        expected = [None] * 2_000 if source is None else [plain_value(value, column, kind) for value in source]
        assert table[column].to_pylist() == expected, column
        compared += source is not None
    assert compared == len(published) - len(columns.dropped)


@pytest.mark.parametrize(
    ("name", "month", "origin", "measure", "spelled"),
    [
        ("yellow", "2009-01", "tlc", "trip_distance", "Trip_Distance"),
        ("yellow", "2010-02", "tlc", "total_amount", "total_amount"),
        ("green", "2019-09", "tlc", "trip_distance", "trip_distance"),
        ("fhvhv", "2025-01", "tlc", "base_passenger_fare", "base_passenger_fare"),
        ("yellow", "2021-01", "dtc", "total_amount", "total_amount"),
    ],
)
def test_sums_of_measures_are_those_of_the_published_file(
    name: str, month: str, origin: str, measure: str, spelled: str, tmp_path: Path
) -> None:
    path = generate(name, month, origin, 3_000, tmp_path)
    _, table, _ = read(path, SERVICES[name])
    expected = math.fsum(float(value) for value in plain_read(path)[spelled])
    assert expected > 1_000
    assert math.fsum(table[measure].to_pylist()) == pytest.approx(expected, abs=1e-9)


def test_the_words_of_2009_and_2010_become_codes(tmp_path: Path) -> None:
    _, table, _ = read(generate("yellow", "2009-01", "tlc", 3_000, tmp_path), YELLOW)
    assert set(table["VendorID"].to_pylist()) == {1, 2, 3}
    assert {1, 2, 3, 4} <= set(table["payment_type"].to_pylist()) <= {1, 2, 3, 4, 5}
    assert table["RatecodeID"].null_count == 3_000
    _, table, _ = read(generate("yellow", "2010-01", "tlc", 3_000, tmp_path), YELLOW)
    assert set(table["VendorID"].to_pylist()) == {1, 2, 3}
    assert {1, 2, 3, 4} <= set(table["payment_type"].to_pylist()) <= {1, 2, 3, 4, 5}
    assert set(table["RatecodeID"].to_pylist()) <= {1, 2, 3, 4, 5, 99}


@pytest.mark.parametrize(
    ("word", "code"),
    [("Credit", 1), ("CREDIT", 1), ("CRE", 1), ("Cre", 1), ("CASH", 2), ("Cash", 2), ("CAS", 2), ("CSH", 2),
     ("No Charge", 3), ("NOC", 3), ("No ", 3), ("NO", 3), ("Dispute", 4), ("Dis", 4), ("UNK", 5), ("NA ", 5), ("Na", 5),
     ("1", 1), ("2.0", 2), ("", None), (None, None)],
)  # fmt: skip
def test_each_spelling_of_a_payment_type_has_its_code(word: str | None, code: int | None, tmp_path: Path) -> None:
    path = parquet_of(tmp_path, {"payment_type": pa.array([word, "CRE"])})
    _, table, malformed = read(path, YELLOW)
    assert (table["payment_type"].to_pylist(), malformed) == ([code, 1], [])


def test_words_may_come_as_a_dictionary(tmp_path: Path) -> None:
    path = parquet_of(tmp_path, {"payment_type": pa.array(["CRE", None, "Cas", "CRE"]).dictionary_encode()})
    _, table, malformed = read(path, YELLOW)
    assert (table["payment_type"].to_pylist(), malformed) == ([1, None, 2, 1], [])


def test_a_word_without_a_code_is_set_aside_and_not_guessed(tmp_path: Path) -> None:
    path = parquet_of(tmp_path, {"payment_type": pa.array(["CRE", "Bitcoin", "CAS"])})
    _, table, malformed = read(path, YELLOW)
    assert table["payment_type"].to_pylist() == [1, 2]
    assert [(row.row, row.reason) for row in malformed] == [(2, "malformed: payment_type")]
    assert json.loads(malformed[0].text)["payment_type"] == "Bitcoin"


@pytest.mark.parametrize("origin", ["dtc", "tlc"])
def test_a_drop_off_in_the_year_3019_is_kept(origin: str, tmp_path: Path) -> None:
    _, table, _ = read(generate("fhv", "2020-04", origin, 2_000, tmp_path), FHV)
    assert max(table["dropoff_datetime"].drop_null().to_pylist()) == datetime(3019, 2, 3, 17, 30, 32)


def test_a_flag_of_letters_survives_and_a_flag_of_numbers_becomes_text(tmp_path: Path) -> None:
    _, text, _ = read(generate("fhv", "2020-04", "dtc", 3_000, tmp_path), FHV)
    assert set(text["SR_Flag"].to_pylist()) == {None, "1", "N"}
    _, number, _ = read(generate("fhv", "2015-01", "tlc", 3_000, tmp_path), FHV)
    assert set(number["SR_Flag"].to_pylist()) == {None, "1"}


# --- small files by hand

HEADER = ["VendorID", "tpep_pickup_datetime", "passenger_count", "store_and_fwd_flag", "PULocationID", "fare_amount"]
GOOD = "1,2021-01-01 00:30:10,1,N,142,8.5"


def csv_of(
    folder: Path, lines: Sequence[str | bytes], header: str | bytes = ",".join(HEADER), end: bytes = b"\r\n",
    last: bool = True,
) -> Path:  # fmt: skip
    """A csv.gz file of these lines; `last` says whether the last one ends like the others."""
    every = [line if isinstance(line, bytes) else line.encode() for line in (header, *lines)]
    path = folder / "yellow_tripdata_2021-01.csv.gz"
    path.write_bytes(gzip.compress(end.join(every) + (end if last else b""), 1, mtime=0))
    return path


def parquet_of(folder: Path, columns: dict[str, Any]) -> Path:
    """A Parquet file of these columns, and a pickup time beside them."""
    rows = len(next(iter(columns.values())))
    pickup = {"tpep_pickup_datetime": pa.array([datetime(2021, 1, 1)] * rows, pa.timestamp("us"))}
    path = folder / "yellow_tripdata_2021-01.parquet"
    pq.write_table(pa.table(pickup | columns), path)
    return path


def test_one_line_is_read_as_it_stands(tmp_path: Path) -> None:
    columns, table, malformed = read(csv_of(tmp_path, [GOOD]), YELLOW)
    assert columns == Columns(tuple(HEADER), ())
    assert malformed == []
    assert {name: value for name, value in table.to_pylist()[0].items() if value is not None} == {
        "VendorID": 1, "tpep_pickup_datetime": datetime(2021, 1, 1, 0, 30, 10), "passenger_count": 1,
        "store_and_fwd_flag": "N", "PULocationID": 142, "fare_amount": 8.5,
    }  # fmt: skip


BROKEN: list[tuple[str, str | bytes, str]] = [
    ("too few fields", "1,2021-01-01 00:30:10,1,N,142", "malformed: number of fields"),
    ("too many fields", GOOD + ",7", "malformed: number of fields"),
    ("a word", "no comma at all", "malformed: number of fields"),
    ("a word for money", "1,2021-01-01 00:30:10,1,N,142,n/a", "malformed: fare_amount"),
    ("money with a comma", '1,2021-01-01 00:30:10,1,N,142,"8,50"', "malformed: fare_amount"),
    ("a spreadsheet's date", "1,01/01/2021 0:30,1,N,142,8.5", "malformed: tpep_pickup_datetime"),
    ("a date that never was", "1,2021-02-30 00:30:10,1,N,142,8.5", "malformed: tpep_pickup_datetime"),
    ("bytes that are no UTF-8", b"1,2021-01-01 00:30:10,1,\xff\xfe,142,8.5", "malformed: store_and_fwd_flag"),
    ("a fraction of a passenger", "1,2021-01-01 00:30:10,1.5,N,142,8.5", "malformed: passenger_count"),
    ("a zone beyond 32 bits", "1,2021-01-01 00:30:10,1,N,2147483648,8.5", "malformed: PULocationID"),
    ("a distance without end", "1,2021-01-01 00:30:10,1,N,142,1e400", "malformed: fare_amount"),
    ("the year 0", "1,0000-12-31 00:30:10,1,N,142,8.5", "malformed: tpep_pickup_datetime"),
    ("a quotation mark without its twin", '1,2021-01-01 00:30:10,1,"N,142,8.5', "malformed: number of fields"),
    ("a NUL in the text", b"1,2021-01-01 00:30:10,1,N\0,142,8.5", "malformed: NUL character"),
    ("a carriage return in the middle", "1,2021-01-01 00:30:10,1\r,N,142,8.5", "malformed: number of fields"),
]


@pytest.mark.parametrize(("line", "reason"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
@pytest.mark.parametrize("at", [0, 500, 998, 999])
def test_a_broken_line_is_set_aside_with_its_number_text_and_reason(
    at: int, line: str | bytes, reason: str, tmp_path: Path
) -> None:
    lines: list[str | bytes] = [f"{i % 3},2021-01-01 00:30:10,1,N,142,{i}" for i in range(1_000)]
    lines[at] = line
    _, table, malformed = read(csv_of(tmp_path, lines), YELLOW)
    text = (line if isinstance(line, bytes) else line.encode()).decode("utf-8", "backslashreplace")
    assert malformed == [Malformed(at + 1, text.replace("\0", "\\x00"), reason)]
    assert table["fare_amount"].to_pylist() == [float(i) for i in range(1_000) if i != at]


def test_all_broken_lines_of_a_file_are_found_and_nothing_else(tmp_path: Path) -> None:
    lines: list[str | bytes] = [GOOD] * 3_000
    places = random.Random(1).sample(range(3_000), len(BROKEN))
    for place, (_, line, _) in zip(places, BROKEN, strict=True):
        lines[place] = line
    _, table, malformed = read(csv_of(tmp_path, lines), YELLOW)
    expected = sorted((place + 1, reason) for place, (_, _, reason) in zip(places, BROKEN, strict=True))
    assert [(row.row, row.reason) for row in malformed] == expected
    assert len(table) == 3_000 - len(BROKEN)


def test_two_stray_quotation_marks_do_not_swallow_the_lines_between_them(tmp_path: Path) -> None:
    # To a CSV parser this is one row whose flag has a line end in it.
    lines = [GOOD, '1,2021-01-01 00:30:10,1,"N,142,1.5', '2,2021-01-01 00:30:10,1,N",142,2.5', GOOD]
    _, table, malformed = read(csv_of(tmp_path, lines), YELLOW)
    assert [(row.row, row.reason) for row in malformed] == [(row, "malformed: number of fields") for row in (2, 3)]
    assert table["fare_amount"].to_pylist() == [8.5, 8.5]
    assert len(table) + len(malformed) == count_rows(tmp_path / "yellow_tripdata_2021-01.csv.gz") == 4


@pytest.mark.parametrize("more", [[], [GOOD] * 500], ids=["alone", "among others"])
def test_neither_half_of_a_value_with_a_line_break_is_a_row(tmp_path: Path, more: list[str]) -> None:
    lines = [GOOD, '1,2021-01-01 00:30:10,1,"N', 'Y",142,1.5', GOOD, *more]
    _, table, malformed = read(csv_of(tmp_path, lines), YELLOW)
    assert [row.row for row in malformed] == [2, 3]
    assert len(table) == len(lines) - 2


@pytest.mark.parametrize("end", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
@pytest.mark.parametrize("last", [True, False], ids=["final newline", "no final newline"])
@pytest.mark.parametrize("broken", [False, True], ids=["clean", "one broken line"])
def test_line_ends_of_both_kinds_and_a_missing_last_one_make_no_difference(
    end: bytes, last: bool, broken: bool, tmp_path: Path
) -> None:
    lines = [f"1,2021-01-01 00:30:10,1,N,142,{i}.25" for i in range(200)]
    if broken:
        lines[-2] = "broken"
    path = csv_of(tmp_path, lines, end=end, last=last)
    _, table, malformed = read(path, YELLOW)
    assert [row.row for row in malformed] == ([199] if broken else [])
    assert table["fare_amount"].to_pylist() == [i + 0.25 for i in range(200) if not (broken and i == 198)]
    assert set(table["store_and_fwd_flag"].to_pylist()) == {"N"}
    assert count_rows(path) == 200


@pytest.mark.parametrize("end", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
def test_blank_lines_are_no_rows_but_count_for_the_number_of_a_line(end: bytes, tmp_path: Path) -> None:
    lines = [GOOD, "", GOOD, "   ", "broken", GOOD, "", ""]
    _, table, malformed = read(csv_of(tmp_path, lines, end=end), YELLOW)
    assert len(table) == 3
    assert malformed == [Malformed(5, "broken", "malformed: number of fields")]


def test_a_count_that_no_float_holds_is_kept_to_its_last_digit(tmp_path: Path) -> None:
    lines = [f"1,2021-01-01 00:30:10,{count},N,142,8.5" for count in ("9007199254740993", "9007199254740993.0")]
    for tried in (lines[:1], lines):  # the first alone is parsed at full speed, the two carefully
        _, table, malformed = read(csv_of(tmp_path, tried), YELLOW)
        assert (set(table["passenger_count"].to_pylist()), malformed) == ({2**53 + 1}, [])


def test_integers_written_as_floats_are_integers_and_words_for_nothing_are_null(tmp_path: Path) -> None:
    lines = [
        "1.0,2021-01-01 00:30:10,264.0,N,264.0,8",
        "NaN,2021-01-01 00:30:11,nan,NULL,null,",
        "2,2021-01-01 00:30:12,2,Y,265,-8.50",
        ",,,,,NaN",
    ]
    _, table, malformed = read(csv_of(tmp_path, lines), YELLOW)
    assert malformed == []
    assert table.select(
        ["VendorID", "passenger_count", "store_and_fwd_flag", "PULocationID", "fare_amount"]
    ).to_pydict() == {
        "VendorID": [1, None, 2],
        "passenger_count": [264, None, 2],
        "store_and_fwd_flag": ["N", None, "Y"],
        "PULocationID": [264, None, 265],
        "fare_amount": [8.0, None, -8.5],
    }


# --- the header


@pytest.mark.parametrize(
    "header",
    [
        "\ufeff" + ",".join(HEADER),
        ",".join(f" {name}  " for name in HEADER),
        ",".join(HEADER).upper(),
        ",".join(HEADER).lower(),
        "\ufeff VendorID," + ",".join(HEADER[1:]) + "   ",
    ],
    ids=["BOM", "spaces", "upper case", "lower case", "BOM and spaces"],
)
def test_a_header_is_matched_whatever_its_case_spaces_and_byte_order_mark(header: str, tmp_path: Path) -> None:
    columns, table, malformed = read(csv_of(tmp_path, [GOOD, GOOD], header=header), YELLOW)
    assert columns.present == tuple(HEADER)
    assert (len(table), malformed) == (2, [])
    assert table["VendorID"].to_pylist() == [1, 1]


def test_columns_are_matched_by_name_and_never_by_position(tmp_path: Path) -> None:
    path = csv_of(tmp_path, ["8.5,142,2021-01-01 00:30:10"], header="fare_amount,DOLocationID,tpep_pickup_datetime")
    _, table, _ = read(path, YELLOW)
    assert (table["fare_amount"].to_pylist(), table["DOLocationID"].to_pylist()) == ([8.5], [142])
    assert table["PULocationID"].null_count == 1


def test_an_unknown_column_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UnknownColumn) as refused:
        read(csv_of(tmp_path, [GOOD + ",1,2"], header=",".join([*HEADER, "Robot_Fee", "Moon"])), YELLOW)
    assert str(refused.value) == (
        "yellow_tripdata_2021-01.csv.gz: column 'Robot_Fee', 'Moon' is not known for yellow. If its publisher added "
        "it, add it to services.py (docs/new-column.md); else this is another service's file"
    )
    with pytest.raises(UnknownColumn, match="column 'Robot_Fee' is not known for yellow"):
        read(parquet_of(tmp_path, {"Robot_Fee": pa.array([1.0])}), YELLOW)


def test_the_file_of_another_service_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownColumn, match=r"column 'lpep_pickup_datetime', .* is not known for yellow"):
        read(generate("green", "2020-10", "dtc", 10, tmp_path), YELLOW)
    with pytest.raises(UnknownColumn, match=r"column 'tpep_pickup_datetime', .* is not known for green"):
        read(generate("yellow", "2023-02", "tlc", 10, tmp_path), GREEN)


def test_a_file_without_its_pickup_column_is_refused_by_that_name(tmp_path: Path) -> None:
    with pytest.raises(NotATripFile) as refused:
        read(csv_of(tmp_path, ["1,2"], header="VendorID,fare_amount"), YELLOW)
    assert str(refused.value) == (
        "yellow_tripdata_2021-01.csv.gz is no yellow file: it has no column tpep_pickup_datetime; "
        "its columns are VendorID, fare_amount"
    )


@pytest.mark.parametrize("names", [["fare_amount", "Fare_Amount"], ["fare_amount", "Fare_Amt"], ["extra", " extra"]])
def test_a_column_that_is_there_twice_is_refused_by_its_name(names: list[str], tmp_path: Path) -> None:
    with pytest.raises(NotATripFile, match=rf"column {names[0].strip()} is there twice"):
        read(csv_of(tmp_path, ["2021-01-01 00:30:10,1,2"], header=",".join(["tpep_pickup_datetime", *names])), YELLOW)
    with pytest.raises(NotATripFile, match=rf"column {names[0].strip()} is there twice"):
        match_columns(["tpep_pickup_datetime", *names], YELLOW, "a file")


def test_an_empty_file_is_refused_as_empty(tmp_path: Path) -> None:
    with pytest.raises(NotATripFile, match=r"is no yellow file: it has no column tpep_pickup_datetime; it is empty"):
        read(csv_of(tmp_path, [], header="", last=False), YELLOW)


def test_a_header_in_another_encoding_is_refused_with_a_message(tmp_path: Path) -> None:
    with pytest.raises(NotATripFile, match=r"is written in UTF-16, .*: publish it in UTF-8$"):
        read(csv_of(tmp_path, [GOOD], header=",".join(HEADER).encode("utf-16")), YELLOW)


@pytest.mark.parametrize("last", [True, False])
def test_a_header_alone_has_no_rows(last: bool, tmp_path: Path) -> None:
    path = csv_of(tmp_path, [], last=last)
    columns, table, malformed = read(path, YELLOW)
    assert (columns.present, len(table), malformed, count_rows(path)) == (tuple(HEADER), 0, [], 0)


# --- speed and blocks


@pytest.mark.parametrize(
    ("name", "month"), [("yellow", "2021-01"), ("green", "2020-10"), ("fhv", "2019-01"), ("fhvhv", "2021-06")]
)
def test_a_clean_file_is_never_parsed_carefully(
    name: str, month: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(reader: object, lines: object) -> Iterator[conform.Conformed]:
        raise AssertionError("a clean file took the slow way")

    path = generate(name, month, "dtc", 50_000, tmp_path)
    monkeypatch.setattr(readers._CsvReader, "_read_carefully", refuse)
    monkeypatch.setattr(unpack, "BLOCK_BYTES", 1 << 20)  # several blocks
    _, table, _ = read(path, SERVICES[name])
    assert len(table) == 50_000
    with pytest.raises(AssertionError, match="a clean file took the slow way"):
        read(csv_of(tmp_path, [GOOD, "broken"]), YELLOW)


def test_only_the_block_with_the_broken_line_is_parsed_carefully(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    carefully = readers._CsvReader._read_carefully

    def noted(reader: readers._CsvReader, lines: list[bytes]) -> Iterator[conform.Conformed]:
        taken.append(len(lines))
        return carefully(reader, lines)

    monkeypatch.setattr(readers._CsvReader, "_read_carefully", noted)
    monkeypatch.setattr(unpack, "BLOCK_BYTES", 1 << 16)
    lines = [GOOD] * 20_000
    lines[10_000] = "broken"
    _, table, malformed = read(csv_of(tmp_path, lines), YELLOW)
    assert (len(table), [row.row for row in malformed]) == (19_999, [10_001])
    assert len(taken) == 1
    assert taken[0] < 2_100


@pytest.mark.parametrize("block", [1_024, 1_777, 4_096, 100_003])
def test_a_block_may_end_in_the_middle_of_a_line(block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = generate("yellow", "2021-01", "dtc", 1_500, tmp_path, malformed=12)
    _, whole, malformed = read(path, YELLOW)
    monkeypatch.setattr(unpack, "BLOCK_BYTES", block)
    _, pieced, pieced_malformed = read(path, YELLOW)
    assert len(whole) == 1_488
    assert pieced.equals(whole)
    assert pieced_malformed == malformed
    assert [row.row for row in malformed] == [(2 * i + 1) * 1_500 // 24 + 1 for i in range(12)]


def test_the_broken_lines_of_the_generator_have_its_three_reasons(tmp_path: Path) -> None:
    _, _, malformed = read(generate("green", "2020-10", "dtc", 3_000, tmp_path, malformed=6), GREEN)
    assert [row.reason for row in malformed] == [
        "malformed: number of fields", "malformed: fare_amount", "malformed: lpep_pickup_datetime"] * 2  # fmt: skip
    assert "n/a" in malformed[1].text
    assert "01/01/2021 0:30" in malformed[2].text


# --- too many


def staged_rows(trips: TripServer, tmp_path: Path, lines: list[str], share: object = None) -> int:
    folder = trips.folder / "dtc" / "yellow"
    folder.mkdir(parents=True, exist_ok=True)
    csv_of(folder, lines)
    offline = settings_for(Settings.from_environment({}).postgres, trips, tmp_path)
    variables = {"service": "yellow", "month": "2021-01", "origin": "dtc", "malformed_share": share}
    return stage_trip_file(run_context(variables, offline)).files[0].rows_read


def test_one_line_in_a_hundred_may_be_broken(trips: TripServer, tmp_path: Path) -> None:
    assert staged_rows(trips, tmp_path, ["broken"] * 5 + [GOOD] * 495) == 500


def test_more_than_one_line_in_a_hundred_is_refused_with_reasons_and_the_first_line(
    trips: TripServer, tmp_path: Path
) -> None:
    lines = [
        "broken",
        *[GOOD] * 300,
        "1,x,1,N,142,8.5",
        "2,x,1,N,142,8.5",
        *[GOOD] * 193,
        "broken",
        "3,x,1,N,1,1",
        GOOD,
    ]
    with pytest.raises(TooManyMalformed) as refused:
        staged_rows(trips, tmp_path, [*lines, GOOD, "last"])
    assert str(refused.value).startswith(
        "yellow_tripdata_2021-01.csv.gz of yellow 2021-01 (dtc): at least 6 rows cannot"
    )
    assert "more than 0.01 of the file" in str(refused.value)
    assert "3 x malformed: number of fields, 3 x malformed: tpep_pickup_datetime" in str(refused.value)
    assert "the first: 'broken'" in str(refused.value)


def test_blank_lines_hide_no_broken_rows(trips: TripServer, tmp_path: Path) -> None:
    with pytest.raises(TooManyMalformed, match=r"at least 1 rows cannot be parsed, more than 0\.01 of the file"):
        staged_rows(trips, tmp_path, ["broken"] * 4 + [GOOD] * 6 + [""] * 600)


@pytest.mark.parametrize(("share", "rows"), [("0.4", 10), (0.4, 10), ("1", 10), ("0.39", None), ("0", None)])
def test_the_tolerated_share_can_be_set(share: object, rows: int | None, trips: TripServer, tmp_path: Path) -> None:
    lines = ["broken"] * 4 + [GOOD] * 6
    if rows:
        assert staged_rows(trips, tmp_path, lines, share) == rows
        # Staged by a run that tolerated it: one that does not is told, and finds nothing staged.
        with pytest.raises(TooManyMalformed, match=r"Check it, or set malformed_share$"):
            staged_rows(trips, tmp_path, lines)
    else:
        with pytest.raises(TooManyMalformed, match=f"more than {share} of the file"):
            staged_rows(trips, tmp_path, lines, share)


@pytest.mark.parametrize("share", ["5%", "1.01", "-0.1", "nan", "a few"])
def test_a_share_that_cannot_be_is_refused(share: str) -> None:
    with pytest.raises(UnknownName, match=f"malformed_share '{share}' is not a share from 0 to 1, such as 0.05"):
        run_context({"month": "2021-01", "malformed_share": share})


# --- values in, values out

NOTHING = st.none()
SMALLS = st.one_of(NOTHING, st.integers(-(2**31), 2**31 - 1))
WHOLES = st.one_of(NOTHING, st.integers(-(2**53) + 1, 2**53 - 1))
REALS = st.one_of(NOTHING, st.floats(-1e299, 1e299))
TIMES = st.one_of(NOTHING, st.datetimes())
NULL_WORDS = ["", "NaN", "nan", "NULL", "null"]
TEXTS = st.one_of(
    NOTHING,
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters='",'), min_size=1, max_size=12),
    st.sampled_from(["Y", "n", "1", "0 ", "1.0", " ", "nan"]),
)
ROWS = st.lists(st.tuples(SMALLS, TIMES, WHOLES, TEXTS, SMALLS, REALS), min_size=1, max_size=25)


def meant(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows that have a value, with the flag in its one vocabulary."""
    told = [(*row[:3], meant_flag(row[3]), *row[4:]) for row in rows]
    return [row for row in told if row != (None,) * len(row)]


def meant_flag(text: str | None) -> str | None:
    trimmed = (text or "").strip()
    words = {"y": "Y", "1": "Y", "1.0": "Y", "n": "N", "0": "N", "0.0": "N"}
    return None if trimmed in NULL_WORDS else words.get(trimmed.lower(), trimmed)


def csv_text(value: Any, kind: pa.DataType, rng: random.Random) -> str:
    """One of the ways in which a value is written."""
    if value is None:
        return rng.choice(NULL_WORDS)
    if pa.types.is_integer(kind):
        return rng.choice([str(value), f"{value}.0", f" {value} "])
    if isinstance(value, datetime):
        return value.isoformat(sep=rng.choice([" ", "T"]))
    return value if isinstance(value, str) else repr(value)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.randoms(use_true_random=False), st.booleans())
def test_what_a_csv_file_says_is_what_comes_out(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]], rng: random.Random, crlf: bool
) -> None:
    kinds = [YELLOW.schema.field(name).type for name in HEADER]
    lines = [",".join(csv_text(value, kind, rng) for value, kind in zip(row, kinds, strict=True)) for row in rows]
    path = csv_of(tmp_path_factory.mktemp("csv"), lines, end=b"\r\n" if crlf else b"\n")
    _, table, malformed = read(path, YELLOW)
    assert malformed == []
    assert list(zip(*(table[name].to_pylist() for name in HEADER), strict=True)) == meant(rows)
    assert table.schema.equals(YELLOW.schema)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([GOOD, *(line for _, line, _ in BROKEN)]), min_size=1, max_size=40), st.booleans())
def test_every_line_is_either_a_row_or_set_aside_under_its_number(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str | bytes], last: bool
) -> None:
    _, table, malformed = read(csv_of(tmp_path_factory.mktemp("csv"), lines, last=last), YELLOW)
    reasons = {line: reason for _, line, reason in BROKEN}
    assert [(row.row, row.reason) for row in malformed] == [
        (number, reasons[line]) for number, line in enumerate(lines, 1) if line != GOOD
    ]
    assert len(table) == lines.count(GOOD)


def whole_floats(values: list[int | None]) -> pa.Array:
    return pa.array([None if value is None else float(value) for value in values], pa.float64())


def nan_floats(values: list[float | None]) -> pa.Array:
    return pa.array([math.nan if value is None else float(value) for value in values], pa.float64())


def texts(values: list[Any]) -> list[str | None]:
    return [None if value is None else str(value) for value in values]


FORMS: dict[pa.DataType, list[Callable[[list[Any]], pa.Array]]] = {
    pa.int32(): [
        lambda v: pa.array(v, pa.int32()), lambda v: pa.array(v, pa.int64()), whole_floats, nan_floats,
        lambda v: pa.array(texts(v), pa.string()), lambda v: pa.array(v, pa.int64()).dictionary_encode(),
        lambda v: pa.array(texts(v), pa.string()).dictionary_encode(),
    ],
    pa.int64(): [
        lambda v: pa.array(v, pa.int64()), whole_floats, nan_floats, lambda v: pa.array(texts(v), pa.large_string()),
        lambda v: pa.array(v, pa.int64()).dictionary_encode(),
    ],
    pa.float64(): [
        lambda v: pa.array(v, pa.float64()), nan_floats,
        lambda v: pa.array([None if x is None else repr(x) for x in v], pa.string()),
        lambda v: pa.array(v, pa.float64()).dictionary_encode(),
    ],
    pa.string(): [
        lambda v: pa.array(v, pa.string()), lambda v: pa.array(v, pa.large_string()),
        lambda v: pa.array(v, pa.string()).dictionary_encode(),
    ],
    pa.timestamp("us"): [
        lambda v: pa.array(v, pa.timestamp("us")), lambda v: pa.array([x and x.isoformat(" ") for x in v], pa.string()),
    ],
}  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(ROWS, st.randoms(use_true_random=False), st.integers(0, len(HEADER)))
def test_what_a_parquet_file_says_is_what_comes_out_whatever_the_types(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]], rng: random.Random, emptied: int
) -> None:
    columns: dict[str, Any] = {}
    rows = [tuple(None if place == emptied else value for place, value in enumerate(row)) for row in rows]
    for place, (name, values) in enumerate(zip(HEADER, zip(*rows, strict=True), strict=True)):
        form = rng.choice(FORMS[YELLOW.schema.field(name).type])
        columns[name] = pa.nulls(len(rows)) if place == emptied else form(list(values))
    _, table, malformed = read(parquet_of(tmp_path_factory.mktemp("parquet"), columns), YELLOW)
    assert malformed == []
    assert list(zip(*(table[name].to_pylist() for name in HEADER), strict=True)) == meant(rows)
    assert table.schema.equals(YELLOW.schema)


CELLS = st.sampled_from(
    [(1.0, True), (264.0, True), (None, True), (math.nan, True), (1.5, False), (2.0**31, False), (-0.25, False),
     (math.inf, False)]
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=60))
def test_a_parquet_value_that_does_not_fit_sets_its_row_aside_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[tuple[float | None, bool], tuple[float | None, bool]]]
) -> None:
    vendors, zones = ([pair[side][0] for pair in cells] for side in (0, 1))
    path = parquet_of(
        tmp_path_factory.mktemp("parquet"),
        {"VendorID": pa.array(vendors, pa.float64()), "PULocationID": pa.array(zones, pa.float64()),
         "fare_amount": pa.array(range(len(cells)), pa.int64())},
    )  # fmt: skip
    _, table, malformed = read(path, YELLOW)
    kept = [row for row, ((_, one), (_, other)) in enumerate(cells) if one and other]
    assert table["fare_amount"].to_pylist() == kept
    assert [(row.row, row.reason) for row in malformed] == [
        (row + 1, f"malformed: {'PULocationID' if one else 'VendorID'}")
        for row, ((_, one), (_, other)) in enumerate(cells)
        if not (one and other)
    ]
    assert [json.loads(row.text)["fare_amount"] for row in malformed] == [row.row - 1 for row in malformed]


def test_row_numbers_go_on_over_the_batches_of_a_parquet_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "PARQUET_ROWS", 100)
    counts = [1.0] * 1_000
    counts[0] = counts[99] = counts[100] = counts[999] = 1.5
    _, table, malformed = read(parquet_of(tmp_path, {"passenger_count": pa.array(counts)}), YELLOW)
    assert [row.row for row in malformed] == [1, 100, 101, 1_000]
    assert len(table) == 996


def test_an_integer_that_a_float_cannot_tell_from_its_neighbour_is_set_aside(tmp_path: Path) -> None:
    path = parquet_of(tmp_path, {"passenger_count": pa.array([2.0**53 - 1, 2.0**53, -(2.0**53), 1.0])})
    _, table, malformed = read(path, YELLOW)
    assert table["passenger_count"].to_pylist() == [2**53 - 1, 1]
    assert [row.row for row in malformed] == [2, 3]


def test_a_type_that_no_era_had_is_refused_by_column_and_type(tmp_path: Path) -> None:
    path = tmp_path / "yellow_tripdata_2021-01.parquet"
    pq.write_table(pa.table({"tpep_pickup_datetime": pa.array([1.0e9])}), path)
    with pytest.raises(NotATripFile) as refused:
        read(path, YELLOW)
    assert str(refused.value) == (
        "yellow_tripdata_2021-01.parquet: column tpep_pickup_datetime of type double cannot be read as timestamp[us]: "
        "write it as one of timestamps without a zone, dates and text"
    )


# --- damage


def damaged(path: Path) -> Iterator[bytes]:
    """The file cut at many places, and with one byte changed at many places."""
    whole = path.read_bytes()
    for cut in range(0, len(whole), len(whole) // 25):
        yield whole[:cut]
    rng = random.Random(0)
    for _ in range(40):
        at = rng.randrange(len(whole))
        yield whole[:at] + bytes([whole[at] ^ rng.randrange(1, 256)]) + whole[at + 1 :]


@pytest.mark.parametrize(("origin", "suffix"), [("dtc", "csv.gz"), ("tlc", "parquet")])
def test_a_damaged_file_is_refused_by_name_or_read_but_never_a_crash(origin: str, suffix: str, tmp_path: Path) -> None:
    path = generate("green", "2020-10", origin, 400, tmp_path)
    target, refused = tmp_path / f"damaged.{suffix}", 0
    for content in damaged(path):
        target.write_bytes(content)
        try:
            read(target, GREEN)
        except NotATripFile as error:
            refused += 1
            assert f"damaged.{suffix}" in str(error)  # noqa: PT017  that it may be readable is part of the test
    assert refused >= 26


def test_a_gzip_file_that_ends_early_is_called_truncated(tmp_path: Path) -> None:
    path = generate("green", "2020-10", "dtc", 2_000, tmp_path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(NotATripFile, match=r"2020-10.csv.gz is truncated or damaged .*run again to fetch it anew"):
        read(path, GREEN)


def test_several_gzip_members_are_one_file(tmp_path: Path) -> None:
    path = csv_of(tmp_path, [GOOD])
    path.write_bytes(path.read_bytes() + gzip.compress(f"{GOOD}\r\n".encode()))
    assert len(read(path, YELLOW)[1]) == 2


def test_the_plain_reading_of_these_tests_is_right() -> None:
    assert plain_value("264.0", "PULocationID", pa.int32()) == 264
    assert plain_value("CMT", "VendorID", pa.int32()) == 1
    assert plain_value(math.nan, "RatecodeID", pa.int64()) is None
