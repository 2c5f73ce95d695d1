"""A manifest's trips as a DataFrame: the rows and columns that the file has, as many as were allowed."""

from dataclasses import replace
from datetime import datetime

import pandas as pd
import pytest
from nyc_taxi.course import frames
from nyc_taxi.course.frames import trips_frame
from nyc_taxi.errors import NotATripFile, TooManyRows, UnknownName
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.load.bucket.month import find_month, replace_month
from nyc_taxi.manifest import Manifest
from nyc_taxi.settings import GoogleSettings, Settings
from nyc_taxi.transform.rules import apply_rules

from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.conftest import run_of

ROWS, MALFORMED = 2_000, 3


@pytest.fixture
def staged(settings: Settings, trips: TripServer) -> Manifest:
    """A month that is staged and not judged yet."""
    generate("yellow", "2021-01", "dtc", ROWS, trips.folder, malformed=MALFORMED)
    return stage_trip_file(run_of(settings, "yellow", "2021-01", "dtc"))


def test_the_accepted_rows_are_those_of_the_rules_and_all_are_all(staged: Manifest) -> None:
    judged = apply_rules(staged, ("has_passengers",))
    [file] = judged.files
    accepted, every = trips_frame(judged), trips_frame(judged, "all")
    assert len(accepted) == file.rows_accepted < len(every) == ROWS - MALFORMED
    assert accepted["passenger_count"].min() > 0
    assert {name: accepted[name].sum() for name in file.sums} == pytest.approx(dict(file.sums))
    pd.testing.assert_frame_equal(trips_frame(staged), every)  # nobody has judged it


def test_columns_are_the_files_and_types_those_of_the_course(staged: Manifest) -> None:
    frame = trips_frame(staged)
    assert set(frame.columns) == set(staged.files[0].columns)
    assert "cbd_congestion_fee" not in frame.columns
    kinds = {name: str(kind) for name, kind in frame.dtypes.items()}
    assert {kinds[name] for name in ("VendorID", "passenger_count", "RatecodeID", "PULocationID")} == {"Int64"}
    assert {kinds[name] for name in ("trip_distance", "total_amount")} == {"float64"}
    assert frame["passenger_count"].isna().any()
    assert frame["tpep_pickup_datetime"].max() > datetime(2021, 1, 31)


def test_more_rows_than_allowed_are_refused_in_one_line_before_any_is_read(staged: Manifest) -> None:
    gone = Manifest((replace(staged.files[0], path="gs://nowhere/at-all.parquet", rows_accepted=2_821_515),))
    with pytest.raises(TooManyRows) as refused:
        trips_frame(gone)
    assert str(refused.value) == (
        "yellow 2021-01: 2,821,515 rows are more than the 1,500,000 that a DataFrame may have: take a smaller month "
        "(variable month) or raise the variable row_limit, with 1.2 GB of memory a million rows"
    )
    with pytest.raises(TooManyRows, match=r"^yellow 2021-01, .*, yellow 2021-01 and 6 more: 17,973 rows"):
        trips_frame(Manifest(staged.files * 9), limit="17_000")
    assert len(trips_frame(Manifest(staged.files * 2), limit="4,000")) == 2 * (ROWS - MALFORMED)


@pytest.mark.parametrize(
    ("rows", "limit", "said"),
    [
        ("both", frames.LIMIT, "rows 'both' is not one of accepted, all"),
        ("all", "many", "row_limit 'many' is not a number of rows such as 1500000"),
    ],
)
def test_what_cannot_be_is_refused(rows: str, limit: object, said: str, staged: Manifest) -> None:
    with pytest.raises(UnknownName, match=said):
        trips_frame(staged, rows, limit)


def test_a_staged_file_that_is_gone_is_named(staged: Manifest) -> None:
    with pytest.raises(NotATripFile, match="is gone: run load_api_data again"):
        trips_frame(Manifest((replace(staged.files[0], path="/nowhere/at/all.parquet"),)))


def test_no_file_is_an_empty_frame() -> None:
    assert trips_frame(Manifest(())).empty


def test_a_month_in_the_lake_is_the_same(
    staged: Manifest, google: GoogleSettings, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = apply_rules(staged, ("has_passengers",))
    [file] = judged.files
    replace_month(file, google)
    monkeypatch.setattr(Settings, "from_environment", lambda: replace(settings, google=google))
    found = Manifest((find_month(file.service, file.month, google),))
    pd.testing.assert_frame_equal(trips_frame(found), trips_frame(judged))
