"""A month's page: every number is the one that pandas finds; it is whole and needs nothing else, or is not there."""

import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nyc_taxi.catalog.services import SERVICES
from nyc_taxi.errors import CountsDisagree, StorageFull, UnknownName
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.extract.zones import taxi_zones, zone_list_url
from nyc_taxi.manifest import Manifest, StagedFile
from nyc_taxi.report.numbers import count_month
from nyc_taxi.report.page import PAGE, check_reports, write_report, write_reports
from nyc_taxi.settings import Settings
from nyc_taxi.transform.rules import apply_rules

from ops.stack.trip_server import TripServer
from ops.synthetic.generate import trip_path
from tests.conftest import REAL_FILES, run_of, settings_for
from tests.nyc_taxi.load.loading import judged, miscounted
from tests.nyc_taxi.report.report_page import ReportPage

SYNTHETIC = [
    ("yellow", "2021-01", "dtc"),
    ("green", "2020-02", "tlc"),
    ("fhv", "2021-05", "dtc"),
    ("fhvhv", "2025-01", "tlc"),
]
PAID_FHVHV = [
    "base_passenger_fare",
    "tolls",
    "bcf",
    "sales_tax",
    "congestion_surcharge",
    "airport_fee",
    "tips",
    "cbd_congestion_fee",
]


@pytest.fixture
def offline(trips: TripServer, tmp_path: Path) -> Settings:
    """Settings that need no database."""
    return reporting(settings_for(Settings.from_environment({}).postgres, trips, tmp_path), tmp_path)


def reporting(settings: Settings, folder: Path) -> Settings:
    return replace(settings, reports_dir=folder / "reports")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures without a picture: drawing takes two seconds a page, and only some tests look at them."""
    monkeypatch.setattr("nyc_taxi.report.charts.png", lambda figure: b"not drawn")


def page_of(file: StagedFile, settings: Settings) -> ReportPage:
    [row] = write_reports(Manifest((file,)), settings).to_dict("records")
    return ReportPage(Path(row["path"]))


def published(path: Path) -> pd.DataFrame:
    """The trip file as pandas reads it, its columns in lower case; a flag of one blank is none."""
    frame = pd.read_csv(path, low_memory=False) if path.name.endswith(".gz") else pd.read_parquet(path)
    return frame.rename(columns=str.lower).replace(" ", None)


def pickups_of(trips: pd.DataFrame) -> pd.Series:
    [name] = [name for name in trips.columns if name.endswith("pickup_datetime")]
    return pd.to_datetime(trips[name])


# --- The real file


@pytest.fixture
def october(real_trips: TripServer, tmp_path: Path) -> tuple[StagedFile, Settings]:
    settings = reporting(settings_for(Settings.from_environment({}).postgres, real_trips, tmp_path), tmp_path)
    run = run_of(settings, "green", "2020-10", "dtc")
    [file] = apply_rules(stage_trip_file(run), run.rules).files
    return file, settings


def test_the_page_of_green_in_october_2020_tells_its_numbers(october: tuple[StagedFile, Settings]) -> None:
    page = page_of(*october)
    assert page.headings[0] == "Green taxi trips, October 2020"
    assert page.marked == {"rows_read": 95_120, "rows_accepted": 52_351, "rows_rejected": 42_769}
    assert page.tables["outcome"][1:] == [
        ["read", "95,120", "100.0%"],
        ["accepted by has_passengers", "52,351", "55.0%"],
        ["rejected: passenger_count_missing", "42,510", "44.7%"],
        ["rejected: no_passengers", "259", "0.3%"],
    ]
    assert page.tables["pickups"][1] == ["East Harlem North", "Manhattan", "74", "8,029"]
    assert page.tables["odd"][1:] == [
        ["a pickup outside the month", "9", "< 0.1%"],
        ["a negative fare", "189", "0.2%"],
        ["a fare of zero", "413", "0.4%"],
        ["a negative distance", "0", "0.0%"],
        ["a distance of zero", "3,658", "3.8%"],
    ]


@pytest.mark.usefixtures("undrawn")
def test_the_page_of_october_2020_agrees_with_pandas(october: tuple[StagedFile, Settings]) -> None:
    page = page_of(*october)
    everything = published(REAL_FILES / "dtc/green/green_tripdata_2020-10.csv.gz")
    trips = everything[everything["passenger_count"] > 0]
    pickup = pickups_of(trips)
    inside = trips[(pickup >= "2020-10-01") & (pickup < "2020-11-01")]
    by_day = inside.groupby(pickups_of(inside).dt.day)
    assert page.column("days", 1) == by_day.size().tolist()
    assert page.column("days", 2) == pytest.approx(by_day["total_amount"].sum().tolist(), abs=0.006)
    assert sum(page.column("days", 1)) == len(inside) == 52_342
    for table, column in (("pickups", "pulocationid"), ("drop-offs", "dolocationid")):
        counted = trips[column].value_counts()
        told = {int(row[2]): int(row[3].replace(",", "")) for row in page.tables[table][1:]}
        assert told == {zone: counted[zone] for zone in told}
        assert sorted(told.values()) == sorted(counted.nlargest(15))
    assert (
        page.column("missing", 1)
        == everything.isna().sum()[[row[0].lower() for row in page.tables["missing"][1:]]].tolist()
    )
    assert {row[0].split()[0]: float(row[1].replace(",", "")) for row in page.tables["amounts"][1:-1]} == pytest.approx(
        {name: trips[name].sum() for name in ("fare_amount", "extra", "mta_tax", "tip_amount", "tolls_amount",
                                              "improvement_surcharge", "congestion_surcharge")}, abs=0.006
    )  # fmt: skip
    assert page.tables["amounts"][-1] == ["Paid by passengers total_amount", "894,212.17", "17.08"]


# --- Synthetic files, every service


@pytest.mark.parametrize(("service", "month", "origin"), SYNTHETIC)
def test_every_number_is_the_one_that_pandas_finds(
    service: str, month: str, origin: str, trips: TripServer, offline: Settings
) -> None:
    file = judged(offline, trips, service, month, origin, 20_000)
    numbers = count_month(file)
    everything = published(trip_path(service, month, origin, trips.folder))
    rides = everything[everything["passenger_count"] > 0] if "has_passengers" in file.rules else everything
    pickup = pickups_of(rides)
    start, end = file.month.bounds()
    inside = rides[(pickup >= start) & (pickup < end)]
    when = pickups_of(inside)

    days = when.dt.day.value_counts().reindex(range(1, len(numbers.calendar.trips) + 1), fill_value=0)
    assert numbers.calendar.trips.tolist() == days.tolist()
    week = pd.crosstab(when.dt.weekday, when.dt.hour).reindex(index=range(7), columns=range(24), fill_value=0)
    assert numbers.calendar.week.tolist() == week.to_numpy().tolist()
    assert numbers.calendar.outside == len(rides) - len(inside)
    assert numbers.calendar.without_pickup == 0
    assert dict(numbers.pickups.most()) == rides["pulocationid"].value_counts().to_dict()
    assert dict(numbers.dropoffs.most()) == rides["dolocationid"].value_counts().to_dict()
    assert (numbers.pickups.counts[None], numbers.dropoffs.counts[None]) == (
        rides["pulocationid"].isna().sum(),
        rides["dolocationid"].isna().sum(),
    )
    totals = {name.lower(): amount for name, amount in numbers.money.totals.items()}
    here = [name for name in totals if name in rides]
    assert {name: totals[name] for name in here} == pytest.approx({name: rides[name].sum() for name in here})
    lower = {name.lower(): nulls for name, nulls in numbers.quality.nulls.items()}
    assert {name: lower[name] for name in lower if name in everything} == {
        name: everything[name].isna().sum() for name in lower if name in everything
    }
    assert numbers.quality.rows == 20_000


@pytest.mark.parametrize(
    ("service", "month", "distance", "fare", "paid"),
    [
        ("yellow", "2022-01", "trip_distance", "fare_amount", ["total_amount"]),
        ("fhvhv", "2025-01", "trip_miles", "base_passenger_fare", PAID_FHVHV),
    ],
)
def test_lengths_fares_and_what_was_paid_are_those_that_pandas_finds(
    service: str, month: str, distance: str, fare: str, paid: list[str], trips: TripServer, offline: Settings
) -> None:
    file = judged(offline, trips, service, month, "tlc", 20_000)
    numbers = count_month(file)
    everything = published(trip_path(service, month, "tlc", trips.folder))
    rides = everything[everything["passenger_count"] > 0] if service == "yellow" else everything
    assert numbers.distances is not None
    assert numbers.fares is not None
    for found, column, width, top in ((numbers.distances, distance, 0.5, 20), (numbers.fares, fare, 2.5, 100)):
        values = rides[column].dropna()
        edges = np.append(np.arange(0, top, width), top)
        counts, _ = np.histogram(values[values < top], edges)
        assert found.counts.tolist() == counts.tolist()
        assert (found.below, found.beyond) == ((values < 0).sum(), (values >= top).sum())
        assert (values < found.half).mean() >= 0.5 > (values < (found.half or 0) - width).mean()
    assert numbers.paid == pytest.approx(rides[paid].sum().sum())
    pickup = pickups_of(rides)
    start, end = file.month.bounds()
    inside = rides[(pickup >= start) & (pickup < end)]
    by_day = inside[paid].sum(axis=1).groupby(pickups_of(inside).dt.day).sum()
    assert numbers.calendar.paid == pytest.approx(by_day.to_numpy())
    for kind, values in (("fare", everything[fare]), ("distance", everything[distance])):
        assert numbers.quality.negative[kind] == (values < 0).sum()
        assert numbers.quality.zero[kind] == (values == 0).sum()


def test_ways_of_payment_are_told_in_words(trips: TripServer, offline: Settings) -> None:
    file = judged(offline, trips, "yellow", "2022-01", "tlc", 20_000)
    rides = published(trip_path("yellow", "2022-01", "tlc", trips.folder)).query("passenger_count > 0")
    words = {0: "flex", 1: "card", 2: "cash", 3: "no charge", 4: "dispute", 5: "unknown"}
    counted = {words[int(str(code))]: rows for code, rows in rides["payment_type"].value_counts().items()}
    assert dict(count_month(file).ways_of_payment) == counted
    assert "card" in counted


def test_payments_that_nobody_recorded_are_told_too(trips: TripServer, offline: Settings) -> None:
    file = judged(offline, trips, "green", "2020-10", "dtc", 5_000)
    run = run_of(offline, "green", "2020-10", "dtc", "none")
    [file] = apply_rules(stage_trip_file(run), run.rules).files
    missing = published(trip_path("green", "2020-10", "dtc", trips.folder))["payment_type"].isna().sum()
    assert count_month(file).ways_of_payment[-1] == ("not recorded", missing)
    assert missing > 0


@pytest.mark.usefixtures("undrawn")
def test_fhv_has_no_money_and_no_distance_on_its_page(trips: TripServer, offline: Settings) -> None:
    page = page_of(judged(offline, trips, "fhv", "2021-05", "dtc", 3_000), offline)
    assert page.headings == [
        "For-hire vehicle trips, May 2021",
        "When",
        "Where",
        "Where the rows went",
        "How good the data are",
    ]
    assert sorted(path.stem for path in (offline.reports_dir / "fhv/2021-05").glob("*.png")) == [
        "dropoff_zones",
        "pickup_zones",
        "rows",
        "trips_by_hour",
        "trips_per_day",
    ]
    assert "USD" not in page.text.replace("amounts USD", "")
    assert [row[0] for row in page.tables["odd"][1:]] == ["a pickup outside the month"]


def test_a_service_without_taxi_zones_is_refused_by_name(
    trips: TripServer, offline: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SERVICES, "bikes", replace(SERVICES["fhv"], name="bikes"))
    file = replace(judged(offline, trips, "fhv", "2021-05", "dtc", 30), service_name="bikes")
    with pytest.raises(UnknownName, match="'bikes' is not one of yellow, green, fhv, fhvhv"):
        write_reports(Manifest((file,)), offline)


@pytest.mark.usefixtures("undrawn")
def test_what_is_accepted_with_a_warning_is_told_below_what_is_accepted(trips: TripServer, offline: Settings) -> None:
    file = judged(offline, trips, "yellow", "2021-01", "dtc", 2_000)
    [file] = apply_rules(Manifest((file,)), ["plausible_fare:max_usd=20", "plausible_speed:warn:max_mph=10"]).files
    page = page_of(file, offline)
    [_, accepted, warned, *rejected] = [row[:2] for row in page.tables["outcome"][1:]]
    assert accepted[0] == "accepted by plausible_fare:min_usd=0:max_usd=20, plausible_speed:warn:max_mph=10"
    assert warned == ["of them with a warning: too_fast", f"{file.warned['too_fast']:,}"]
    assert file.warned["too_fast"] > 0
    assert [row[0] for row in rejected] == ["rejected: fare_too_high", "rejected: fare_too_low"]


@pytest.mark.usefixtures("undrawn")
def test_malformed_rows_are_among_those_set_aside(trips: TripServer, offline: Settings) -> None:
    page = page_of(judged(offline, trips, "yellow", "2021-01", "dtc", 5_000, malformed=12), offline)
    assert page.marked["rows_read"] == 5_000
    reasons = {row[0]: int(row[1].replace(",", "")) for row in page.tables["outcome"][3:]}
    assert sum(rows for reason, rows in reasons.items() if "malformed" in reason) == 12
    assert sum(reasons.values()) == page.marked["rows_rejected"] == 5_000 - page.marked["rows_accepted"]
    assert "Besides, 12 rows could not be parsed." in page.text


# --- The page


def test_the_page_asks_for_nothing_and_runs_nothing(trips: TripServer, offline: Settings) -> None:
    page = page_of(judged(offline, trips, "yellow", "2021-01", "dtc", 3_000), offline)
    [other] = [address for address in page.addresses if not address.startswith("data:")]
    assert (offline.reports_dir / "yellow" / "2021-01" / other).resolve() == offline.reports_dir / "coverage.html"
    assert "Postgres is left out" in (offline.reports_dir / "coverage.html").read_text()
    assert not any(sign in page.text.lower() for sign in ("<script", "@import", "url(", "<iframe", "onload="))
    assert len(page.pictures) == 9
    assert all(address.startswith("data:image/png;base64,") for address in page.pictures)
    assert all(len(alt) > 20 and alt.endswith(".") for alt in page.pictures.values())


def test_the_pictures_lie_beside_the_page_sharp_and_small(trips: TripServer, offline: Settings) -> None:
    page_of(judged(offline, trips, "green", "2021-01", "tlc", 3_000), offline)
    folder = offline.reports_dir / "green" / "2021-01"
    widths = {}
    for path in folder.glob("*.png"):
        content = path.read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        assert len(content) < 200_000
        widths[path.stem] = struct.unpack(">I", content[16:20])[0]
    assert {name for name, width in widths.items() if width == 1920} == {
        "trips_per_day", "trips_by_hour", "paid_per_day", "rows"
    }  # fmt: skip
    assert set(widths.values()) == {1920, 940}


def test_the_same_trips_give_the_same_bytes(trips: TripServer, offline: Settings) -> None:
    file = judged(offline, trips, "yellow", "2021-01", "dtc", 3_000)
    first = page_of(file, offline).text
    assert page_of(file, offline).text == first


@pytest.mark.usefixtures("undrawn")
def test_what_an_origin_says_cannot_become_part_of_the_page(trips: TripServer, offline: Settings) -> None:
    file = judged(offline, trips, "yellow", "2021-01", "dtc", 1_000)
    hostile = replace(
        file, url='http://x/"><script>alert(1)</script>', etag="<b>", rejected={"<i>": file.rows_rejected}
    )
    page = page_of(hostile, offline)
    assert not any(tag in page.text for tag in ("<script>", "<b>", "<i>"))
    assert "rejected: <i>" in [row[0] for row in page.tables["outcome"]]


def test_a_file_without_a_trip_of_its_month_has_a_page_too(trips: TripServer, offline: Settings) -> None:
    file = replace(judged(offline, trips, "green", "2021-01", "tlc", 1_000), month_text="2021-06")
    page = page_of(file, offline)
    assert "No trip of this file was picked up in the month" in page.text
    assert sum(page.column("days", 1)) == 0
    assert page.tables["odd"][1] == ["a pickup outside the month", "1,000", "100.0%"]


@pytest.mark.usefixtures("undrawn")
def test_a_zone_that_the_list_does_not_have_is_told_as_such(trips: TripServer, offline: Settings) -> None:
    file = judged(offline, trips, "green", "2021-01", "tlc", 1_000)
    [(busiest, times), *_] = count_month(file).pickups.most()
    zones = taxi_zones(offline)
    del zones[busiest]
    report = write_report(file, zones, zone_list_url(offline), offline.reports_dir)
    assert ReportPage(Path(report.path)).tables["pickups"][1] == [
        f"zone {busiest}, not listed", "", str(busiest), f"{times:,}"
    ]  # fmt: skip


# --- Whole or not at all


@pytest.mark.usefixtures("undrawn")
def test_a_page_that_cannot_be_finished_leaves_the_old_one(trips: TripServer, offline: Settings) -> None:
    file = judged(offline, trips, "yellow", "2021-01", "dtc", 2_000)
    before = page_of(file, offline).text
    folder = offline.reports_dir / "yellow" / "2021-01"
    more = judged(offline, trips, "yellow", "2021-01", "dtc", 3_000, seed=1)
    rename = os.replace

    def full(source: Path, target: Path) -> None:
        if target.name == PAGE:
            raise OSError(28, "No space left on device")
        rename(source, target)

    with (
        patch("nyc_taxi.files.os.replace", full),
        pytest.raises(
            StorageFull, match=r"yellow 2021-01: cannot write to .* \(No space left on device\): .* set REPORTS_DIR"
        ),
    ):
        page_of(more, offline)
    assert (folder / PAGE).read_text() == before
    assert [path.name for path in folder.iterdir() if path.suffix == ".part"] == []


@pytest.mark.usefixtures("undrawn")
def test_a_manifest_of_other_trips_is_refused(trips: TripServer, offline: Settings) -> None:
    file = miscounted(judged(offline, trips, "yellow", "2021-01", "dtc", 1_000), 5)
    with pytest.raises(CountsDisagree, match=r"yellow 2021-01: \d+ rows pass the rules, but the manifest counts"):
        page_of(file, offline)
    assert not offline.reports_dir.exists()


def lost(page: Path) -> None:
    page.unlink()


def falsified(page: Path) -> None:
    page.write_text(page.read_text().replace('<data id="rows_accepted" value="', '<data id="rows_accepted" value="1'))


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("spoil", [lost, falsified])
def test_the_check_finds_a_page_that_is_lost_or_tells_other_numbers(
    spoil: Callable[[Path], None], trips: TripServer, offline: Settings
) -> None:
    written = write_reports(Manifest((judged(offline, trips, "green", "2021-01", "tlc", 1_000),)), offline)
    check_reports(written)
    [row] = written.to_dict("records")
    page = Path(row["path"])
    assert row["bytes"] == page.stat().st_size
    spoil(page)
    with pytest.raises(CountsDisagree, match=r"trip_report\.html tells .*, the manifest counts"):
        check_reports(written)


# --- Memory


def test_counting_needs_no_more_memory_for_more_rows(trips: TripServer, offline: Settings, tmp_path: Path) -> None:
    file = judged(offline, trips, "yellow", "2021-01", "dtc", 30_000)
    month = pq.read_table(file.path)
    pool = pa.default_memory_pool()

    def peak(times: int) -> int:
        path = tmp_path / f"{times}.parquet"
        with pq.ParquetWriter(path, month.schema, compression="lz4", use_dictionary=False) as writer:
            for _ in range(times):
                writer.write_table(month)
        rows = {name: count * times for name, count in (("read", 30_000), ("accepted", file.rows_accepted))}
        large = replace(file, path=str(path), rows_read=rows["read"], rows_accepted=rows["accepted"])
        idle, most = pool.bytes_allocated(), 0
        batches = StagedFile.batches

        def watched(self: StagedFile, columns: list[str] | None = None):  # type: ignore[no-untyped-def]
            nonlocal most
            for batch in batches(self, columns):
                most = max(most, pool.bytes_allocated() - idle)
                yield batch

        with patch.object(StagedFile, "batches", watched):
            assert sum(count_month(large).calendar.trips) > 0.9 * large.rows_accepted
        return most

    small, large = peak(1), peak(15)
    assert 0 < large < 1.2 * small < 100_000_000
