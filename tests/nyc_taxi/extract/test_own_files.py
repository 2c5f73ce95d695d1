"""CSV as people's programs write it: quoted headers, other delimiters, packings, line ends, indexes and encodings."""

import gzip
import io
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from nyc_taxi.catalog.origins import ORIGINS, Origin
from nyc_taxi.catalog.services import GREEN
from nyc_taxi.errors import NotATripFile, TaxiError, UnknownColumn, UnknownName
from nyc_taxi.extract.readers import count_rows, open_csv
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.manifest import StagedFile
from nyc_taxi.months import Month
from nyc_taxi.run import run_context
from nyc_taxi.settings import Settings

from ops.synthetic.generate import generate
from tests.nyc_taxi.extract.bad_server import Answer, BadServer

HEADER = "lpep_pickup_datetime,PULocationID,store_and_fwd_flag,trip_distance"
ROWS = ["2020-10-01 08:00:00,41,N,1.25", "2020-10-02 09:30:00,42,,2.5"]
READ = [(datetime(2020, 10, 1, 8), 41, "N", 1.25), (datetime(2020, 10, 2, 9, 30), 42, None, 2.5)]
LINES = [HEADER, *ROWS]


def text_of(lines: list[str], end: str = "\n", delimiter: str = ",") -> str:
    return "".join(line.replace(",", delimiter) + end for line in lines)


def zip_of(members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def read(path: Path, **form: Any) -> list[tuple[Any, ...]]:
    """The rows of a file, the four columns of these tests; none may be malformed."""
    columns, pieces = open_csv(path, GREEN, **form)
    rows: list[tuple[Any, ...]] = []
    for piece in pieces:
        assert piece.malformed == []
        rows += zip(*(piece.table[name].to_pylist() for name in HEADER.split(",")), strict=True)
    assert set(columns.present) == set(HEADER.split(","))
    return rows


def read_text(folder: Path, text: str | bytes, **form: Any) -> list[tuple[Any, ...]]:
    path = folder / "green.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read(path, **form)


def own_origin(url: str, file: str, **form: Any) -> Origin:
    return Origin("own", url, "OWN_BASE_URL", file, {"green": Month(2020, 1)}, **form)


# --- the header


def test_a_quoted_header_is_read_as_quoted_cells_are(tmp_path: Path) -> None:
    quoted = ",".join(f'"{name}"' for name in HEADER.split(","))
    assert read_text(tmp_path, text_of([quoted, *ROWS])) == READ
    everything = [",".join(f'"{cell}"' if cell else "" for cell in line.split(",")) for line in LINES]
    assert read_text(tmp_path, text_of(everything, "\r\n")) == READ


def test_a_quoted_name_may_hold_the_delimiter(tmp_path: Path) -> None:
    service = replace(GREEN, renames={**GREEN.renames, "distance, in miles": "trip_distance"})
    path = tmp_path / "green.csv"
    path.write_text(text_of([HEADER.replace("trip_distance", '"distance, in ""miles"""'), *ROWS]))
    with pytest.raises(UnknownColumn, match="column 'distance, in \"miles\"' is not known"):
        open_csv(path, service)
    path.write_text(text_of([HEADER.replace("trip_distance", '"distance, in miles"'), *ROWS]))
    columns, _ = open_csv(path, service)
    assert columns.canonical[3] == "trip_distance"


@pytest.mark.parametrize("header", [f'"{HEADER}', HEADER.replace("trip_distance", '"trip"_distance')])
def test_quotation_marks_that_do_not_match_are_said(header: str, tmp_path: Path) -> None:
    with pytest.raises(NotATripFile, match="the quotation marks of its header do not match"):
        read_text(tmp_path, text_of([header, *ROWS]))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("declared", [True, False])
def test_the_delimiter_is_declared_or_found_out(delimiter: str, declared: bool, tmp_path: Path) -> None:
    form = {"delimiter": delimiter} if declared else {}
    assert read_text(tmp_path, text_of(LINES, delimiter=delimiter), **form) == READ


def test_a_declared_delimiter_is_not_doubted(tmp_path: Path) -> None:
    with pytest.raises(UnknownColumn, match=r"its first line is no header of green: 'lpep_pickup_date"):
        read_text(tmp_path, text_of(LINES, delimiter=";"), delimiter=",")


@pytest.mark.parametrize("name", ["Unnamed: 0", "", '""', "Unnamed: 0.1", " unnamed: 0 "])
def test_an_index_that_pandas_wrote_is_left_out_and_named(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"{name},{HEADER}", *(f"{number},{row}" for number, row in enumerate(ROWS))]
    assert read_text(tmp_path, text_of(lines)) == READ
    shown = name.strip(' "') or "column 1 without a name"
    assert capsys.readouterr().out == f"green.csv: {shown} left out, as an index that pandas wrote\n"
    assert open_csv(tmp_path / "green.csv", GREEN)[0].dropped == (shown,)


def test_an_index_is_left_out_of_a_file_with_tabs_too(tmp_path: Path) -> None:
    lines = [f",{HEADER}", *(f"{number},{row}" for number, row in enumerate(ROWS))]
    assert read_text(tmp_path, text_of(lines, delimiter="\t")) == READ


def test_a_file_of_an_index_alone_is_no_trip_file(tmp_path: Path) -> None:
    with pytest.raises(UnknownColumn, match="its first line is no header of green: 'Unnamed: 0'"):
        read_text(tmp_path, "Unnamed: 0\n1\n")


# --- lines


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
@pytest.mark.parametrize("before", ["", "\n", " \t\n\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_blank_first_lines_and_a_byte_order_mark(end: str, before: str, mark: str, tmp_path: Path) -> None:
    text = mark + before.replace("\n", end) + text_of(LINES, end)
    assert read_text(tmp_path, text) == READ
    assert read_text(tmp_path, text.removesuffix(end)) == READ
    assert count_rows(tmp_path / "green.csv") == 2


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    assert read_text(tmp_path, text_of([HEADER, ROWS[0], "", "  ", ROWS[1], "", ""])) == READ
    assert count_rows(tmp_path / "green.csv") == 2


def test_a_megabyte_of_blank_lines_before_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nyc_taxi.extract.unpack.BLOCK_BYTES", 1_000)
    assert read_text(tmp_path, "\n" * 100_000 + text_of(LINES)) == READ


def test_text_in_latin_1_is_read_where_the_origin_declares_it(tmp_path: Path) -> None:
    text = text_of([HEADER, "2020-10-01 08:00:00,41,é,1.25"]).encode("latin-1")
    assert read_text(tmp_path, text, encoding="latin-1")[0][2] == "é"
    _, pieces = open_csv(tmp_path / "green.csv", GREEN)
    assert [row.reason for piece in pieces for row in piece.malformed] == ["malformed: store_and_fwd_flag"]


@pytest.mark.parametrize(("what", "value"), [("delimiter", "::"), ("encoding", "utf-16")])
def test_an_unknown_form_is_refused_where_the_origin_is_declared(what: str, value: str) -> None:
    with pytest.raises(UnknownName, match=rf"^origin own: {what} '{value}' is not one of "):
        own_origin("https://x.example", "{month}.csv", **{what: value})


# --- packings, from an origin of one's own to the staged file


def stage(file: str, body: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch, **form: Any) -> StagedFile:
    """Stage green 2020-10 as an origin publishes it that names its files so."""
    with BadServer([Answer(200, body, {"ETag": '"one"'})]) as server:
        monkeypatch.setitem(ORIGINS, "own", own_origin(server.url, file, **form))
        settings = replace(Settings.from_environment({"OWN_BASE_URL": server.url}), staging_dir=folder / "staging")
        run = run_context({"service": "green", "month": "2020-10", "origin": "own"}, settings)
        [staged] = stage_trip_file(run).files
        return staged


PLAIN = text_of(LINES).encode()
WHOLE = {
    "{month.year}/{month.number:02d}-rides.csv.gz": gzip.compress(PLAIN),
    "v1.2-{month}.csv": PLAIN,
    "JC-{month.year}{month.number:02d}.csv.zip": zip_of({"inside/anything.txt": PLAIN}),
    "{month}.zip": zip_of({"rides/": b"", "rides/a.csv": PLAIN, "__MACOSX/rides/._a.csv": b"\0\5\x16\7"}),
}


@pytest.mark.parametrize("file", WHOLE)
def test_every_packing_of_an_origin_of_ones_own_is_staged(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = stage(file, WHOLE[file], tmp_path, monkeypatch)
    table = pq.read_table(staged.path)
    assert list(zip(*(table[name].to_pylist() for name in HEADER.split(",")), strict=True)) == READ
    assert staged.rows_read == 2


def test_delimiter_and_encoding_are_the_origins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = text_of([HEADER, "2020-10-01 08:00:00,41,é,1.25"], delimiter="|").encode("latin-1")
    staged = stage("{month}.csv", body, tmp_path, monkeypatch, delimiter="|", encoding="latin-1")
    assert (staged.rows_read, staged.malformed) == (1, {})


TWO = {"a.csv": PLAIN, "b.csv": PLAIN, "c.csv": PLAIN, "d.csv": PLAIN}
REFUSED: list[tuple[str, bytes, str]] = [
    ("{month}.zip", zip_of(TWO), r"2020-10.zip holds 4 files \(a.csv, b.csv, c.csv and 1 more\): a zip of one CSV"),
    ("{month}.zip", zip_of({}), r"2020-10.zip holds no file: a zip of one CSV file can be read"),
    ("{month}.zip", zip_of({"a.csv": PLAIN})[:-10], r"2020-10.zip is truncated or damaged \(File is not a zip file\)"),
    ("{month}.zip", PLAIN, r"2020-10.zip is no zip file: it starts with bytes \(b'lpep"),
    ("{month}.csv", gzip.compress(PLAIN), r"2020-10.csv is no csv file: it starts with bytes \(b'\\x1f\\x8b"),
    ("{month}.csv", zip_of({"a.csv": PLAIN}), r"2020-10.csv is no csv file: it starts with bytes \(b'PK"),
    ("{month}.csv", b"\r\n <!DOCTYPE html><html>", r"2020-10.csv is no csv file: it starts with an HTML page"),
    ("{month}.csv", b"<?xml version='1.0'?>", r"2020-10.csv is no csv file: it starts with an XML message"),
]


@pytest.mark.parametrize(("file", "body", "message"), REFUSED)
def test_what_is_no_such_file_is_refused_in_one_line(
    file: str, body: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotATripFile, match=message) as refused:
        stage(file, body, tmp_path, monkeypatch)
    assert len(str(refused.value)) <= 300


def test_an_encrypted_zip_is_told_so(tmp_path: Path) -> None:
    body = bytearray(zip_of({"a.csv": PLAIN}))
    for record in (b"PK\3\4", b"PK\1\2"):  # the bit that says so, in both records of the member
        body[body.index(record) + (6 if record == b"PK\3\4" else 8)] |= 1
    (tmp_path / "green.zip").write_bytes(bytes(body))
    with pytest.raises(NotATripFile, match=r"green\.zip is encrypted: publish it without a password"):
        read(tmp_path / "green.zip")


@pytest.mark.parametrize("packing", ["csv", "zip", "csv.gz"])
def test_the_same_rows_in_every_packing(packing: str, tmp_path: Path) -> None:
    made = generate("green", "2020-10", "dtc", 3_000, tmp_path, malformed=6)
    plain = gzip.decompress(made.read_bytes())
    path = tmp_path / f"green.{packing}"
    path.write_bytes({"csv": plain, "zip": zip_of({"a.csv": plain}), "csv.gz": made.read_bytes()}[packing])
    _, pieces = open_csv(path, GREEN)
    found = [(len(piece.table), len(piece.malformed)) for piece in pieces]
    assert [sum(counts) for counts in zip(*found, strict=True)] == [2_994, 6]
    assert count_rows(path) == 3_000


@pytest.mark.parametrize(
    "text",
    [
        "x" * 100_000,
        ",".join(f"column_{number}" for number in range(5_000)),
        "\r".join(["a,b", *["1,2"] * 20_000]),
        "2020-10-01 08:00:00,41,N,1.25\n2020-10-02 08:00:00,41,N,1.25",
        "a\0b,c",
        "\x1b[31mred,b\n1,2",
    ],
)
def test_whatever_the_header_is_the_message_is_one_short_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(TaxiError) as refused:
        read_text(tmp_path, text)
    message = str(refused.value)
    assert len(message) <= 300
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    assert message.endswith(("this is another service's file", "or take away what stands before it"))
