"""Whatever a file holds is read as plain Python reads it, set aside with a reason, or refused in one line."""

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, seed, settings
from nyc_taxi.catalog.services import GREEN, Service
from nyc_taxi.errors import NotATripFile
from nyc_taxi.extract.conform import Malformed
from nyc_taxi.extract.readers import open_csv, open_parquet

from tests.nyc_taxi.odd_files import NAMES, REJECTED, UNKNOWN, OddParquet, odd_csvs, odd_parquets, write_csv

SHORT = settings(max_examples=150, derandomize=True, deadline=None)
LONG = settings(max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
LONG_SECONDS = 200

Read = tuple[pa.Table, list[Malformed], int]


def read(path: Path, service: Service) -> Read | str:
    """The rows, what is malformed and how many are blank; or the message of the refusal, one short line."""
    try:
        _, pieces = (open_csv if path.name.endswith("csv.gz") else open_parquet)(path, service)
        conformed = list(pieces)
    except NotATripFile as error:
        return str(error)
    table = pa.concat_tables([service.schema.empty_table(), *(piece.table for piece in conformed)])
    malformed = [row for piece in conformed for row in piece.malformed]
    known = {"NUL character", "number of fields", *service.schema.names}
    for row in malformed:
        assert row.reason.removeprefix("malformed: ") in known
        assert "\0" not in row.text
        row.text.encode()
    return table, malformed, sum(piece.blank for piece in conformed)


def same(value: object, meant: object) -> bool:
    return value == meant or (isinstance(meant, float) and value == pytest.approx(meant, rel=1e-15))


def check_parquet(folder: Path, odd: OddParquet) -> None:
    path = odd.write(folder)
    found = read(path, odd.service)
    if odd.refused:
        assert isinstance(found, str)
        assert (len(found.splitlines()), len(found) <= 300) == (1, True)
        assert any(f"column {name} of type" in found for name in odd.refused)
        return
    assert not isinstance(found, str), found
    table, malformed, blank = found
    set_aside = {row.row for row in malformed}
    read_rows = iter(table.select(list(odd.columns)).to_pylist())
    blanks = 0
    for number, meant in enumerate(odd.meanings, 1):
        if number in set_aside:
            assert REJECTED in meant or UNKNOWN in meant
        elif set(meant) == {None}:
            blanks += 1
        else:
            assert REJECTED not in meant
            row = next(read_rows)
            assert all(
                same(row[name], value) for name, value in zip(odd.columns, meant, strict=True) if value is not UNKNOWN
            )
    assert next(read_rows, None) is None
    assert (blank, len(set_aside)) == (blanks, len(malformed))
    assert all(json.loads(row.text).keys() == odd.columns.keys() for row in malformed)


def check_csv(folder: Path, content: bytes) -> None:
    """A line without quotation marks is what a row of the same words in a Parquet file is."""
    found = read(write_csv(content, folder), GREEN)
    assert not isinstance(found, str), found
    table, malformed, blank = found
    lines = [line.removesuffix(b"\r") for line in content.split(b"\n")[1:]]
    counted = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    assert len(table) + len(malformed) + blank == len(counted)
    assert [row.row for row in malformed] == sorted({row.row for row in malformed} & {number for number, _ in counted})
    if b'"' in content or b"\r" in content.replace(b"\r\n", b""):
        return
    broken = [number for number, line in counted if line.count(b",") != len(NAMES) - 1]
    sound = [(number, line.split(b",")) for number, line in counted if number not in broken]
    path = folder / "green_tripdata_2020-10.parquet"
    words = {name: pa.array([fields[place] for _, fields in sound], pa.binary()) for place, name in enumerate(NAMES)}
    pq.write_table(pa.table(words), path)
    also = read(path, GREEN)
    assert not isinstance(also, str), also
    assert also[0].equals(table)
    assert also[2] == blank
    rejected = {sound[row.row - 1][0]: row.reason for row in also[1]}
    reasons = {row.row: row.reason for row in malformed}
    assert set(reasons) == {*broken, *rejected}
    assert all(reasons[number] == reason for number, reason in rejected.items() if b"\0" not in lines[number - 1])


@SHORT
@given(odd_parquets())
def test_a_parquet_file_is_read_as_python_reads_it(tmp_path_factory: pytest.TempPathFactory, odd: OddParquet) -> None:
    check_parquet(tmp_path_factory.mktemp("odd"), odd)


@SHORT
@given(odd_csvs())
def test_a_csv_file_is_read_as_the_same_words_in_parquet(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    check_csv(tmp_path_factory.mktemp("odd"), content)


@pytest.mark.fuzz
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("check", "files"), [(check_parquet, odd_parquets()), (check_csv, odd_csvs())], ids=["parquet", "csv"]
)
def test_for_minutes(check: Callable[[Path, Any], None], files: Any, tmp_path: Path) -> None:
    """New files at every run; a finding is printed with the call that makes it again."""
    until = time.monotonic() + LONG_SECONDS
    for number in itertools.count(time.time_ns()):
        seed(number)(LONG(given(odd=files)(lambda odd: check(tmp_path, odd))))()
        if time.monotonic() > until:
            break
