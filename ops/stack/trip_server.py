"""
Serves trip files on this machine the way the origins do: ETag, ranges, conditional requests, over HTTP/1.1.

    python -m ops.stack.trip_server .local/trips 8099

Point TLC_DTC_BASE_URL at `<url>/dtc` and TLC_PARQUET_BASE_URL at `<url>/trip-data`.
"""

import argparse
import os
import re
import signal
import socket
import socketserver
import threading
from collections import deque
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Self
from urllib.parse import unquote, urlsplit

HOST = "127.0.0.1"
REMEMBERED_REQUESTS = 10_000

Request = tuple[str, str, int]
"""Method, path as asked for, status."""

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class TripServer:
    """
    A file server for `folder` on 127.0.0.1, running in threads while the `with` block lasts.

    `port` 0 takes a free one. Raises OSError when the port is taken.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.port = port

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._server = _Server((HOST, self.port), self.folder.resolve())
        self.port = self._server.server_port
        # A short poll: shutdown() waits for the next one.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()
        self._thread.join()

    @property
    def url(self) -> str:
        """http://127.0.0.1:port, without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    @property
    def dtc_base_url(self) -> str:
        """Base URL of the csv.gz files, for TLC_DTC_BASE_URL."""
        return f"{self.url}/dtc"

    @property
    def tlc_base_url(self) -> str:
        """Base URL of the Parquet files, for TLC_PARQUET_BASE_URL."""
        return f"{self.url}/trip-data"

    @property
    def requests(self) -> list[Request]:
        """The last 10,000 answered requests, oldest first."""
        return list(self._server.requests)


def serve(folder: Path, port: int) -> None:
    """Serve `folder` in the foreground until SIGTERM or SIGINT; call it from the main thread."""
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    with TripServer(folder, port) as server:
        print(f"serving {folder} at {server.url}", flush=True)
        stop.wait()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], root: Path) -> None:
        self.root = root
        self.requests: deque[Request] = deque(maxlen=REMEMBERED_REQUESTS)
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer looks its own name up here, which can wait for a name server.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        if isinstance(request, socket.socket):
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        if isinstance(request, socket.socket):
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Close kept-alive connections: their threads would go on answering for a server that is gone."""
        for connection in tuple(self._open):
            with suppress(OSError):  # the other side was first
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "trip-server"
    # Head and body go out in two writes; without this the second waits for the first one's receipt.
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        try:
            if path == "/healthz":
                self._say(HTTPStatus.OK, "ok")
                return
            file = self._find(path)
            if file is None:
                self._say(HTTPStatus.NOT_FOUND, f"no file {path}")
            else:
                self._send(file)
        except ConnectionError:
            self.close_connection = True  # the client left in the middle, as clients do

    def _find(self, path: str) -> Path | None:
        """The file that a URL path names; None for a folder, a missing file, or a way out of the root."""
        if "\0" in path:
            return None
        file = (self.server.root / path.lstrip("/")).resolve()
        return file if file.is_relative_to(self.server.root) and file.is_file() else None

    def _send(self, path: Path) -> None:
        with open(path, "rb") as file:
            # Of the open file: a rename meanwhile must not give one file's ETag to another's bytes.
            state = os.fstat(file.fileno())
            size = state.st_size
            etag = f'"{size:x}-{state.st_mtime_ns:x}"'
            modified = formatdate(state.st_mtime, usegmt=True)
            head = {"ETag": etag, "Last-Modified": modified, "Accept-Ranges": "bytes"}
            if _names(self.headers.get("If-None-Match", ""), etag):
                self._head(HTTPStatus.NOT_MODIFIED, head)
                return
            start, end, status = 0, size, HTTPStatus.OK
            if self.command == "GET" and self.headers.get("If-Range", etag) in (etag, modified):
                part = _range(self.headers.get("Range", ""), size)
                if part is not None:
                    start, end = part
                    if start >= end:
                        self._say(
                            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                            "no such bytes",
                            {"Content-Range": f"bytes */{size}"},
                        )
                        return
                    status = HTTPStatus.PARTIAL_CONTENT
                    head["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
            head |= {"Content-Type": "application/octet-stream", "Content-Length": str(end - start)}
            self._head(status, head)
            if self.command == "GET" and end > start:
                # The kernel copies from file to socket: no byte passes through Python.
                self.connection.sendfile(file, start, end - start)

    def _say(self, status: HTTPStatus, text: str, head: dict[str, str] | None = None) -> None:
        body = f"{text}\n".encode() if status >= 400 else text.encode()
        length = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))}
        self._head(status, length | (head or {}))
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, status: HTTPStatus, head: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in head.items():
            self.send_header(name, value)
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        # A request line that cannot be parsed leaves no command and no path.
        asked = (self.command or "", getattr(self, "path", ""))
        self.server.requests.append((*asked, int(code)))

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: `requests` tells what was asked."""


def _names(if_none_match: str, etag: str) -> bool:
    """Whether a list of ETags, strong or weak, names this one."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or "*" in tags


def _range(header: str, size: int) -> tuple[int, int] | None:
    """
    The bytes `start <= i < end` that a Range header asks for, empty when there are none; None without one range.

    Anything but one range of bytes is ignored, which RFC 9110 allows: the whole file is an answer too.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(size - int(last), 0), size
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m ops.stack.trip_server", description="Serve trip files over HTTP.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    wanted = parser.parse_args()
    serve(wanted.folder, wanted.port)


if __name__ == "__main__":
    main()
