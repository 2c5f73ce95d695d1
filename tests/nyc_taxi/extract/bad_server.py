"""An origin that misbehaves as told: error pages, lines that break, files that change, silence."""

import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

PIECE = 1_000


@dataclass(frozen=True)
class Answer:
    """How one request is answered."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    announced: int | None = None
    """Content-Length, if it is not that of the body; -1 for none at all."""
    cut: int | None = None
    """Hang up after so many bytes of the body."""
    pause: float = 0
    """Seconds before each piece of 1,000 bytes."""
    silent: bool = False
    """Take the request and never answer."""
    ranged: bool = False
    """Answer a Range request with that part of the body and 206."""
    chunked: int = 0
    """Send the body in chunks of this size, as a server does that does not know the length."""


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]


class BadServer:
    """
    Answers HEAD and GET from two lists, one entry per request and the last one again and again.

    Without `heads`, a HEAD is answered like the first GET, without its faults.
    """

    def __init__(self, gets: Sequence[Answer], heads: Sequence[Answer] = (), tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        plain = Answer(gets[0].status, gets[0].body, gets[0].headers)
        self.answers = {"GET": list(gets), "HEAD": list(heads) or [plain]}
        self.asked: list[Asked] = []
        self.sent = 0
        """Bytes of bodies that went out."""
        self.over = threading.Event()

    def answer(self, method: str) -> Answer:
        """The next answer to this method."""
        left = self.answers[method]
        return left.pop(0) if len(left) > 1 else left[0]

    def count(self, method: str) -> int:
        """How many requests of this method came."""
        return sum(asked.method == method for asked in self.asked)

    @property
    def url(self) -> str:
        """http://127.0.0.1:port, or https://localhost:port."""
        at = "https://localhost" if self.tls else "http://127.0.0.1"
        return f"{at}:{self._server.server_port}"

    def __enter__(self) -> Self:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner.asked.append(Asked(self.command, self.path, dict(self.headers)))
                with suppress(ConnectionError):
                    self.reply(owner.answer(self.command))

            do_HEAD = do_GET

            def reply(self, answer: Answer) -> None:
                if answer.silent:
                    owner.over.wait(30)
                    self.close_connection = True
                    return
                status, body, headers = answer.status, answer.body, dict(answer.headers)
                asked = self.headers.get("Range", "")
                if answer.ranged and asked:
                    start = int(asked.removeprefix("bytes=").removesuffix("-"))
                    status, headers["Content-Range"] = 206, f"bytes {start}-{len(body) - 1}/{len(body)}"
                    body = body[start:]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if answer.chunked:
                    self.send_header("Transfer-Encoding", "chunked")
                elif answer.announced != -1:
                    announced = len(body) if answer.announced is None else answer.announced
                    self.send_header("Content-Length", str(announced))
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                if self.command == "GET":
                    self.send_body(answer, body if answer.cut is None else body[: answer.cut])

            def send_body(self, answer: Answer, body: bytes) -> None:
                size = answer.chunked or PIECE
                for start in range(0, len(body), size):
                    owner.over.wait(answer.pause)
                    piece = body[start : start + size]
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if answer.chunked else piece)
                    self.wfile.flush()
                    owner.sent += len(piece)
                if answer.chunked and answer.cut is None:
                    self.wfile.write(b"0\r\n\r\n")

            def log_message(self, format: str, *args: object) -> None:
                """Quiet: `asked` tells."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if self.tls:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
