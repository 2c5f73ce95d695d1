"""Duplicates and reversals over a whole month: exactly those of a plain reading, however the file is read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from unittest.mock import Mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nyc_taxi import manifest
from nyc_taxi.catalog.services import FHV, SERVICES, YELLOW
from nyc_taxi.manifest import Manifest, StagedFile
from nyc_taxi.transform import twins
from nyc_taxi.transform.rules import accepted, apply_rules, judged

START = datetime(2021, 1, 5, 12)
IDENTITY = YELLOW.identity
FARES = st.sampled_from([None, 0.0, -0.0, 5.0, -5.0, 7.25, -7.25])
TRIPS = st.lists(
    st.tuples(st.sampled_from([1, 2, None]), st.sampled_from([0, 60, None]), st.sampled_from([1.5, -0.0, 0.0]), FARES),
    max_size=40,
)

Trip = tuple[int | None, int | None, float, float | None]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several batches and several parts even of a few rows."""
    monkeypatch.setattr(manifest, "BATCH_ROWS", 7)
    monkeypatch.setattr(twins, "PART", 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each example has a file of its own."""
    return tmp_path_factory.mktemp("staged")


def staged(folder: Path, columns: Mapping[str, Sequence[object]], service: str = "yellow") -> StagedFile:
    """A staged file of these columns, the others missing."""
    schema = SERVICES[service].schema
    rows = len(next(iter(columns.values())))
    table = pa.table(
        [pa.array(columns.get(name, [None] * rows), schema.field(name).type) for name in schema.names], schema=schema
    )
    path = folder / f"{len(list(folder.iterdir()))}.parquet"
    pq.write_table(table, path)
    return StagedFile(service, "2021-01", "tlc", "", "", 0, "", str(path), "", tuple(columns), (), rows, {})


def trips_of(folder: Path, trips: list[Trip]) -> StagedFile:
    """Yellow trips of vendor, seconds of duration, miles and fare."""
    vendors, seconds, miles, fares = map(list, zip(*trips, strict=True)) if trips else ([], [], [], [])
    return staged(
        folder,
        {
            "VendorID": vendors,
            "tpep_pickup_datetime": [START] * len(trips),
            "tpep_dropoff_datetime": [None if s is None else START + timedelta(seconds=s) for s in seconds],
            "trip_distance": miles,
            "fare_amount": fares,
            "passenger_count": list(range(len(trips))),
            "total_amount": fares,
        },
    )


def reasons(file: StagedFile, rule: str) -> list[str | None]:
    return [each for _, why in judged(replace(file, rules=(rule,))) if why is not None for each in why.to_pylist()]


def plain_duplicates(trips: list[Trip]) -> list[str | None]:
    return ["duplicate" if trip in trips[:number] else None for number, trip in enumerate(trips)]


def plain_reversals(trips: list[Trip]) -> list[str | None]:
    """Each negative fare takes back the first positive one that is not taken back yet, wherever in the file."""
    found: list[str | None] = [None] * len(trips)
    for number, (*trip, fare) in enumerate(trips):
        if fare is not None and fare < 0:
            for other, (*same, positive) in enumerate(trips):
                if same == trip and positive == -fare and found[other] is None:
                    found[number], found[other] = "reversal", "reversed"
                    break
    return found


@settings(deadline=None, max_examples=200)
@given(TRIPS)
def test_duplicates_and_reversals_are_those_of_a_plain_reading(folder: Path, trips: list[Trip]) -> None:
    file = trips_of(folder, trips)
    assert reasons(file, "not_a_duplicate") == plain_duplicates(trips)
    assert reasons(file, "no_reversal") == plain_reversals(trips)


@pytest.mark.parametrize(
    ("trips", "found"),
    [
        ([(1, 60, 1.5, -5.0), (1, 60, 1.5, 5.0)], ["reversal", "reversed"]),
        ([(1, 60, 1.5, 5.0), (1, 60, 1.5, 5.0), (1, 60, 1.5, -5.0)], ["reversed", None, "reversal"]),
        ([(1, 60, 1.5, 5.0), (1, 60, 1.5, -5.01), (2, 60, 1.5, -5.0)], [None, None, None]),
        ([(1, 60, 1.5, 0.0), (1, 60, 1.5, -0.0), (1, 60, 1.5, None)], [None, None, None]),
    ],
)
def test_a_negative_fare_takes_one_positive_twin_with_it(
    folder: Path, trips: list[Trip], found: list[str | None]
) -> None:
    assert reasons(trips_of(folder, trips), "no_reversal") == found


def test_what_is_missing_is_no_zero_and_equals_what_is_missing(folder: Path) -> None:
    trips: list[Trip] = [(None, None, 0.0, None), (0, None, 0.0, None), (None, None, -0.0, None), (None, 0, 0.0, None)]
    assert reasons(trips_of(folder, trips), "not_a_duplicate") == [None, None, "duplicate", None]


def test_columns_that_do_not_identify_a_trip_may_differ_and_missing_ones_are_left_out(folder: Path) -> None:
    file = trips_of(folder, [(1, 60, 1.5, 5.0)] * 3)
    assert len(set(file.columns) - set(IDENTITY)) == 2
    assert len(set(IDENTITY) - set(file.columns)) == 2
    assert reasons(file, "not_a_duplicate") == [None, "duplicate", "duplicate"]


def test_where_no_column_identifies_a_row_it_is_all_of_them_text_too(folder: Path) -> None:
    assert FHV.identity == ()
    bases = ["B1", "B2", None, "B1", "", "B1", None, "é", "é"]
    file = staged(
        folder,
        {"dispatching_base_num": bases, "pickup_datetime": [START] * 9, "PULocationID": [1, 1, 1, 1, 1, 2, 1, 1, 1]},
        "fhv",
    )
    wanted = [None, None, None, "duplicate", None, None, "duplicate", None, "duplicate"]
    assert reasons(file, "not_a_duplicate") == wanted


def test_parts_and_batches_change_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trips: list[Trip] = [(number % 3, 60, float(number % 11), 5.0 - 10 * (number % 2)) for number in range(500)]
    found = []
    for batch_rows, part in ((7, 5), (16_384, 4 << 20), (100, 333)):
        monkeypatch.setattr(manifest, "BATCH_ROWS", batch_rows)
        monkeypatch.setattr(twins, "PART", part)
        file = trips_of(folder, trips)
        found.append((reasons(file, "not_a_duplicate"), reasons(file, "no_reversal")))
    assert found[0] == found[1] == found[2]
    assert Counter(found[0][0]) == {None: 66, "duplicate": 434}


def test_counting_and_loading_see_the_same_rows_and_ask_the_file_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = Mock(side_effect=twins._wanted)
    monkeypatch.setattr(twins, "_wanted", passes)
    trips: list[Trip] = [(1, 60, 1.5, 5.0), (1, 60, 1.5, 5.0), (2, 60, 1.5, 5.0), (2, 60, 1.5, -5.0)]
    [file] = apply_rules(Manifest((trips_of(folder, trips),)), ["not_a_duplicate", "no_reversal:warn"]).files
    assert (file.rows_accepted, file.rejected, file.warned) == (3, {"duplicate": 1}, {"reversed": 1, "reversal": 1})
    assert sum(map(len, accepted(file))) == sum(map(len, accepted(file))) == 3
    assert passes.call_count == 2


def test_another_file_at_the_same_place_is_judged_anew(folder: Path) -> None:
    file = trips_of(folder, [(1, 60, 1.5, 5.0), (1, 60, 1.5, 5.0)])
    assert reasons(file, "not_a_duplicate") == [None, "duplicate"]
    other = trips_of(folder, [(1, 60, 1.5, 5.0), (1, 60, 1.5, 6.0), (1, 60, 1.5, 6.0)])
    Path(other.path).replace(file.path)
    assert reasons(file, "not_a_duplicate") == [None, None, "duplicate"]


def test_rows_of_close_values_have_hashes_of_their_own() -> None:
    numbers = pa.array(range(1_000_000))
    columns = [numbers, pa.array([0.5] * len(numbers)), pa.nulls(len(numbers), pa.int64())]
    for seed in twins.SEEDS:
        assert len(set(twins._hash(columns, seed).tolist())) == len(numbers)
        # Half of the bits are set, each in half of the rows.
        ones = [(twins._hash([numbers], seed) >> bit & 1).mean() for bit in range(64)]
        assert max(abs(share - 0.5) for share in ones) < 0.005
