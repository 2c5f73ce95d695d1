"""What comes in and goes out of the Cloud Storage emulator: bodies in blocks, errors in Google's form."""

import base64
import email.parser
import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, BinaryIO, Self

import google_crc32c
from gcp_storage_emulator import server
from gcp_storage_emulator.exceptions import BadRequest

BLOCK = 1 << 20
Resource = dict[str, Any]
"""What is said of a bucket or an object, as in Google's JSON."""

_WITHOUT_BODY = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}


class Refused(Exception):
    """An answer other than success: its status, and why."""

    def __init__(self, status: int, message: str, reason: str = "invalid") -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


class Incoming:
    """The body of a request, read once, in blocks."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self._file = handler.rfile
        self._chunked = "chunked" in handler.headers.get("Transfer-Encoding", "").lower()
        self._left = 0 if self._chunked else int(handler.headers.get("Content-Length") or 0)
        self._ended = not self._chunked and not self._left

    def __iter__(self) -> Iterator[bytes]:
        while block := self._read():
            yield block

    def _read(self) -> bytes:
        """Up to BLOCK bytes, none at the end; ConnectionAbortedError when the client left before it."""
        if self._ended:
            return b""
        if not self._left:
            self._left = int(self._line().split(b";")[0], 16)
        block = self._file.read(min(BLOCK, self._left)) if self._left else b""
        if self._left and not block:
            raise ConnectionAbortedError("the client left in the middle of a body")
        self._left -= len(block)
        if self._chunked and not self._left:
            self._line()  # what ends a chunk, and the last one too
        self._ended = not self._left and (not self._chunked or not block)
        return block

    def _line(self) -> bytes:
        line = self._file.readline(1024)
        if not line:
            raise ConnectionAbortedError("the client left in the middle of a body")
        return line.strip()


class Content:
    """Bytes on their way into an object: in a file of their own, hashed as they arrive."""

    def __init__(self, folder: Path) -> None:
        handle, name = tempfile.mkstemp(dir=folder)
        self._file = os.fdopen(handle, "wb")
        self.path = Path(name)
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc32c = google_crc32c.Checksum()

    def add(self, blocks: Iterable[bytes]) -> Self:
        """Append; on an error what came before it stays."""
        for block in blocks:
            self._file.write(block)
            self._md5.update(block)
            self._crc32c.update(block)
            self.size += len(block)
        return self

    def digests(self) -> dict[str, str]:
        """As an object's resource has them."""
        found = {"md5Hash": self._md5.digest(), "crc32c": self._crc32c.digest()}
        return {name: base64.b64encode(digest).decode() for name, digest in found.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the file, unless it has become an object's."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def flush(self) -> None:
        """Hand what is buffered to the operating system."""
        self._file.flush()


def multipart(request: "Request") -> tuple[Resource, str, Iterator[bytes]]:
    """Metadata, content type and content of a multipart/related upload, the content in blocks."""
    boundary = (request.headers.get_boundary() or "").encode()
    blocks, head = iter(request.incoming), b""
    while len(parts := head.split(b"\r\n\r\n", 2)) < 3:
        block = next(blocks, b"")
        if not block:
            raise BadRequest("a multipart upload has two parts: metadata, then content")
        head += block
    metadata, _, headers = parts[1].partition(b"\r\n--" + boundary)
    part = email.parser.BytesParser().parsebytes(headers.lstrip() + b"\r\n\r\n")
    return json.loads(metadata), part.get_content_type(), _until(b"\r\n--" + boundary + b"--", parts[2], blocks)


def _until(end: bytes, first: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The bytes before the last `end`, which stands in the last few of all."""
    kept = len(end) + 8
    pending = first
    for block in blocks:
        pending += block
        yield pending[:-kept]
        pending = pending[-kept:]
    # The first block may be the only one, so that all of the content is still here.
    content, found, _ = pending.rpartition(end)
    if not found:
        raise BadRequest("the multipart upload does not end with its boundary")
    yield content


class Request(server.Request):
    """The package's request; its body is read when it is asked for, and only by us."""

    def __init__(self, handler: BaseHTTPRequestHandler, method: str) -> None:
        super().__init__(handler, method)
        self.headers = handler.headers
        self.incoming = Incoming(handler)
        self._value: Any = None

    @property
    def data(self) -> Any:
        """The body as the package's handlers expect it: JSON, or the requests of a batch."""
        if self._value is None:
            raw = b"".join(self.incoming)
            if self.headers.get("Content-Encoding") == "gzip":
                raw = gzip.decompress(raw)
            kind = self.headers.get("Content-Type", "")
            if kind.startswith("multipart/mixed"):
                message = email.parser.BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + raw)
                self._value = [server._parse_batch_item(item) for item in message.get_payload()]
            else:
                self._value = json.loads(raw) if raw.strip() else {}
        return self._value

    def first(self, name: str) -> str | None:
        """A parameter of the query."""
        values = self.query.get(name)
        return values[0] if values else None

    def name(self, which: str = "") -> tuple[str, str]:
        """Bucket and object that the path names."""
        return self.params[f"{which}bucket_name"], self.params[f"{which}object_id"]


class Response(server.Response):
    """The package's response, and files that the kernel sends without a byte passing through Python."""

    file: BinaryIO | None = None
    start = length = 0

    def write(self, content: str) -> None:
        """Add to the body; the package's own warns at every call."""
        self._content += content

    def refuse(self, status: int, message: str, reason: str = "invalid") -> None:
        """Answer with an error in Google's form."""
        self.status = status
        detail = [{"domain": "global", "reason": reason, "message": message}]
        self.json({"error": {"code": int(status), "message": message, "errors": detail}})

    def close(self) -> None:
        """Send it."""
        if self.status >= HTTPStatus.BAD_REQUEST and not self._content:
            self.refuse(self.status, HTTPStatus(self.status).phrase)
        body = b"" if self.file or self.status in _WITHOUT_BODY else self._content.encode()
        if self.status not in _WITHOUT_BODY:
            self["Content-Length"] = str(self.length if self.file else len(body))
        self._handler.send_response(int(self.status))
        for name, value in self._headers.items():
            self._handler.send_header(name, value)
        self._handler.end_headers()
        self._handler.wfile.write(body)
        if self.file:
            with self.file as file:
                self._handler.wfile.flush()
                if self.length:
                    self._handler.connection.sendfile(file, self.start, self.length)
