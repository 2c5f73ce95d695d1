"""Rules divide rows without losing any, and the numbers of a run are those of a straightforward computation."""

import gzip
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nyc_taxi.catalog.services import SERVICES
from nyc_taxi.errors import CountsDisagree, NotATripFile, UnknownName
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.manifest import Manifest, StagedFile
from nyc_taxi.settings import Settings
from nyc_taxi.transform.rules import (
    apply_rules,
    count,
    judged,
    rule_named,
    split,
)

from ops.stack.trip_server import TripServer
from ops.synthetic.eras import ERAS
from ops.synthetic.generate import generate
from tests.conftest import run_of, settings_for

BOTH = ["has_passengers", "positive_distance"]
PASSENGERS = st.one_of(st.none(), st.integers(-3, 9))
CENTS = st.one_of(st.none(), st.integers(-5_000, 100_000).map(lambda cents: cents / 100))
ROWS = st.lists(st.tuples(PASSENGERS, CENTS, CENTS), max_size=60)
RULES = st.lists(st.sampled_from(BOTH), unique=True)

Row = tuple[int | None, float | None, float | None]


def batch_of(rows: list[Row]) -> pa.RecordBatch:
    """Passengers, miles and USD in total."""
    passengers, miles, totals = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.record_batch(
        {
            "passenger_count": pa.array(passengers, pa.int64()),
            "trip_distance": pa.array(miles, pa.float64()),
            "total_amount": pa.array(totals, pa.float64()),
        }
    )


class Rows(StagedFile):
    """Yellow rows in memory, in the batches in which they were given."""

    given: list[pa.RecordBatch]

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        return (batch.select(columns) if columns else batch for batch in self.given)


def rows_of(batches: list[pa.RecordBatch], rules: list[str]) -> StagedFile:
    file = Rows("yellow", "2021-01", "dtc", "", "", 0, "", "", "", (), (), 0, {}, tuple(rules))
    object.__setattr__(file, "given", batches)
    return file


def reasons(batch: pa.RecordBatch, rules: list[str]) -> list[str | None] | None:
    [(_, why)] = judged(rows_of([batch], rules))
    return None if why is None else why.to_pylist()


def parts(batch: pa.RecordBatch, rules: list[str]) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    [(rows, why)] = judged(rows_of([batch], rules))
    return split(rows, why)


def plain_reason(row: Row, rules: list[str]) -> str | None:
    """What the rules say of one row, written as plainly as can be."""
    passengers, miles, _ = row
    for rule in rules:
        if rule == "has_passengers" and passengers is None:
            return "passenger_count_missing"
        if rule == "has_passengers" and passengers is not None and passengers <= 0:
            return "no_passengers"
        if rule == "positive_distance" and (miles is None or miles <= 0):
            return "no_distance"
    return None


def test_a_trip_needs_at_least_one_passenger() -> None:
    batch = batch_of([(1, 1.0, 1.0), (0, 1.0, 1.0), (None, 1.0, 1.0), (-1, 1.0, 1.0), (6, 0.0, 1.0)])
    found = reasons(batch, ["has_passengers"])
    assert found == [None, "no_passengers", "passenger_count_missing", "no_passengers", None]


def test_a_trip_needs_a_distance_above_zero() -> None:
    batch = batch_of([(1, 0.01, 1.0), (1, 0.0, 1.0), (1, None, 1.0), (1, -2.5, 1.0), (0, 3.0, 1.0)])
    found = reasons(batch, ["positive_distance"])
    assert found == [None, "no_distance", "no_distance", "no_distance", None]


def test_the_first_failing_rule_names_the_reason() -> None:
    batch = batch_of([(0, 0.0, 1.0), (None, 0.0, 1.0), (1, 0.0, 1.0), (1, 1.0, 1.0)])
    assert reasons(batch, BOTH) == ["no_passengers", "passenger_count_missing", "no_distance", None]
    assert reasons(batch, BOTH[::-1]) == ["no_distance", "no_distance", "no_distance", None]


def test_without_rules_there_are_no_reasons_and_every_row_is_accepted() -> None:
    batch = batch_of([(0, None, 1.0), (None, -1.0, 2.0)])
    assert reasons(batch, []) is None
    accepted, rejected = parts(batch, [])
    assert accepted == batch
    assert len(rejected) == 0
    assert rejected.schema.names == [*batch.schema.names, "reason"]


def test_rejected_rows_keep_their_values_and_gain_the_reason() -> None:
    accepted, rejected = parts(batch_of([(1, 1.0, 10.0), (0, 2.0, 20.0), (None, 3.0, 30.0)]), BOTH)
    assert accepted.to_pylist() == [{"passenger_count": 1, "trip_distance": 1.0, "total_amount": 10.0}]
    assert [tuple(row.values()) for row in rejected.to_pylist()] == [
        (0, 2.0, 20.0, "no_passengers"),
        (None, 3.0, 30.0, "passenger_count_missing"),
    ]


@settings(deadline=None)
@given(ROWS, RULES)
def test_split_says_of_every_row_what_a_plain_reading_of_the_rules_says(rows: list[Row], rules: list[str]) -> None:
    accepted, rejected = parts(batch_of(rows), rules)
    assert [tuple(row.values()) for row in accepted.to_pylist()] == [r for r in rows if plain_reason(r, rules) is None]
    assert [tuple(row.values()) for row in rejected.to_pylist()] == [
        (*row, plain_reason(row, rules)) for row in rows if plain_reason(row, rules)
    ]
    assert rejected.schema.field("reason").type == pa.string()


@settings(deadline=None)
@given(st.lists(ROWS, max_size=4), RULES, RULES)
def test_counts_and_sums_are_those_of_a_plain_computation(
    some: list[list[Row]], rules: list[str], warning: list[str]
) -> None:
    batches = [batch_of(rows) for rows in some]
    file = rows_of(batches, [*(f"{rule}:warn" for rule in warning), *rules])
    outcome = count(file)
    everything = [row for rows in some for row in rows]
    kept = [row for row in everything if plain_reason(row, rules) is None]
    assert outcome.accepted == len(kept)
    assert outcome.rejected == Counter(why for row in everything if (why := plain_reason(row, rules)))
    # A row is told once for each rule that it breaks, and only where it is loaded.
    told = [plain_reason(row, [rule]) for row in kept for rule in warning]
    assert outcome.warned == Counter(why for why in told if why)
    assert outcome.sums["trip_distance"] == pytest.approx(sum(miles or 0 for _, miles, _ in kept), abs=1e-6)
    assert outcome.sums["total_amount"] == pytest.approx(sum(total or 0 for _, _, total in kept), abs=1e-6)
    assert outcome.accepted + outcome.rejected.total() == len(everything)
    halves = [split(rows, why) for rows, why in judged(file)]
    assert outcome.accepted == sum(len(part) for part, _ in halves)
    assert outcome.rejected == Counter(why for _, part in halves for why in part["reason"].to_pylist())


def test_an_unknown_rule_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownName, match=r"rule 'has_fun' is not one of has_passengers, positive_dist"):
        rule_named("has_fun")


@pytest.fixture
def staged(trips: TripServer, tmp_path: Path) -> StagedFile:
    """Yellow 2021-01, 5,000 lines of which 10 are malformed."""
    generate("yellow", "2021-01", "dtc", 5_000, trips.folder, malformed=10)
    offline = settings_for(Settings.from_environment({}).postgres, trips, tmp_path)
    return stage_trip_file(run_of(offline, "yellow", "2021-01", "dtc")).files[0]


def test_every_row_of_a_staged_file_is_accounted_for(staged: StagedFile) -> None:
    [judged] = apply_rules(Manifest((staged,)), BOTH).files
    rows: list[dict[str, Any]] = [row for batch in staged.batches() for row in batch.to_pylist()]
    kept = [row for row in rows if (row["passenger_count"] or 0) > 0 and (row["trip_distance"] or 0) > 0]
    assert (judged.rows_read, len(rows)) == (5_000, 4_990)
    assert judged.rules == tuple(BOTH)
    assert judged.rows_accepted == len(kept)
    assert judged.rows_rejected == 5_000 - len(kept)
    assert judged.rejected["passenger_count_missing"] == sum(row["passenger_count"] is None for row in rows) == 349
    assert judged.rejected["no_passengers"] == sum(row["passenger_count"] == 0 for row in rows)
    assert {name: rows for name, rows in judged.rejected.items() if name.startswith("malformed")} == {
        "malformed: number of fields": 4,
        "malformed: fare_amount": 3,
        "malformed: tpep_pickup_datetime": 3,
    }
    assert judged.sums["trip_distance"] == pytest.approx(sum(row["trip_distance"] for row in kept))
    assert judged.sums["total_amount"] == pytest.approx(sum(row["total_amount"] for row in kept))
    assert judged.rows_accepted + judged.rows_rejected == 5_000


def test_applying_rules_twice_gives_the_same_as_once(staged: StagedFile) -> None:
    once = apply_rules(Manifest((staged,)), BOTH)
    assert apply_rules(once, BOTH) == once
    # Other rules start from the staged rows again, not from what the first left.
    assert apply_rules(once, []).files[0].rows_accepted == 4_990


def test_the_log_tells_how_many_rows_were_set_aside_and_why(
    staged: StagedFile, capsys: pytest.CaptureFixture[str]
) -> None:
    apply_rules(Manifest((staged,)), ["has_passengers"])
    assert "yellow 2021-01: 349 of 5,000 rows rejected: passenger_count_missing\n" in capsys.readouterr().out


def test_a_file_of_which_no_row_passes_is_an_error(trips: TripServer, tmp_path: Path) -> None:
    generate("yellow", "2021-01", "dtc", 100, trips.folder)
    path = trips.folder / "dtc" / "yellow" / "yellow_tripdata_2021-01.csv.gz"
    lines = gzip.decompress(path.read_bytes()).split(b"\r\n")
    emptied = [lines[0], *(b",".join([*line.split(b",")[:3], b"0", *line.split(b",")[4:]]) for line in lines[1:-1])]
    path.write_bytes(gzip.compress(b"\n".join(emptied)))
    offline = settings_for(Settings.from_environment({}).postgres, trips, tmp_path)
    manifest = stage_trip_file(run_of(offline, "yellow", "2021-01", "dtc"))
    url = manifest.files[0].url
    with pytest.raises(NotATripFile) as refused:
        apply_rules(manifest, ["has_passengers"])
    assert str(refused.value) == (f"{url}: no row of 100 passes has_passengers: check the rules; nothing was loaded")
    assert apply_rules(manifest, []).files[0].rows_accepted == 100


@pytest.mark.parametrize(
    ("service", "origin", "gone", "rules", "why"),
    [
        (
            "yellow",
            "tlc",
            "passenger_count",
            ["has_passengers"],
            "which the rule has_passengers needs: set rules to none",
        ),
        ("green", "tlc", "total_amount", [], "whose sum is checked for green: is it another service's file"),
        ("fhvhv", "tlc", "trip_miles", [], "whose sum is checked for fhvhv: is it another service's file"),
        ("fhv", "dtc", "PULocationID", [], "whose sum is checked for fhv: is it another service's file"),
    ],
)
def test_a_file_without_a_column_that_a_rule_or_a_sum_needs_is_refused(
    service: str, origin: str, gone: str, rules: list[str], why: str, staged: StagedFile
) -> None:
    columns = tuple(name for name in SERVICES[service].schema.names if name != gone)
    file = replace(staged, service_name=service, origin=origin, columns=columns)
    with pytest.raises(NotATripFile, match=f"has no column {gone}, {why}"):
        apply_rules(Manifest((file,)), rules)


@pytest.mark.parametrize(
    ("service", "month", "origin"),
    sorted({(s, e.month, o) for o, each in ERAS.items() for s, es in each.items() for e in es}),
)
def test_every_era_has_the_columns_whose_sums_are_checked(
    service: str, month: str, origin: str, trips: TripServer, tmp_path: Path
) -> None:
    """The csv.gz of fhvhv never had miles or fares, and is loaded all the same."""
    generate(service, month, origin, 300, trips.folder)
    offline = settings_for(Settings.from_environment({}).postgres, trips, tmp_path)
    [file] = apply_rules(stage_trip_file(run_of(offline, service, month, origin)), []).files
    missing = set(file.service.measures) & set(file.columns_missing)
    assert missing == (set(file.service.measures) if (service, origin) == ("fhvhv", "dtc") else set())


def test_a_row_that_is_neither_accepted_nor_rejected_is_noticed(staged: StagedFile) -> None:
    with pytest.raises(CountsDisagree, match="yellow 2021-01: 5,001 rows read, but 4,990 accepted and 10 rejected"):
        apply_rules(Manifest((replace(staged, rows_read=5_001),)), [])


def test_a_staged_file_that_is_gone_says_what_to_run(staged: StagedFile) -> None:
    Path(staged.path).unlink()
    with pytest.raises(NotATripFile, match=r"is gone: run load_api_data again"):
        apply_rules(Manifest((staged,)), BOTH)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 10**12), st.dictionaries(st.text(), st.integers(0, 10**9)), st.floats(allow_nan=False))
def test_a_manifest_survives_the_way_through_a_frame(rows: int, rejected: dict[str, int], total: float) -> None:
    file = StagedFile(
        "yellow", "2021-01", "dtc", "http://x/y", '"e"', rows, "ab", "/p", "", ("VendorID",), (), rows, {"bad": 1},
        ("has_passengers",), rows, rejected, {"total_amount": total},
    )  # fmt: skip
    assert Manifest.of_frame(Manifest((file, file)).to_frame()) == Manifest((file, file))
    assert Manifest.of_frame(Manifest(()).to_frame()) == Manifest(())
