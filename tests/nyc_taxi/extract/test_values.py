"""What other programs write is read right or refused by column and type; one bad value rejects its row alone."""

import gzip
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nyc_taxi.catalog.columns import FLAG, Column
from nyc_taxi.catalog.services import FHV, FHVHV, GREEN, SERVICES, YELLOW, Service
from nyc_taxi.errors import NotATripFile, UnknownName
from nyc_taxi.extract import conform
from nyc_taxi.extract.readers import open_csv, open_parquet
from nyc_taxi.extract.values import FORMS, NULLS, SOURCE_TYPES

NOON = datetime(2025, 7, 1, 12)
DROP_OFF = "lpep_dropoff_datetime"


def parquet_of(folder: Path, columns: dict[str, Any], service: Service = GREEN) -> Path:
    """A Parquet file of these columns, and a pickup time beside them."""
    rows = len(next(iter(columns.values())))
    path = folder / f"{service.name}_tripdata_2025-07.parquet"
    pq.write_table(pa.table({service.pickup: pa.array([NOON] * rows, pa.timestamp("us"))} | columns), path)
    return path


def csv_of(folder: Path, header: Sequence[str], lines: Sequence[bytes], service: Service) -> Path:
    path = folder / f"{service.name}_tripdata_2020-10.csv.gz"
    path.write_bytes(gzip.compress(b"\r\n".join([",".join(header).encode(), *lines, b""])))
    return path


def read(path: Path, service: Service = GREEN) -> tuple[dict[str, list[Any]], list[tuple[int, str]], int]:
    """The columns that the file has, what is malformed in which row, and how many rows are blank."""
    columns, pieces = (open_csv if path.name.endswith("csv.gz") else open_parquet)(path, service)
    read = list(pieces)
    table = pa.concat_tables([piece.table for piece in read])
    malformed = [(row.row, row.reason) for piece in read for row in piece.malformed]
    return table.select(list(columns.present)).to_pydict(), malformed, sum(piece.blank for piece in read)


# --- types


def zoned(zone: str) -> pa.Array:
    return pa.array([NOON], pa.timestamp("us", zone))


WALL_CLOCK = "timestamps without a zone, dates and text"
REFUSED = [
    *((DROP_OFF, zoned(zone), WALL_CLOCK) for zone in ("America/New_York", "UTC", "+02:00")),
    ("lpep_pickup_datetime", zoned("America/New_York"), WALL_CLOCK),
    *((DROP_OFF, pa.array([1_751_371_200_000], kind), WALL_CLOCK) for kind in (
        pa.int64(), pa.uint64(), pa.float64(), pa.duration("ms"), pa.time64("us"))),
    (DROP_OFF, pa.array([Decimal("1751371200.5")]), WALL_CLOCK),
    *((name, pa.array([value]), "numbers and text") for name in ("passenger_count", "trip_distance", "VendorID")
      for value in (True, NOON, NOON.date(), NOON.time(), timedelta(seconds=90), [1], {"a": 1})),
    *(("store_and_fwd_flag", pa.array([value]), "text and numbers")
      for value in (True, NOON, NOON.date(), timedelta(seconds=90), ["Y"], {"a": "Y"}, Decimal("1.0"))),
    ("store_and_fwd_flag", pa.array([b"Y"], pa.binary(1)), "text and numbers"),
    ("trip_distance", pa.array([{f"a field with a long name {i}": i for i in range(99)}]), "numbers and text"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "values", "readable"), REFUSED, ids=[f"{name} {v.type}"[:60] for name, v, _ in REFUSED]
)
def test_a_type_that_no_era_had_is_refused_in_one_line(
    name: str, values: pa.Array, readable: str, tmp_path: Path
) -> None:
    path = parquet_of(tmp_path, {name: values})
    with pytest.raises(NotATripFile) as refused:
        read(path)
    written, kind = pq.read_schema(path).field(name).type, GREEN.schema.field(name).type
    assert str(refused.value) == (
        f"green_tripdata_2025-07.parquet: column {name} of type {str(written)[:60]} cannot be read as {kind}: write "
        f"it as one of {readable}"
    )
    assert len(str(refused.value)) <= 300


def test_a_duration_is_no_count_of_seconds(tmp_path: Path) -> None:
    path = parquet_of(tmp_path, {"trip_time": pa.array([timedelta(seconds=90)], pa.duration("ns"))}, FHVHV)
    with pytest.raises(NotATripFile, match=r"column trip_time of type duration\[ns\] cannot be read as int64"):
        read(path, FHVHV)


READ = [
    *((DROP_OFF, pa.array([NOON], pa.timestamp(unit)), NOON) for unit in ("s", "ms", "us", "ns")),
    (DROP_OFF, pa.array([NOON.date()], pa.date32()), datetime(2025, 7, 1)),
    (DROP_OFF, pa.array([NOON.date()], pa.date64()), datetime(2025, 7, 1)),
    *((DROP_OFF, pa.array([" 2025-07-01 12:00:00 "], kind), NOON) for kind in (
        pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view())),
    *(("trip_distance", pa.array([2], kind), 2.0) for kind in (
        pa.int8(), pa.uint16(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.decimal128(9, 2),
        pa.decimal256(40, 2))),
    *(("passenger_count", pa.array([2], kind), 2) for kind in (
        pa.uint8(), pa.int32(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.decimal128(9, 2))),
    *(("passenger_count", pa.array([text]), 2) for text in ("2", "2.0", " 2. ", "2e0")),
    ("passenger_count", pa.array(["-9007199254740993.0"]), -(2**53) - 1),
    ("store_and_fwd_flag", pa.array(["y"], pa.large_string()).dictionary_encode(), "Y"),
    ("trip_type", pa.array([2.0]).dictionary_encode(), 2),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values", "value"), READ, ids=[f"{name} {v.type}"[:60] for name, v, _ in READ])
def test_every_type_of_the_list_is_read(name: str, values: pa.Array, value: object, tmp_path: Path) -> None:
    columns, malformed, _ = read(parquet_of(tmp_path, {name: values}))
    assert (columns[name], malformed) == ([value], [])


def test_every_canonical_type_has_its_sources() -> None:
    used = {column.type for service in SERVICES.values() for column in service.columns}
    assert used == set(SOURCE_TYPES)


@pytest.mark.parametrize(
    "empty",
    [pa.nulls(2), pa.nulls(2, pa.int32()), pa.array([None, float("nan")]), pa.nulls(2, pa.duration("s")),
     pa.nulls(2, pa.timestamp("us", "UTC")), pa.nulls(2, pa.list_(pa.int64())), pa.nulls(2, pa.bool_()),
     pa.nulls(2, pa.string()).dictionary_encode()],
    ids=lambda values: str(values.type),
)  # fmt: skip
@pytest.mark.parametrize("name", [DROP_OFF, "VendorID", "trip_distance", "store_and_fwd_flag"])
def test_a_column_without_a_value_is_null_whatever_its_type(name: str, empty: pa.Array, tmp_path: Path) -> None:
    columns, malformed, blank = read(parquet_of(tmp_path, {name: empty}))
    assert (columns[name], malformed, blank) == ([None, None], [], 0)


# --- text


@pytest.mark.parametrize(
    ("written", "kept"),
    [("B02811", "B02811"), ("B00021         ", "B00021"), ("b01700", "B01700"), ("B02811 - M.L. Trips", "B02811"),
     ("\tHV0003\u00a0", "HV0003"), ("B02811\u00a0Trips", "B02811"), ("UBER", "UBER"), ("1Uber", "1UBER"),
     ("uber inc", "UBER INC"), ("B0281", "B0281"), ("B02811/B02812", "B02811/B02812"), ("  ", None), ("", None),
     ("nan", None), ("NULL ", None), (None, None)],
)  # fmt: skip
def test_a_base_has_one_licence_number(written: str | None, kept: str | None, tmp_path: Path) -> None:
    licences = {name: pa.array(["B00001", written]) for name in ("dispatching_base_num", "Affiliated_base_number")}
    columns, malformed, _ = read(parquet_of(tmp_path, licences, FHV), FHV)
    assert [columns[name] for name in licences] == [["B00001", kept]] * 2
    lines = [b"2020-10-01 00:00:00,B00001", f"2020-10-01 00:00:00,{written or ''}".encode()]
    columns, also_malformed, _ = read(csv_of(tmp_path, ["pickup_datetime", "dispatching_base_num"], lines, FHV), FHV)
    assert columns["dispatching_base_num"] == ["B00001", kept]
    assert malformed == also_malformed == []


@pytest.mark.parametrize(
    "values",
    [pa.array(["Y", "N", None, " Y", "n", "1", "1.0", "0", "", " ", "*"]),
     pa.array(["Y", "N", None, "Y ", "N", "1", "y", "0.0", "nan", "  ", "*"], pa.large_string())],
)  # fmt: skip
def test_a_flag_has_one_vocabulary(values: pa.Array, tmp_path: Path) -> None:
    wanted = ["Y", "N", None, "Y", "N", "Y", "Y", "N", None, None, "*"]
    assert read(parquet_of(tmp_path, {"store_and_fwd_flag": values}))[0]["store_and_fwd_flag"] == wanted
    assert read(parquet_of(tmp_path, {"wav_match_flag": values}, FHVHV), FHVHV)[0]["wav_match_flag"] == wanted


def test_the_flag_of_2009_was_a_number(tmp_path: Path) -> None:
    path = parquet_of(tmp_path, {"store_and_forward": pa.array([1.0, 0.0, None, float("nan"), 1.5])}, YELLOW)
    columns, malformed, _ = read(path, YELLOW)
    assert columns["store_and_fwd_flag"] == ["Y", "N", None, None]
    assert malformed == [(5, "malformed: store_and_fwd_flag")]


def test_one_blank_is_null_without_a_look_at_each_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyarrow.compute.utf8_trim_whitespace", None)  # what the look would begin with
    flags = pa.array([" ", "N", "Y", None, " "])
    for name, service in (("store_and_fwd_flag", GREEN), ("access_a_ride_flag", FHVHV)):
        columns, _, _ = read(parquet_of(tmp_path, {name: flags}, service), service)
        assert columns[name] == [None, "N", "Y", None, None]
    with pytest.raises(TypeError):
        read(parquet_of(tmp_path, {"store_and_fwd_flag": pa.array(["  "])}))


def test_other_text_is_trimmed_and_otherwise_as_it_was(tmp_path: Path) -> None:
    sources = pa.array(["App", " e-hail ", "Straße", "\u2003", "a b"])
    assert read(parquet_of(tmp_path, {"request_source": sources}))[0]["request_source"] == [
        "App", "e-hail", "Straße", None, "a b"]  # fmt: skip


def test_slices_and_chunks_are_told_apart(tmp_path: Path) -> None:
    """The bytes of a whole column are looked at: of its rows, not of its neighbours."""
    form = FORMS[FLAG]
    around = pa.array(["?", "Y", "N", None, "?"])
    assert form.holds(around.slice(1, 3))
    assert not form.holds(around.slice(1))
    assert form.holds(around.slice(3, 1))
    assert form.holds(pa.array([], pa.string()))
    assert not form.holds(pa.array(["Y", ""]))
    assert not any(FORMS[None].holds(pa.array(["x", word])) for word in NULLS)


def test_a_form_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"column flag: form 'flagg' is not one of licence, flag; did you mean flag"):
        Column("flag", pa.string(), form="flagg")


# --- values that no target knows

NO_UTF8 = pa.array([b"N", b"\xe9"]).cast(pa.binary())


def as_string(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Bytes as text, unchecked, as writers of Parquet do."""
    return pa.compute.cast(values, options=pa.compute.CastOptions(target_type=kind, allow_invalid_utf8=True))


BAD = [
    ("infinity", "trip_distance", pa.array([1.0, float("inf")]), "trip_distance"),
    ("-infinity", "total_amount", pa.array([1.0, float("-inf")]), "total_amount"),
    ("-infinity for a count", "passenger_count", pa.array([1.0, float("-inf")]), "passenger_count"),
    ("infinity in text", "trip_distance", pa.array(["1", "1e400"]), "trip_distance"),
    ("a sum without end", "trip_distance", pa.array([1.0, -1.7e308]), "trip_distance"),
    *(("no UTF-8", "store_and_fwd_flag", as_string(NO_UTF8, kind), "store_and_fwd_flag")
      for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.binary())),
    ("no UTF-8 for a time", DROP_OFF, as_string(pa.array([b"2025-07-01 12:00:00", b"\xff"]), pa.string()),
     DROP_OFF),
    ("NUL", "store_and_fwd_flag", pa.array(["N", "N\0"]), None),
    ("NUL in bytes", "request_source", pa.array([b"N", b"\0"]), None),
    *(("a year outside of 1 to 9999", DROP_OFF, pa.array([0, year], pa.timestamp("s")), DROP_OFF)
      for year in (-62_135_596_801, -219_338_580_000, 253_402_300_800, 2**53)),
    ("int64's least time", DROP_OFF, pa.array([0, -(2**63) + 1], pa.timestamp("us")), DROP_OFF),
    ("a date of the year 20211", DROP_OFF, pa.array([0, 6_662_000], pa.date32()), DROP_OFF),
    ("year 0", DROP_OFF, pa.array(["2025-07-01", "0000-12-31"]), DROP_OFF),
    ("beyond 32 bits", "PULocationID", pa.array([1, 2**40]), "PULocationID"),
    ("hexadecimal", "passenger_count", pa.array(["1", "0x10"]), "passenger_count"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values", "column"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_one_bad_value_rejects_its_row_and_no_other(
    name: str, values: pa.Array, column: str | None, tmp_path: Path
) -> None:
    columns, malformed, _ = read(parquet_of(tmp_path, {name: values, "fare_amount": pa.array([1.0, 2.0])}))
    assert columns["fare_amount"] == [1.0]
    assert malformed == [(2, f"malformed: {column or 'NUL character'}")]


def test_the_first_and_the_last_time_are_kept(tmp_path: Path) -> None:
    ends = [datetime.min, datetime.max]
    columns, malformed, _ = read(parquet_of(tmp_path, {DROP_OFF: pa.array(ends, pa.timestamp("us"))}))
    assert (columns[DROP_OFF], malformed) == (ends, [])


def test_a_row_is_set_aside_with_its_text_escaped_whatever_is_in_it(tmp_path: Path) -> None:
    """What Python cannot show must not stop what sets it aside."""
    odd: dict[str, Any] = {
        "PULocationID": pa.array([2**40]),
        "store_and_fwd_flag": as_string(pa.array([b"\xe9\0"]), pa.string()),
        "request_source": as_string(pa.array([b"\xff"]), pa.string_view()),
        DROP_OFF: pa.array([-219_338_580_000_000_000], pa.timestamp("us")),
        "trip_distance": pa.array([float("inf")]),
        "fare_amount": pa.array([Decimal("1.50")]),
        "trip_type": pa.array([b"\xff"]),
        "extra": as_string(pa.array([b"\xfe"]), pa.string()).dictionary_encode(),
    }
    _, pieces = open_parquet(parquet_of(tmp_path, odd), GREEN)
    [piece] = pieces
    [row] = piece.malformed
    assert row.reason == "malformed: lpep_dropoff_datetime"
    assert json.loads(row.text) == {
        "lpep_pickup_datetime": "2025-07-01 12:00:00", "PULocationID": 2**40, "store_and_fwd_flag": "\\xe9\0",
        "request_source": "\\xff", DROP_OFF: "-4981-06-10T00:40:00.000000",
        "trip_distance": float("inf"), "fare_amount": "1.50", "trip_type": "\\xff", "extra": "\\xfe",
    }  # fmt: skip
    assert "\0" not in row.text


@pytest.mark.parametrize(
    ("line", "reason"),
    [(b"2020-10-01 00:00:00,N,1e400", "trip_distance"), (b"2020-10-01 00:00:00,N,-inf", "trip_distance"),
     (b"2020-10-01 00:00:00,\xe9,1", "store_and_fwd_flag"), (b"2020-10-01 00:00:00,N\0,1", "NUL character"),
     (b"0000-10-01 00:00:00,N,1", "lpep_pickup_datetime"), (b"20211-10-01 00:00:00,N,1", "lpep_pickup_datetime"),
     (b"2020-10-01 00:00:00+02:00,N,1", "lpep_pickup_datetime"), (b"2020-10-01 00:00:00,N,0X1", "trip_distance")],
)  # fmt: skip
@pytest.mark.parametrize("carefully", [False, True])
def test_a_csv_line_is_judged_as_a_parquet_row_is(line: bytes, reason: str, carefully: bool, tmp_path: Path) -> None:
    header = ["lpep_pickup_datetime", "store_and_fwd_flag", "trip_distance"]
    good = b"2020-10-01 00:00:00,N,2"
    lines = [good, line, good] + [b"broken"] * carefully
    columns, malformed, _ = read(csv_of(tmp_path, header, lines, GREEN))
    assert columns["trip_distance"] == [2.0, 2.0]
    assert malformed == [(2, f"malformed: {reason}"), (4, "malformed: number of fields")][: 1 + carefully]


def test_a_value_means_the_same_whether_its_block_is_clean_or_not(tmp_path: Path) -> None:
    header = ["lpep_pickup_datetime", "passenger_count", "store_and_fwd_flag", "trip_distance"]
    lines = [b" 2020-10-01 00:00:00 , 9007199254740993 , n , 1.5 ", b"2020-10-01,2.0,1,0"]
    clean = read(csv_of(tmp_path, header, lines, GREEN))[0]
    assert clean == read(csv_of(tmp_path, header, [*lines, b"broken"], GREEN))[0]
    assert clean == {
        "lpep_pickup_datetime": [datetime(2020, 10, 1)] * 2, "passenger_count": [2**53 + 1, 2],
        "store_and_fwd_flag": ["N", "Y"], "trip_distance": [1.5, 0.0],
    }  # fmt: skip


@pytest.mark.parametrize("count", [b"0x10", b'"0X1"', b" -0x1"])
@pytest.mark.parametrize("first", [False, True])
def test_a_hexadecimal_count_is_malformed_in_a_clean_block_too(count: bytes, first: bool, tmp_path: Path) -> None:
    header, line = ["lpep_pickup_datetime", "passenger_count"], b"2020-10-01," + count
    if first:
        header, line = header[::-1], count + b",2020-10-01"
    _, malformed, _ = read(csv_of(tmp_path, header, [line], GREEN))
    assert malformed == [(1, "malformed: passenger_count")]


# --- rows without any value


@pytest.mark.parametrize("more", [[], [b"broken"]], ids=["at full speed", "carefully"])
def test_a_line_of_nothing_but_commas_is_no_trip(more: list[bytes], tmp_path: Path) -> None:
    header = ["lpep_pickup_datetime", "store_and_fwd_flag", "trip_distance"]
    lines = [b"2020-10-01 00:00:00,N,2", b",,", b" , ,", b",NULL,nan", b",,0"]
    columns, malformed, blank = read(csv_of(tmp_path, header, [*lines, *more], GREEN))
    assert columns["trip_distance"] == [2.0, 0.0]
    assert [row for row, _ in malformed] == [6] * len(more)
    assert blank == 3


def test_a_parquet_row_of_nulls_is_no_trip(tmp_path: Path) -> None:
    path = tmp_path / "green_tripdata_2025-07.parquet"
    columns = {
        "lpep_pickup_datetime": pa.array([NOON, None, None, None], pa.timestamp("us")),
        "trip_distance": pa.array([1.0, float("nan"), 2.0, None]),
        "store_and_fwd_flag": pa.array(["N", " ", None, "\0"]),
    }
    pq.write_table(pa.table(columns), path)
    read_columns, malformed, blank = read(path)
    assert (read_columns["trip_distance"], blank) == ([1.0, 2.0], 1)
    assert malformed == [(4, "malformed: NUL character")]


def test_without_the_place_of_a_row_nothing_is_dropped_unsaid() -> None:
    source = pa.table({"lpep_pickup_datetime": [NOON], "trip_distance": [float("inf")]})
    with pytest.raises(pa.ArrowInvalid, match="infinite"):
        conform.to_canonical(source, GREEN)
