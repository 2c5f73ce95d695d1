"""Requests to an origin are tried again, for so long, and what failed is said plainly."""

import time
from pathlib import Path

import pytest
from nyc_taxi.errors import DownloadFailed

from ops.ports import free_port
from tests.nyc_taxi.extract.bad_server import Answer, BadServer
from tests.nyc_taxi.extract.downloading import ETAG, NAME, fetch, run_at


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_server_that_fails_twice_is_asked_a_third_time(
    status: int, body: bytes, waits: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = Answer(200, body, ETAG), Answer(status, b"busy")
    with BadServer([bad, bad, good], [bad, bad, good]) as server:
        downloaded = fetch(run_at(server.url), tmp_path)
    assert downloaded.path.read_bytes() == body
    assert (server.count("HEAD"), server.count("GET"), waits) == (3, 3, [1, 2, 1, 2])
    said = f"{server.url}{NAME['dtc']}: the server answered {status}; attempt 2 of 5 follows\n"
    assert capsys.readouterr().out.count(said) == 2


def test_a_server_that_never_recovers_is_given_up_after_five_attempts(waits: list[float], tmp_path: Path) -> None:
    with BadServer([Answer(503)]) as server, pytest.raises(DownloadFailed) as refused:
        fetch(run_at(server.url), tmp_path)
    assert str(refused.value) == (
        f"{server.url}{NAME['dtc']} could not be fetched in 5 attempts (the server answered 503): "
        "check the network and the base URL"
    )
    assert (server.count("HEAD"), waits) == (5, [1, 2, 4, 8])


def test_a_port_where_nobody_listens_is_said_plainly(waits: list[float], tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"in 5 attempts \(.*Connection refused\): check the network"):
        fetch(run_at(f"http://127.0.0.1:{free_port()}"), tmp_path)
    assert waits == [1, 2, 4, 8]


def test_a_server_that_never_answers_runs_into_the_time_out(
    waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nyc_taxi.extract.http.TIMEOUT_SECONDS", (0.1, 0.1))
    monkeypatch.setattr("nyc_taxi.extract.http.ATTEMPTS", 2)
    started = time.monotonic()
    with BadServer([Answer(silent=True)], [Answer(silent=True)]) as server:
        with pytest.raises(DownloadFailed, match=r"could not be fetched in 2 attempts \(.*[Rr]ead timed out"):
            fetch(run_at(server.url), tmp_path)
        assert time.monotonic() - started < 5
        assert server.count("HEAD") == 2
