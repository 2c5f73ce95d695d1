"""A trip file is fetched whole and once, whatever the line does in between."""

import gzip
import hashlib
import re
from pathlib import Path

import pytest
from nyc_taxi.errors import DownloadFailed, NotATripFile, NotPublished
from nyc_taxi.extract.download import _forget_other_version, download
from nyc_taxi.extract.http import OtherVersion
from nyc_taxi.extract.published import find_published
from nyc_taxi.settings import Settings

from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.conftest import run_of, settings_for
from tests.nyc_taxi.extract import bad_server
from tests.nyc_taxi.extract.bad_server import Answer, BadServer
from tests.nyc_taxi.extract.downloading import ETAG, NAME, fetch, left_over, run_at


@pytest.mark.parametrize("origin", ["dtc", "tlc"])
def test_a_published_file_is_fetched_as_it_is_and_described(origin: str, trips: TripServer, tmp_path: Path) -> None:
    original = generate("green", "2020-11", origin, 3_000, trips.folder).read_bytes()
    run = run_of(settings_for(Settings.from_environment({}).postgres, trips, tmp_path), "green", "2020-11", origin)
    published = find_published(run)
    assert published.bytes == len(original)
    assert re.fullmatch(r'"[0-9a-f]+-[0-9a-f]+"', published.etag)
    downloaded = download(run, published, tmp_path / "downloads")
    assert downloaded.path.read_bytes() == original
    assert (downloaded.bytes, downloaded.sha256) == (len(original), hashlib.sha256(original).hexdigest())
    assert downloaded.published == published
    assert left_over(tmp_path / "downloads") == {downloaded.path.name}
    assert [(method, status) for method, _, status in trips.requests] == [("HEAD", 200), ("GET", 200)]


def test_a_file_that_went_away_between_the_two_requests_is_not_published(body: bytes, tmp_path: Path) -> None:
    with BadServer([Answer(404)], [Answer(200, body, ETAG)]) as server, pytest.raises(NotPublished):
        fetch(run_at(server.url), tmp_path)


def test_a_web_page_instead_of_gzip_is_refused_at_its_first_bytes(tmp_path: Path) -> None:
    page = b"\n<!DOCTYPE html><html><body>Sign in to the hotel's network" + b" " * 20_000_000
    with BadServer([Answer(200, page, ETAG)]) as server, pytest.raises(NotATripFile) as refused:
        fetch(run_at(server.url), tmp_path)
    assert str(refused.value) == (
        f"{server.url}{NAME['dtc']} is no csv.gz file: it starts with an HTML page "
        "(b'<!DOCTYPE html><html><body>Sign in to th'). "
        "Open the address in a browser; check the base URL of origin dtc"
    )
    assert server.sent < 10_000_000
    assert server.count("GET") == 1


def test_an_xml_message_instead_of_parquet_is_refused_at_its_first_bytes(tmp_path: Path) -> None:
    xml = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code></Error>'
    with BadServer([Answer(200, xml, ETAG)]) as server, pytest.raises(NotATripFile) as refused:
        fetch(run_at(server.url, "tlc"), tmp_path)
    assert "is no parquet file: it starts with an XML message (b'<?xml version=" in str(refused.value)
    assert "check the base URL of origin tlc" in str(refused.value)


def test_other_bytes_are_shown(tmp_path: Path) -> None:
    text = Answer(200, b"VendorID,tpep_pickup_datetime\r\n", ETAG)
    with BadServer([text]) as server, pytest.raises(NotATripFile, match=r"it starts with bytes \(b'VendorID,tpep_pic"):
        fetch(run_at(server.url), tmp_path)


def test_a_parquet_file_without_its_end_is_truncated_and_not_kept(parquet: bytes, tmp_path: Path) -> None:
    with BadServer([Answer(200, parquet[:-4], ETAG)]) as server, pytest.raises(NotATripFile) as refused:
        fetch(run_at(server.url, "tlc"), tmp_path)
    assert str(refused.value) == (
        "yellow_tripdata_2021-01.parquet of yellow 2021-01 (tlc) is truncated: its last four bytes are not PAR1. "
        "Run again to fetch it anew"
    )
    assert not list(tmp_path.glob("*.parquet*.part"))


def test_an_empty_answer_is_no_parquet_file(tmp_path: Path) -> None:
    with BadServer([Answer(200, b"", ETAG)]) as server, pytest.raises(NotATripFile, match="is truncated"):
        fetch(run_at(server.url, "tlc"), tmp_path)


def test_a_body_that_stops_coming_runs_into_the_time_out_and_is_resumed(
    body: bytes, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nyc_taxi.extract.http.TIMEOUT_SECONDS", (5, 0.3))
    monkeypatch.setattr("nyc_taxi.extract.http.CHUNK_BYTES", 1_000)
    stuck = Answer(200, body[:5_000], ETAG, announced=len(body))

    with BadServer([stuck, Answer(200, body, ETAG, ranged=True)], [Answer(200, body, ETAG)]) as server:
        assert fetch(run_at(server.url), tmp_path).path.read_bytes() == body
    assert server.sent == len(body)


def test_a_line_that_breaks_is_taken_up_where_it_broke(
    body: bytes, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nyc_taxi.extract.http.CHUNK_BYTES", 1_000)
    half = len(body) // 2 // 1_000 * 1_000
    gets = [Answer(200, body, ETAG, cut=half), Answer(200, body, ETAG, ranged=True)]
    with BadServer(gets) as server:
        downloaded = fetch(run_at(server.url), tmp_path)
    first, second = [asked for asked in server.asked if asked.method == "GET"]
    assert "Range" not in first.headers
    assert (second.headers["Range"], second.headers["If-Range"]) == (f"bytes={half}-", '"one"')
    assert server.sent == len(body)
    assert downloaded.path.read_bytes() == body
    assert downloaded.sha256 == hashlib.sha256(body).hexdigest()
    assert left_over(tmp_path) == {"yellow_tripdata_2021-01.csv.gz"}
    assert waits == [1]


def test_the_next_run_takes_up_what_an_earlier_one_left(
    body: bytes, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nyc_taxi.extract.http.CHUNK_BYTES", 1_000)
    monkeypatch.setattr("nyc_taxi.extract.http.ATTEMPTS", 1)
    with BadServer([Answer(200, body, ETAG, cut=10_000), Answer(200, body, ETAG, ranged=True)]) as server:
        with pytest.raises(DownloadFailed, match=r"could not be fetched in 1 attempts"):
            fetch(run_at(server.url), tmp_path)
        assert fetch(run_at(server.url), tmp_path).path.read_bytes() == body
        assert server.sent == len(body)
        assert server.asked[-1].headers["Range"] == "bytes=10000-"


def test_a_server_without_ranges_sends_the_whole_file_again(
    body: bytes, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nyc_taxi.extract.http.CHUNK_BYTES", 1_000)
    with BadServer([Answer(200, body, ETAG, cut=20_000), Answer(200, body, ETAG)]) as server:
        assert fetch(run_at(server.url), tmp_path).path.read_bytes() == body
    assert server.sent == 20_000 + len(body)


def test_a_real_file_server_gives_only_the_rest(trips: TripServer, tmp_path: Path) -> None:
    original = generate("yellow", "2021-01", "dtc", 3_000, trips.folder).read_bytes()
    run = run_of(settings_for(Settings.from_environment({}).postgres, trips, tmp_path), "yellow", "2021-01", "dtc")
    published = find_published(run)
    folder = tmp_path / "downloads"
    folder.mkdir()
    part = folder / "yellow_tripdata_2021-01.csv.gz.part"
    _forget_other_version(part, published)
    part.write_bytes(original[:10_000])
    assert download(run, published, folder).path.read_bytes() == original
    assert [status for _, _, status in trips.requests] == [200, 206]


def test_a_part_of_another_version_is_not_spliced_to_the_rest_of_this_one(
    body: bytes, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nyc_taxi.extract.http.CHUNK_BYTES", 1_000)
    monkeypatch.setattr("nyc_taxi.extract.http.ATTEMPTS", 1)
    older = body[:5_000] + bytes(len(body) - 5_000)
    with BadServer([Answer(200, older, {"ETag": '"old"'}, cut=10_000)]) as server, pytest.raises(DownloadFailed):
        fetch(run_at(server.url), tmp_path)
    assert (tmp_path / "yellow_tripdata_2021-01.csv.gz.part").stat().st_size == 10_000
    with BadServer([Answer(200, body, ETAG, ranged=True)]) as server:
        assert fetch(run_at(server.url), tmp_path).path.read_bytes() == body
    assert "Range" not in server.asked[-1].headers


def test_a_server_that_ignores_if_range_does_not_get_two_versions_spliced(
    body: bytes, waits: list[float], tmp_path: Path
) -> None:
    older = body[:5_000] + bytes(len(body) - 5_000)
    newer = Answer(200, body, ETAG, ranged=True)
    with BadServer([Answer(200, older, {"ETag": '"old"'}, cut=10_000), newer]) as server:
        # The file is replaced by one of the same size while it is on its way.
        with pytest.raises(
            OtherVersion, match=r'replaced while it was fetched \(version "one", not "old"\): run again$'
        ):
            fetch(run_at(server.url), tmp_path)
        assert [asked.headers.get("Range") for asked in server.asked] == [None, None, "bytes=10000-"]
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("whole", [True, False])
def test_a_whole_answer_of_another_version_is_refused_before_its_body(
    whole: bool, body: bytes, waits: list[float], tmp_path: Path
) -> None:
    """The old file under the new name, as two edges of a network send it: of the same size, or shorter."""
    old = Answer(200, body if whole else body[:-9], {"ETag": '"old"'})
    with BadServer([old], [Answer(200, body, {"ETag": '"new"'})]) as server, pytest.raises(OtherVersion):
        fetch(run_at(server.url), tmp_path)
    assert (server.count("GET"), waits, list(tmp_path.glob("*.gz*.part"))) == (1, [], [])


def test_a_rest_that_names_no_version_is_not_put_to_a_part_that_has_one(
    parquet: bytes, waits: list[float], tmp_path: Path
) -> None:
    older = parquet[:5_000] + bytes(len(parquet) - 5_000)
    gets = [Answer(200, older, ETAG, cut=10_000), Answer(200, parquet, ranged=True), Answer(200, parquet, ETAG)]
    with BadServer(gets, [Answer(200, parquet, ETAG)]) as server:
        assert fetch(run_at(server.url, "tlc"), tmp_path).path.read_bytes() == parquet
    assert [asked.headers.get("Range") for asked in server.asked[1:]] == [None, "bytes=10000-", None]


def test_a_whole_answer_without_a_version_is_taken_without_one_and_never_continued(
    body: bytes, waits: list[float], tmp_path: Path
) -> None:
    nameless, named = Answer(200, body, cut=10_000), Answer(200, body, ETAG, ranged=True)
    with BadServer([nameless, named], [Answer(200, body, ETAG)]) as server:
        downloaded = fetch(run_at(server.url), tmp_path)
    assert [asked.headers.get("Range") for asked in server.asked[1:]] == [None, None]
    assert (downloaded.path.read_bytes(), downloaded.published.etag) == (body, "")


def test_a_weak_etag_tells_versions_apart_and_continues_nothing(
    body: bytes, waits: list[float], tmp_path: Path
) -> None:
    weak = {"ETag": 'W/"one"'}
    with BadServer([Answer(200, body, weak, cut=10_000), Answer(200, body, ETAG, ranged=True)]) as server:
        assert fetch(run_at(server.url), tmp_path).published.etag == 'W/"one"'
    assert [asked.headers.get("Range") for asked in server.asked] == [None] * 3


def test_a_csv_gz_that_its_server_calls_packed_is_taken_as_it_is_stored(body: bytes, tmp_path: Path) -> None:
    with BadServer([Answer(200, body, ETAG | {"Content-Encoding": "gzip"})]) as server:
        assert fetch(run_at(server.url), tmp_path).path.read_bytes() == body


def test_a_packed_parquet_file_is_refused_by_the_header_that_says_so(parquet: bytes, tmp_path: Path) -> None:
    packed = Answer(200, gzip.compress(parquet), ETAG | {"Content-Encoding": "gzip"})
    with BadServer([packed]) as server, pytest.raises(NotATripFile, match=r"\(Content-Encoding: gzip\), though it was"):
        fetch(run_at(server.url, "tlc"), tmp_path)
    assert server.count("GET") == 1


def test_a_length_that_is_no_number_counts_as_none(body: bytes, tmp_path: Path) -> None:
    odd = Answer(200, body, ETAG | {"Content-Length": "12x"}, announced=-1)
    with BadServer([Answer(200, body, ETAG)], [odd]) as server:
        assert fetch(run_at(server.url), tmp_path).published.bytes is None


def test_without_an_etag_nothing_is_resumed(
    body: bytes, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nyc_taxi.extract.http.CHUNK_BYTES", 1_000)
    with BadServer([Answer(200, body, cut=10_000), Answer(200, body, ranged=True)]) as server:
        assert find_published(run_at(server.url)).etag == ""
        assert fetch(run_at(server.url), tmp_path).path.read_bytes() == body
    assert [asked.headers.get("Range") for asked in server.asked if asked.method == "GET"] == [None, None]


def test_a_part_that_is_already_whole_is_not_fetched_again(body: bytes, tmp_path: Path) -> None:
    with BadServer([Answer(200, body, ETAG)]) as server:
        run = run_at(server.url)
        published = find_published(run)
        part = tmp_path / "yellow_tripdata_2021-01.csv.gz.part"
        _forget_other_version(part, published)
        part.write_bytes(body)
        assert download(run, published, tmp_path).sha256 == hashlib.sha256(body).hexdigest()
        assert server.count("GET") == 0


def test_a_part_beyond_the_end_is_thrown_away(body: bytes, waits: list[float], tmp_path: Path) -> None:
    # A server that announces no length: only its 416 tells that there is nothing more.
    whole = Answer(200, body, ETAG, announced=-1)
    with BadServer([Answer(416, b""), whole], [whole]) as server:
        run = run_at(server.url)
        published = find_published(run)
        assert published.bytes is None
        part = tmp_path / "yellow_tripdata_2021-01.csv.gz.part"
        _forget_other_version(part, published)
        part.write_bytes(body)
        assert download(run, published, tmp_path).path.read_bytes() == body
        assert [asked.headers.get("Range") for asked in server.asked[1:]] == [f"bytes={len(body)}-", None]


@pytest.mark.parametrize("note", ["", "{", "[]"])
def test_a_note_that_a_crash_left_broken_does_not_stop_the_next_run(note: str, body: bytes, tmp_path: Path) -> None:
    (tmp_path / "yellow_tripdata_2021-01.csv.gz.part").write_bytes(b"\x1f\x8bof what?")
    (tmp_path / "yellow_tripdata_2021-01.csv.gz.part.json").write_text(note)
    with BadServer([Answer(200, body, ETAG, ranged=True)]) as server:
        assert fetch(run_at(server.url), tmp_path).path.read_bytes() == body


@pytest.mark.parametrize("more", [-100, 1])
def test_another_length_than_announced_is_another_file_with_both_numbers(
    more: int, body: bytes, waits: list[float], tmp_path: Path
) -> None:
    other = Answer(200, (body + b"x")[: len(body) + more], ETAG)
    with BadServer([other], [Answer(200, body, ETAG)]) as server, pytest.raises(OtherVersion) as refused:
        fetch(run_at(server.url), tmp_path)
    assert f"fetched ({len(body) + more:,} bytes, not {len(body):,}): run again" in str(refused.value)
    assert not list(tmp_path.glob("*.gz*.part"))


@pytest.mark.parametrize("more", [-100, 1])
def test_a_body_that_ends_well_with_another_length_is_not_continued(
    more: int, body: bytes, waits: list[float], tmp_path: Path
) -> None:
    """Nothing says its length before: it may be the whole of another file."""
    other = Answer(200, (body + b"x")[: len(body) + more], ETAG, chunked=5_000)
    with BadServer([other], [Answer(200, body, ETAG)]) as server, pytest.raises(DownloadFailed) as refused:
        fetch(run_at(server.url), tmp_path)
    assert f"({len(body) + more:,} bytes arrived, {len(body):,} were announced)" in str(refused.value)
    assert {asked.headers.get("Range") for asked in server.asked} == {None}
    assert not list(tmp_path.glob("*.gz*.part"))


def test_a_rest_of_a_file_of_another_length_is_not_put_to_a_part(
    body: bytes, waits: list[float], tmp_path: Path
) -> None:
    other = Answer(200, body[:-9], ETAG, ranged=True)
    why = rf"fetched \({len(body) - 9:,} bytes, not {len(body):,}\): run again$"
    with BadServer([Answer(200, body, ETAG, cut=10_000), other]) as server, pytest.raises(OtherVersion, match=why):
        fetch(run_at(server.url), tmp_path)


def test_a_body_in_single_bytes_is_recognised(waits: list[float], parquet: bytes, tmp_path: Path) -> None:
    with BadServer([Answer(200, parquet, ETAG, chunked=1)]) as server:
        assert fetch(run_at(server.url, "tlc"), tmp_path).path.read_bytes() == parquet


def test_a_cut_in_a_body_of_unknown_length_is_noticed(body: bytes, waits: list[float], tmp_path: Path) -> None:
    cut = Answer(200, body, ETAG, chunked=5_000, cut=20_000)
    with BadServer([cut, Answer(200, body, ETAG, chunked=5_000)], [Answer(200, b"", ETAG, announced=-1)]) as server:
        assert fetch(run_at(server.url), tmp_path).path.read_bytes() == body
    assert waits == [1]


def test_a_slow_download_tells_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nyc_taxi.extract.download.LOG_EVERY_SECONDS", 0.05)
    monkeypatch.setattr("nyc_taxi.extract.http.CHUNK_BYTES", 100_000)
    monkeypatch.setattr(bad_server, "PIECE", 400_000)
    body = b"\x1f\x8b" + bytes(7_999_998)
    with BadServer([Answer(200, body, ETAG, pause=0.03)]) as server:
        fetch(run_at(server.url), tmp_path)
    lines = capsys.readouterr().out.splitlines()
    found = [re.fullmatch(r"yellow_tripdata_2021-01\.csv\.gz: (\d) of 8 MB", line) for line in lines]
    megabytes = [int(match[1]) for match in found if match]
    assert len(megabytes) == len(lines)
    assert 2 <= len(lines) <= 12
    assert megabytes == sorted(megabytes)
    assert megabytes[0] < megabytes[-1]


def test_a_quick_download_tells_nothing(body: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with BadServer([Answer(200, body, ETAG)]) as server:
        fetch(run_at(server.url), tmp_path)
    assert capsys.readouterr() == ("", "")
