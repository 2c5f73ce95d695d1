"""The list of taxi zones: fetched once, kept with its ETag, and anything else under its address refused."""

import gzip
from dataclasses import replace
from pathlib import Path

import pytest
from nyc_taxi.errors import NotATripFile, NotPublished, StorageFull
from nyc_taxi.extract.zones import LIST, Zone, taxi_zones
from nyc_taxi.settings import Settings

from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate_zones
from tests.conftest import settings_for
from tests.nyc_taxi.extract.bad_server import Answer, BadServer

HEADER = "LocationID,Borough,Zone,service_zone\n"


@pytest.fixture
def offline(trips: TripServer, tmp_path: Path) -> Settings:
    """Settings that need no database."""
    return settings_for(Settings.from_environment({}).postgres, trips, tmp_path)


def statuses(trips: TripServer) -> list[int]:
    return [status for _, path, status in trips.requests if path == f"/misc/{LIST}"]


def publish(trips: TripServer, text: str) -> None:
    path = trips.folder / "misc" / LIST
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_every_zone_has_its_borough_and_name(trips: TripServer, offline: Settings) -> None:
    generate_zones(trips.folder)
    zones = taxi_zones(offline)
    assert list(zones) == list(range(1, 266))
    assert zones[7] == Zone("Manhattan", "Zone 7", "Synthetic Zone")
    assert [zones[number].label for number in (7, 264, 265)] == ["Zone 7", "Unknown", "Outside of NYC"]


def test_the_citys_own_list_is_read(real_trips: TripServer, tmp_path: Path) -> None:
    zones = taxi_zones(settings_for(Settings.from_environment({}).postgres, real_trips, tmp_path))
    assert len(zones) == 265
    assert (zones[1], zones[74]) == (
        Zone("EWR", "Newark Airport", "EWR"),
        Zone("Manhattan", "East Harlem North", "Boro Zone"),
    )
    assert (zones[264].label, zones[265].label) == ("Unknown", "Outside of NYC")


def test_an_unchanged_list_is_not_sent_again_and_a_changed_one_is(trips: TripServer, offline: Settings) -> None:
    generate_zones(trips.folder)
    first = taxi_zones(offline)
    assert taxi_zones(offline) == first
    assert statuses(trips) == [200, 304]
    publish(trips, f"{HEADER}1,Queens,Ash Street,Boro Zone\n")
    assert taxi_zones(offline) == {1: Zone("Queens", "Ash Street", "Boro Zone")}
    assert statuses(trips) == [200, 304, 200]


def test_a_kept_list_that_was_damaged_is_fetched_anew(trips: TripServer, offline: Settings) -> None:
    generate_zones(trips.folder)
    first = taxi_zones(offline)
    for damaged in (LIST, f"{LIST}.json"):
        path = offline.staging_dir / "tlc" / damaged
        path.write_bytes(path.read_bytes()[:-20])
        assert taxi_zones(offline) == first
    assert statuses(trips) == [200, 200, 200]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!DOCTYPE html><html>gone</html>", "is no list of taxi zones: it starts with '<!DOCTYPE html>"),
        ("LocationID,Borough,Zone\n1,Queens,Ash Street\n", "is no list of taxi zones: it starts with 'LocationID"),
        ("", "is no list of taxi zones: it starts with ''"),
        (HEADER, "has no zone"),
        (f"{HEADER}one,Queens,Ash Street,Boro Zone\n", "line 2: 'one,Queens,Ash Street,Boro Zone' is no taxi zone"),
        (f"{HEADER}1,Queens,A,B\n1,Queens,C,D\n", "line 3: '1,Queens,C,D' is no taxi zone of its own"),
        (f"{HEADER}1,Queens\n", "line 2: '1,Queens' is no taxi zone"),
        (HEADER + "1,Queens,A,B\n" * 100_000, "sends more than 1,048,576 bytes"),
    ],
)
def test_anything_else_is_refused_and_the_last_good_list_stays(
    text: str, message: str, trips: TripServer, offline: Settings
) -> None:
    good = generate_zones(trips.folder).read_bytes()
    taxi_zones(offline)
    publish(trips, text)
    with pytest.raises(NotATripFile, match=message):
        taxi_zones(offline)
    assert (offline.staging_dir / "tlc" / LIST).read_bytes() == good


def test_a_list_that_the_server_packs_on_its_way_is_unpacked(offline: Settings) -> None:
    packed = gzip.compress(f"{HEADER}1,Queens,Ash Street,Boro Zone\n".encode())
    with BadServer([Answer(200, packed, {"Content-Encoding": "gzip"})]) as server:
        urls = {"tlc": f"{server.url}/trip-data"}
        assert taxi_zones(replace(offline, base_urls=urls)) == {1: Zone("Queens", "Ash Street", "Boro Zone")}


def test_a_missing_list_is_named_with_its_address(trips: TripServer, offline: Settings) -> None:
    with pytest.raises(NotPublished, match=rf"{trips.url}/misc/{LIST} is not published"):
        taxi_zones(offline)


def test_a_staging_folder_that_cannot_be_written_is_named(trips: TripServer, offline: Settings) -> None:
    generate_zones(trips.folder)
    offline.staging_dir.parent.mkdir(parents=True, exist_ok=True)
    offline.staging_dir.write_text("a file where the folder should be")
    with pytest.raises(StorageFull, match=r"cannot write to .*staging.*: make room there or set STAGING_DIR"):
        taxi_zones(offline)
