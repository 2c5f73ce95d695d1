"""The city's real files, where they are at hand: row counts that others published too, and every slice conforms."""

import csv
import gzip
from collections import Counter
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.settings import Settings
from nyc_taxi.transform.rules import accepted as accepted_rows
from nyc_taxi.transform.rules import apply_rules

from ops.stack.trip_server import TripServer
from tests.conftest import REAL_FILES, run_of, settings_for

RULES = ["has_passengers", "positive_distance"]
FILES = [
    *sorted(REAL_FILES.glob("dtc/*/*.csv.gz")),
    *sorted(REAL_FILES.glob("trip-data/*.parquet")),
]


@pytest.fixture
def offline(real_trips: TripServer, tmp_path: Path) -> Settings:
    """Settings for the real files that need no database."""
    return settings_for(Settings.from_environment({}).postgres, real_trips, tmp_path)


@pytest.mark.parametrize(
    ("month", "rows", "accepted"),
    [("2020-10", 95_120, 49_269), ("2020-11", 88_605, 45_870), ("2020-12", 83_130, 44_231)],
)
def test_green_of_late_2020_has_the_rows_that_the_course_counts(
    month: str, rows: int, accepted: int, offline: Settings
) -> None:
    staged = stage_trip_file(run_of(offline, "green", month, "dtc"))
    [judged] = apply_rules(staged, RULES).files
    assert (judged.rows_read, judged.rows_staged, judged.rows_accepted) == (rows, rows, accepted)
    assert (judged.malformed, judged.rows_rejected) == ({}, rows - accepted)
    vendors = Counter[int]()
    for kept in accepted_rows(judged):
        vendors.update(kept["VendorID"].to_pylist())
    assert set(vendors) == {1, 2}
    assert vendors.total() == accepted


def plain_rows(path: Path) -> int:
    if path.suffix == ".parquet":
        return int(pq.read_metadata(path).num_rows)
    with gzip.open(path, "rb") as file:
        return sum(1 for _ in file) - 1


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_every_real_file_conforms(path: Path, offline: Settings) -> None:
    service, _, rest = path.name.partition("_tripdata_")
    month, _, suffix = rest.partition(".")
    run = run_of(offline, service, month, "dtc" if suffix == "csv.gz" else "tlc")
    [file] = stage_trip_file(run).files
    assert (file.malformed, file.columns_dropped) == ({}, ())
    assert file.rows_read == file.rows_staged == plain_rows(path)
    assert pq.read_schema(file.path).equals(run.service.schema)
    if service == "green":  # whole files; some of the slices hold rows of another month
        pickups = pq.read_table(file.path, columns=[run.service.pickup])[run.service.pickup]
        start, end = run.month.bounds()
        inside = pc.sum(pc.and_(pc.greater_equal(pickups, start), pc.less(pickups, end))).as_py()
        assert 2 <= file.rows_read - inside <= 43


@pytest.mark.skipif(not FILES, reason="the city's real files are not beside this checkout")
def test_the_real_files_are_of_all_services_and_both_origins() -> None:
    assert {path.name.split("_")[0] for path in FILES} == {"yellow", "green", "fhv", "fhvhv"}
    assert {path.suffix for path in FILES} == {".gz", ".parquet"}


def test_yellow_of_2021_is_judged_as_a_plain_reading_of_its_csv_judges(offline: Settings) -> None:
    with gzip.open(REAL_FILES / "dtc" / "yellow" / "yellow_tripdata_2021-01.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    missing = sum(row["passenger_count"] == "" for row in rows)
    nobody = sum(row["passenger_count"] == "0" for row in rows)
    kept = [row for row in rows if row["passenger_count"] not in ("", "0")]
    [judged] = apply_rules(stage_trip_file(run_of(offline, "yellow", "2021-01", "dtc")), ["has_passengers"]).files
    assert (len(rows), judged.rows_read) == (22_792, 22_792)
    assert judged.rows_accepted == len(kept) > 10_000
    expected = {"passenger_count_missing": missing, "no_passengers": nobody}
    assert nobody == 489
    assert judged.rejected == {reason: count for reason, count in expected.items() if count}
    assert judged.sums["trip_distance"] == pytest.approx(sum(float(row["trip_distance"]) for row in kept))
    assert judged.sums["total_amount"] == pytest.approx(sum(float(row["total_amount"]) for row in kept))
