"""The trip server answers as the origins' servers do: the parts of HTTP that a careful downloader relies on."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from ops.paths import ROOT
from ops.stack.trip_server import TripServer

BODY = bytes(range(256)) * 40  # 10,240 bytes
FILE = "/trip-data/yellow_tripdata_2021-01.parquet"

Answer = tuple[int, Message, bytes]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TripServer]:
    folder = tmp_path / "trips"
    (folder / "trip-data").mkdir(parents=True)
    (folder / FILE.lstrip("/")).write_bytes(BODY)
    (tmp_path / "secret").write_text("not for you")
    (folder / "way-out").symlink_to(tmp_path / "secret")
    with TripServer(folder) as running:
        yield running


def ask(server: TripServer, path: str = FILE, method: str = "GET", **headers: str) -> Answer:
    """Ask with the path exactly as given: `http.client` does not tidy up dots. Header names have `_` for `-`."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def test_get_returns_the_bytes_of_the_file(server: TripServer) -> None:
    status, headers, body = ask(server)
    assert (status, len(body), body == BODY) == (200, 10_240, True)
    assert (headers["Content-Length"], headers["Accept-Ranges"]) == ("10240", "bytes")
    assert headers["Last-Modified"].endswith("GMT")


def test_head_has_the_headers_of_get_and_no_body(server: TripServer) -> None:
    status, headers, body = ask(server, method="HEAD")
    _, of_get, _ = ask(server)
    assert (status, body, headers["Content-Length"]) == (200, b"", "10240")
    assert headers["ETag"] == of_get["ETag"]


def test_the_etag_is_strong_and_changes_with_the_file(server: TripServer) -> None:
    before = ask(server)[1]["ETag"]
    file = server.folder / FILE.lstrip("/")
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    after = ask(server)[1]["ETag"]
    assert before.startswith('"')
    assert before.endswith('"')
    assert before != after


def test_a_known_etag_gets_304_and_another_gets_200(server: TripServer) -> None:
    etag = ask(server)[1]["ETag"]
    status, headers, body = ask(server, If_None_Match=f'"other", {etag}')
    assert (status, headers["ETag"], body) == (304, etag, b"")
    assert ask(server, If_None_Match="*")[0] == 304
    assert ask(server, If_None_Match='"other"')[0] == 200


@pytest.mark.parametrize(
    ("asked", "sent", "part"),
    [
        ("bytes=0-99", "bytes 0-99/10240", BODY[:100]),
        ("bytes=10000-", "bytes 10000-10239/10240", BODY[10_000:]),
        ("bytes=-40", "bytes 10200-10239/10240", BODY[-40:]),
        ("bytes=10239-99999", "bytes 10239-10239/10240", BODY[-1:]),
        ("bytes=-99999", "bytes 0-10239/10240", BODY),
    ],
)
def test_a_range_gets_206_with_those_bytes(server: TripServer, asked: str, sent: str, part: bytes) -> None:
    status, headers, body = ask(server, Range=asked)
    assert (status, headers["Content-Range"], headers["Content-Length"]) == (206, sent, str(len(part)))
    assert body == part


@pytest.mark.parametrize("asked", ["bytes=10240-", "bytes=20000-30000"])
def test_a_range_past_the_end_gets_416_with_the_size(server: TripServer, asked: str) -> None:
    status, headers, _ = ask(server, Range=asked)
    assert (status, headers["Content-Range"]) == (416, "bytes */10240")


@pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "bytes=5-2", "bytes=-", "rows=0-1", "bytes=a-b"])
def test_what_is_not_one_range_of_bytes_gets_416_and_no_bytes(server: TripServer, asked: str) -> None:
    status, headers, body = ask(server, Range=asked)
    assert (status, headers["Content-Range"], body) == (416, "bytes */10240", b"")


def test_a_resumed_download_of_a_changed_file_starts_again(server: TripServer) -> None:
    etag = ask(server)[1]["ETag"]
    assert ask(server, Range="bytes=100-", If_Range=etag)[0] == 206
    status, headers, body = ask(server, Range="bytes=100-", If_Range='"older"')
    assert (status, headers["ETag"], body == BODY) == (200, etag, True)


@pytest.mark.parametrize(
    "path",
    ["/trip-data/yellow_tripdata_2030-01.parquet", "/", "/trip-data", "/trip-data/", "/%00", "/healthz/x"],
)
def test_missing_files_and_folders_get_404_with_a_short_text(server: TripServer, path: str) -> None:
    status, headers, body = ask(server, path)
    assert (status, headers["Content-Type"]) == (404, "text/plain; charset=utf-8")
    assert body.startswith(b"no file /")
    assert len(body) < 100
    assert ask(server, path, "HEAD")[::2] == (404, b"")


@pytest.mark.parametrize(
    "path",
    ["/../secret", "/%2e%2e/secret", "/trip-data/../../secret", "/..%2fsecret", "//../secret", "/way-out"],
)
def test_no_path_leads_out_of_the_folder(server: TripServer, path: str) -> None:
    assert b"not for you" in (server.folder.parent / "secret").read_bytes()
    status, _, body = ask(server, path)
    assert status == 404
    assert b"not for you" not in body


def test_one_connection_serves_many_requests(server: TripServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    ports = set()
    for method, path, status in (
        ("GET", FILE, 200),
        ("HEAD", FILE, 200),
        ("GET", "/none", 404),
        ("GET", FILE, 200),
    ):
        connection.request(method, path)
        response = connection.getresponse()
        response.read()
        assert response.status == status
        assert isinstance(connection.sock, socket.socket)
        ports.add(connection.sock.getsockname()[1])
    connection.close()
    assert len(ports) == 1


def test_requests_are_remembered_with_their_status(server: TripServer) -> None:
    ask(server, method="HEAD")
    ask(server, Range="bytes=0-1")
    ask(server, "/none")
    assert server.requests == [("HEAD", FILE, 200), ("GET", FILE, 206), ("GET", "/none", 404)]


def test_base_urls_are_those_of_the_two_origins(server: TripServer) -> None:
    assert server.url == f"http://127.0.0.1:{server.port}"
    assert server.dtc_base_url == f"{server.url}/dtc"
    assert server.tlc_base_url == f"{server.url}/trip-data"


def test_a_file_of_many_megabytes_arrives_whole(server: TripServer) -> None:
    (server.folder / "large").write_bytes(BODY * 3_000)
    status, _, body = ask(server, "/large")
    assert (status, len(body)) == (200, 30_720_000)
    (server.folder / "empty").write_bytes(b"")
    assert ask(server, "/empty")[::2] == (200, b"")


def test_nobody_is_answered_after_the_end_not_even_on_an_open_connection(server: TripServer) -> None:
    with TripServer(server.folder) as short:
        connection = http.client.HTTPConnection("127.0.0.1", short.port, timeout=5)
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"ok"
        kept_alive = connection.sock
    kept_alive.settimeout(5)
    assert kept_alive.recv(1) == b""
    connection.close()
    with pytest.raises(ConnectionRefusedError):
        ask(short)


def test_the_end_does_not_wait_for_a_client_that_does_not_read(server: TripServer) -> None:
    (server.folder / "large").write_bytes(BODY * 3_000)
    with socket.socket() as slow:
        slow.settimeout(5)
        with TripServer(server.folder) as short:
            slow.connect(("127.0.0.1", short.port))
            slow.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            assert slow.recv(10) == b"HTTP/1.1 2"
            began = time.monotonic()
        assert time.monotonic() - began < 5


def test_a_client_that_leaves_in_the_middle_harms_nobody(server: TripServer, capfd: pytest.CaptureFixture[str]) -> None:
    (server.folder / "large").write_bytes(BODY * 3_000)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        assert len(client.recv(1_000)) > 0
    assert ask(server)[0] == 200
    time.sleep(0.2)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_it_is_asked_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "ops.stack.trip_server", str(tmp_path), str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"serving {tmp_path} at http://127.0.0.1:{port}\n"
        running = TripServer(tmp_path, port)  # never entered: only the address of the other process
        assert ask(running, "/healthz")[::2] == (200, b"ok")
        process.send_signal(number)
        assert process.wait(timeout=5) == 0
