"""A line that drips is given up and taken up again; one that breaks often still brings the whole file."""

import random
import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from nyc_taxi.errors import DownloadFailed, UnknownName
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.extract.zones import taxi_zones
from nyc_taxi.run import RunContext
from nyc_taxi.settings import Settings

from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from ops.wait import wait_until
from tests.conftest import run_of, settings_for
from tests.nyc_taxi.extract.bad_server import PIECE, Answer, BadServer
from tests.nyc_taxi.extract.downloading import ETAG, fetch, run_at

PAUSE = 0.05
LESS, MORE = int(PIECE / PAUSE / 4), int(PIECE / PAUSE * 4)
"""Bytes a second: below and above what a server brings that sends a piece after each pause."""


def patient(run: RunContext, least: int) -> RunContext:
    """The same run, which gives a line up below so many bytes a second."""
    return replace(run, settings=replace(run.settings, slowest_download=least))


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line is judged after a third of a second."""
    monkeypatch.setattr("nyc_taxi.extract.http.SLOW_SECONDS", 0.3)


def test_a_line_that_drips_is_given_up_in_a_line_and_taken_up_where_it_was(
    soon: None, body: bytes, waits: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with BadServer([Answer(200, body, ETAG, pause=PAUSE), Answer(200, body, ETAG, ranged=True)]) as server:
        assert fetch(patient(run_at(server.url), MORE), tmp_path).path.read_bytes() == body
        [start] = re.findall(r"\d+", server.asked[-1].headers["Range"])
    assert 2 * PIECE <= int(start) <= 20 * PIECE
    [line] = capsys.readouterr().out.splitlines()
    assert re.search(r"only \d\.\d kB came in 0 s: the line is given up; attempt 2 of 5 follows in 1 s$", line)
    assert waits == [1]


def test_a_line_that_goes_on_dripping_fails_after_five_attempts_however_far_it_came(
    soon: None, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nyc_taxi.extract.http.ADVANCED_BYTES", PIECE)
    drip = Answer(200, b"\x1f\x8b" + bytes(200_000), ETAG, pause=PAUSE, ranged=True)
    with BadServer([drip]) as server, pytest.raises(DownloadFailed, match="kB came in 0 s: the line is given") as told:
        fetch(patient(run_at(server.url), MORE), tmp_path)
    assert (len(waits), len(str(told.value)) <= 300) == (4, True)


@pytest.mark.parametrize("least", [0, LESS])
def test_a_line_that_is_fast_enough_is_waited_for(soon: None, least: int, waits: list[float], tmp_path: Path) -> None:
    with BadServer([Answer(200, b"\x1f\x8b" + bytes(20_000), ETAG, pause=PAUSE)]) as server:
        assert fetch(patient(run_at(server.url), least), tmp_path).bytes == 20_002
    assert waits == []


def test_a_list_of_zones_that_drips_is_given_up_too(soon: None, waits: list[float], tmp_path: Path) -> None:
    with BadServer([Answer(200, bytes(200_000), pause=PAUSE)]) as server:
        urls = {"tlc": f"{server.url}/trip-data", "dtc": server.url}
        settings = replace(Settings.from_environment({}), base_urls=urls, staging_dir=tmp_path, slowest_download=MORE)
        with pytest.raises(DownloadFailed, match="the line is given up"):
            taxi_zones(settings)


def test_the_slowest_line_is_ten_kilobytes_a_second_unless_it_is_set() -> None:
    name = "SLOWEST_DOWNLOAD_KB_PER_SECOND"
    rates = [Settings.from_environment({name: value}).slowest_download for value in ("", "0", "250")]
    assert rates == [10_000, 0, 250_000]
    with pytest.raises(UnknownName, match=rf"^{name} 'fast' is not a number such as 10, or 0 for none$"):
        Settings.from_environment({name: "fast"})


@pytest.mark.parametrize("megabytes", [4, 12])
def test_a_line_that_breaks_every_nine_tenths_of_a_megabyte_brings_the_whole_file_once(
    megabytes: int, waits: list[float], tmp_path: Path
) -> None:
    body = b"\x1f\x8b" + random.Random(1).randbytes(megabytes * 1_000_000 - 2)
    with BadServer([Answer(200, body, ETAG, cut=900_000, ranged=True)], [Answer(200, body, ETAG)]) as server:
        assert fetch(run_at(server.url), tmp_path).path.read_bytes() == body
        starts = [asked.headers.get("Range") for asked in server.asked if asked.method == "GET"]
        assert starts == [None, *(f"bytes={start}-" for start in range(900_000, len(body), 900_000))]
        assert server.sent == len(body)


@pytest.mark.parametrize(("headers", "cut"), [({}, 900_000), (ETAG, 100)], ids=["no version", "100 bytes"])
def test_a_line_that_brings_nothing_to_go_on_from_is_given_up_after_five_attempts(
    headers: dict[str, str], cut: int, waits: list[float], tmp_path: Path
) -> None:
    body = b"\x1f\x8b" + bytes(4_000_000)
    with BadServer([Answer(200, body, headers, cut=cut, ranged=True)], [Answer(200, body, headers)]) as server:
        with pytest.raises(DownloadFailed, match="could not be fetched in 5 attempts"):
            fetch(run_at(server.url), tmp_path)
        assert (server.count("GET"), waits) == (5, [1, 2, 4, 8])


def test_who_waits_for_another_run_of_the_month_says_so_once(
    trips: TripServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate("yellow", "2021-01", "dtc", 500, trips.folder)
    run = run_of(settings_for(Settings.from_environment({}).postgres, trips, tmp_path), "yellow", "2021-01", "dtc")
    folder, said = run.settings.staging_dir / "dtc" / "yellow", []
    folder.mkdir(parents=True)
    waiting = threading.Thread(target=stage_trip_file, args=(run,))

    def heard() -> bool:
        said.extend(capsys.readouterr().out.splitlines())
        return bool(said)

    with FileLock(folder / ".2021-01.lock"):
        waiting.start()
        assert wait_until(heard, 10, 0.01)
        assert said == ["yellow 2021-01 (dtc): waits for another run of the month"]
        assert trips.requests == []
    waiting.join(30)
    capsys.readouterr()
    stage_trip_file(run)
    assert "waits" not in capsys.readouterr().out
