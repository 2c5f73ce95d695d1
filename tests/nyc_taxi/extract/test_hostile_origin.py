"""An origin that means harm fills no disk and no memory, and sends nobody elsewhere."""

import gzip
import resource
from pathlib import Path

import pytest
from nyc_taxi.catalog.services import YELLOW
from nyc_taxi.errors import DownloadFailed, NotATripFile
from nyc_taxi.extract.http import redirected
from nyc_taxi.extract.readers import open_csv
from nyc_taxi.extract.unpack import EXPANSION, SMALL_BYTES

from tests.nyc_taxi.extract.bad_server import Answer, BadServer
from tests.nyc_taxi.extract.downloading import fetch, run_at

TEN_GB = 10 << 30
GZIP = b"\x1f\x8b" + bytes(1 << 20)


def test_ten_gigabytes_that_are_announced_are_never_fetched(tmp_path: Path) -> None:
    with BadServer([Answer(body=GZIP, announced=TEN_GB)], [Answer(announced=TEN_GB)]) as server:
        with pytest.raises(NotATripFile, match=r"has 10,737,418,240 bytes, more than any trip file"):
            fetch(run_at(server.url), tmp_path)
        assert server.count("GET") == 0


def test_more_than_was_announced_is_cut_off_at_once(waits: list[float], tmp_path: Path) -> None:
    endless = Answer(body=GZIP * 64, chunked=1 << 20)
    with BadServer([endless], [Answer(announced=1_000_000)]) as server:
        with pytest.raises(DownloadFailed, match=r"1,000,000 were announced"):
            fetch(run_at(server.url), tmp_path)
        # Of each of five attempts: what was on the wire when it was cut off, not the 64 MB.
        assert server.sent < 5 * (16 << 20)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) < 1_000


def test_an_answer_without_end_and_without_a_length_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nyc_taxi.extract.download.LARGEST_BYTES", 8 << 20)
    with BadServer([Answer(body=GZIP * 64, chunked=1 << 20)], [Answer(announced=-1)]) as server:
        with pytest.raises(NotATripFile, match="sends more than 8,388,608 bytes"):
            fetch(run_at(server.url), tmp_path)
        assert server.sent < 40 << 20
    assert not any(path.stat().st_size > 1_000 for path in tmp_path.rglob("*"))


def test_a_redirect_to_another_host_is_not_followed(tmp_path: Path) -> None:
    with BadServer([Answer(body=GZIP)]) as inside:
        away = Answer(status=302, headers={"Location": f"{inside.url}/latest/meta-data"})
        with BadServer([away]) as server, pytest.raises(DownloadFailed, match=r"redirects to http://127.0.0.1:\d+: if"):
            fetch(run_at(server.url), tmp_path)
        assert inside.asked == []


def test_a_redirect_within_the_host_is_followed(tmp_path: Path) -> None:
    moved = Answer(status=301, headers={"Location": "/elsewhere.csv.gz"})
    with BadServer([moved, Answer(body=GZIP)], [moved, Answer(body=GZIP)]) as server:
        assert fetch(run_at(server.url), tmp_path).bytes == len(GZIP)
        assert [asked.path for asked in server.asked][1::2] == ["/elsewhere.csv.gz"] * 2


def test_redirects_without_end_are_given_up(tmp_path: Path) -> None:
    with BadServer([Answer(status=302, headers={"Location": "/again"})]) as server:
        with pytest.raises(DownloadFailed, match="more than 5 redirects"):
            fetch(run_at(server.url), tmp_path)
        assert server.count("HEAD") == 5


@pytest.mark.parametrize(
    ("start", "target", "followed"),
    [
        ("https://github.com/a/b.csv.gz", "https://release-assets.githubusercontent.com/x?y=1", True),
        ("https://github.com/a/b.csv.gz", "https://objects.githubusercontent.com/x", True),
        ("https://github.com/a/b.csv.gz", "http://objects.githubusercontent.com/x", False),
        ("https://github.com/a/b.csv.gz", "https://githubusercontent.com.example.org/x", False),
        ("https://github.com/a/b.csv.gz", "http://github.com/a/b.csv.gz", False),
        ("http://mirror.example.org/a", "https://mirror.example.org/a", True),
        ("http://mirror.example.org/a", "http://mirror.example.org:8080/a", False),
        ("https://mirror.example.org/a", "file:///etc/passwd", False),
        ("https://mirror.example.org/a", "http://169.254.169.254/", False),
    ],
)
def test_github_may_send_from_its_own_hosts_and_nobody_from_others(start: str, target: str, followed: bool) -> None:
    if followed:
        assert redirected(start, target) == target
    else:
        with pytest.raises(DownloadFailed, match="redirects to"):
            redirected(start, target)


def rows_of(path: Path) -> int:
    _, pieces = open_csv(path, YELLOW)
    return sum(len(piece.table) for piece in pieces)


HEADER = b"VendorID,tpep_pickup_datetime,tpep_dropoff_datetime\n"


def test_a_line_without_end_is_refused_in_little_memory(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.csv.gz"
    with gzip.open(bomb, "wb", compresslevel=9) as out:
        out.write(HEADER)
        for _ in range(256):
            out.write(bytes(1 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(NotATripFile, match="has a line of more than 1,048,576 bytes"):
        rows_of(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_header_without_end_is_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.csv.gz"
    bomb.write_bytes(gzip.compress(b"a" * (4 << 20)))
    with pytest.raises(NotATripFile, match="has a line of more than 1,048,576 bytes"):
        rows_of(bomb)


def test_a_thousand_times_its_own_size_is_no_trip_file(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.csv.gz"
    line = b"1,2021-01-01 00:00:00,2021-01-01 00:10:00\n"
    bomb.write_bytes(gzip.compress(HEADER + line * (SMALL_BYTES // len(line) + 100_000)))
    assert bomb.stat().st_size < SMALL_BYTES / EXPANSION
    with pytest.raises(NotATripFile, match="unpacks to more than 100 times its size"):
        rows_of(bomb)
