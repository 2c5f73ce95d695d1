"""
Google Cloud Storage on this machine: the pip package gcp-storage-emulator, with its weak parts replaced.

Run with the emulators' own Python (see `local/google.py`):  gcs.py FOLDER PORT

The package's routes, buckets, resources, globs and batches are used as they are. What objects are made of is ours:
requests are answered in threads; content goes from socket to file and from file to socket in blocks; an object changes
in one step, after its preconditions were checked, and survives SIGKILL at any moment. Objects are plain files in
FOLDER/.cloudstorage/BUCKET, so that the BigQuery stand-in, and a person, can read them there.

Limits: `a` and `a/b` cannot both be objects, as they could not be files; deleted objects cannot be restored; uploads
under way end with the server.
"""

import base64
import email.parser
import gzip
import hashlib
import json
import os
import re
import secrets
import shutil
import socketserver
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO, Self

import google_crc32c
from gcp_storage_emulator import server
from gcp_storage_emulator.exceptions import BadRequest, Conflict, NotFound
from gcp_storage_emulator.handlers import buckets, objects
from gcp_storage_emulator.storage import Storage

HOST = "127.0.0.1"
BLOCK = 1 << 20
PAGE = 1000
"""Objects in one page of a list, as in the real service."""

Resource = dict[str, Any]
Query = Mapping[str, list[str]]
RESUME_INCOMPLETE = 308
CLIENT_CLOSED_REQUEST = 499
_WITHOUT_BODY = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Refused(Exception):
    """An answer other than success: its status, and why."""

    def __init__(self, status: int, message: str, reason: str = "invalid") -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


# --- What comes in ----------------------------------------------------------------------------------------------------


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


# --- What is kept -----------------------------------------------------------------------------------------------------


@dataclass
class Session:
    """A resumable upload under way."""

    bucket: str
    resource: Resource
    content: Content
    lock: threading.Lock = field(default_factory=threading.Lock)


class Store(Storage):
    """
    Objects as files; what is known of them in memory and in a journal.

    The journal, FOLDER/objects.jsonl, gets a line before an object's file is renamed into place. A file's modification
    time is its object's generation, so that after a crash the right line is found: the last one of that generation.
    """

    def __init__(self, folder: Path) -> None:
        self.lock = threading.RLock()
        """Held while state changes, never while content comes or goes."""
        self.arriving = folder / "arriving"
        self.sessions: dict[str, Session] = {}
        self._journal_path = folder / "objects.jsonl"
        self._generation = 0
        shutil.rmtree(self.arriving, ignore_errors=True)
        self.arriving.mkdir(parents=True)
        super().__init__(data_dir=str(folder))
        self._journal = self._journal_path.open("ab", buffering=0)

    def find(self, bucket: str, name: str) -> Resource | None:
        """An object's resource."""
        found: Resource | None = self.objects.get(bucket, {}).get(name)
        return found

    def open(self, bucket: str, name: str, query: Query, method: str = "GET") -> tuple[Resource, BinaryIO]:
        """An object and its content, of the same generation whatever happens next."""
        with self.lock:
            found = self.checked(bucket, name, query, method)
            return found, self.path(bucket, name).open("rb")

    def checked(self, bucket: str, name: str, query: Query, method: str = "") -> Resource:
        """An object that exists and meets the conditions of the query."""
        with self.lock:
            found = self.find(bucket, name)
            if found is None or query.get("generation", [found["generation"]]) != [found["generation"]]:
                raise Refused(HTTPStatus.NOT_FOUND, f"No such object: {bucket}/{name}", "notFound")
            check(query, found, method=method)
            return found

    def put(self, content: Content, bucket: str, resource: Resource, query: Query) -> Resource:
        """Make `content` the object, in one step, if the conditions of the query hold."""
        content.flush()
        name = resource["name"]
        with self.lock:
            if bucket not in self.buckets:
                raise Refused(HTTPStatus.NOT_FOUND, f"The specified bucket does not exist: {bucket}", "notFound")
            check(query, self.find(bucket, name))
            generation = self._next_generation()
            resource |= {
                "generation": str(generation),
                "metageneration": "1",
                "id": f"{bucket}/{name}/{generation}",
                "etag": base64.b64encode(str(generation).encode()).decode(),
                "size": str(content.size),
            }
            resource["mediaLink"] = re.sub(r"generation=\d+", f"generation={generation}", resource["mediaLink"])
            path = self.path(bucket, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.utime(content.path, ns=(generation * 1000, generation * 1000))
            self._note(bucket, name, resource)
            os.replace(content.path, path)
            self.objects.setdefault(bucket, {})[name] = resource
            return resource

    def patch_object(self, bucket_name: str, file_name: str, file_obj: Resource) -> None:
        """Replace what is said of an object."""
        self._note(bucket_name, file_name, file_obj)
        self.objects[bucket_name][file_name] = file_obj

    def delete_file(self, bucket_name: str, file_name: str) -> None:
        """Delete an object for good."""
        with self.lock:
            if self.find(bucket_name, file_name) is None:
                raise NotFound
            self._note(bucket_name, file_name, None)
            del self.objects[bucket_name][file_name]
            self._remove(bucket_name, file_name)

    def path(self, bucket: str, name: str) -> Path:
        """Where an object's content is: under its own name, if that is one that a file can have."""
        parts = name.split("/")
        plain = all(part not in {"", ".", ".."} and len(part.encode()) < 250 for part in parts)
        if not plain or "\0" in name or "\\" in name:
            # No bucket's name begins with an underscore.
            return self.root / "_other" / bucket / hashlib.sha256(name.encode()).hexdigest()
        return self.root.joinpath(bucket, *parts)

    @property
    def root(self) -> Path:
        """The folder of the buckets."""
        return Path(self._data_dir) / ".cloudstorage"

    def _remove(self, bucket: str, name: str) -> None:
        path = self.path(bucket, name)
        path.unlink(missing_ok=True)
        # Folders that are empty now would be in the way of an object of their name.
        for parent in path.parents:
            if parent.parent in {self.root, self.root / "_other"}:
                return
            try:
                parent.rmdir()
            except OSError:
                return

    def _next_generation(self) -> int:
        """Microseconds since 1970, as in the real service; no two are the same."""
        self._generation = max(self._generation + 1, time.time_ns() // 1000)
        return self._generation

    def _note(self, bucket: str, name: str, resource: Resource | None) -> None:
        self._journal.write(_line(bucket, name, resource))

    def _write_config_to_file(self) -> None:
        """Write what is known of buckets, which is little; the package would write all objects too, at every change."""
        known = {"buckets": self.buckets, "bucket_iam_policies": self.bucket_iam_policies}
        _replace(self.root / ".meta", json.dumps(known).encode())

    def _read_config_from_file(self) -> None:
        self.buckets: dict[str, Resource] = {}
        self.bucket_iam_policies: dict[str, Resource] = {}
        self.resumable: dict[str, Resource] = {}
        self.soft_deleted: dict[str, Resource] = {}
        self.objects: dict[str, dict[str, Resource]] = {}
        with suppress(FileNotFoundError):
            known = json.loads((self.root / ".meta").read_bytes())
            self.buckets, self.bucket_iam_policies = known["buckets"], known["bucket_iam_policies"]
        self._replay()

    def _replay(self) -> None:
        """Read the journal and write it anew, without what is over."""
        history: dict[tuple[str, str], list[Resource | None]] = {}
        with suppress(FileNotFoundError), self._journal_path.open("rb") as journal:
            for line in journal:
                with suppress(ValueError):  # a line that SIGKILL cut: its change had not happened yet
                    bucket, name, resource = json.loads(line)
                    history.setdefault((bucket, name), []).append(resource)
        live = []
        for (bucket, name), resources in history.items():
            if (resource := self._true_one(bucket, name, resources)) is not None:
                self.objects.setdefault(bucket, {})[name] = resource
                self._generation = max(self._generation, int(resource["generation"]))
                live.append(_line(bucket, name, resource))
        _replace(self._journal_path, b"".join(live))

    def _true_one(self, bucket: str, name: str, resources: list[Resource | None]) -> Resource | None:
        """The last resource that speaks of the file that is there; None, and no file, if it was deleted."""
        if bucket not in self.buckets or resources[-1] is None:
            self._remove(bucket, name)
            return None
        try:
            generation = self.path(bucket, name).stat().st_mtime_ns // 1000
        except OSError:
            return None
        return next((r for r in reversed(resources) if r and r["generation"] == str(generation)), None)


def _line(bucket: str, name: str, resource: Resource | None) -> bytes:
    return json.dumps([bucket, name, resource]).encode() + b"\n"


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f"{path.name}.new")
    new.parent.mkdir(parents=True, exist_ok=True)
    new.write_bytes(content)
    os.replace(new, path)


def check(query: Query, current: Resource | None, prefix: str = "if", method: str = "") -> None:
    """Refuse a request whose preconditions the current object, or its absence, does not meet."""
    for of in ("generation", "metageneration"):
        actual = current[of] if current else "0"
        wanted = query.get(f"{prefix}{of.title()}Match", [actual])
        unwanted = query.get(f"{prefix}{of.title()}NotMatch", [])
        if wanted != [actual]:
            raise Refused(HTTPStatus.PRECONDITION_FAILED, f"{of} is {actual}, not {wanted[0]}", "conditionNotMet")
        if unwanted == [actual]:
            status = HTTPStatus.NOT_MODIFIED if method == "GET" else HTTPStatus.PRECONDITION_FAILED
            raise Refused(status, f"{of} is {actual}", "conditionNotMet")


def agree(digests: Mapping[str, str], *claims: Mapping[str, Any]) -> None:
    """Refuse content that is not what the client meant to send."""
    for claim in claims:
        for name, digest in digests.items():
            if claim.get(name) not in (None, digest):
                raise Refused(HTTPStatus.BAD_REQUEST, f"{name} is {digest}, not the {claim[name]} that was announced")


# --- What is answered -------------------------------------------------------------------------------------------------


def new_resource(request: Request, bucket: str, name: str, kind: str | None, metadata: Resource) -> Resource:
    """A resource as the package makes it; digests, size and generation are filled in when the content is there."""
    stated = {key: value for key, value in metadata.items() if key not in {"md5Hash", "crc32c"}}
    kind = stated.get("contentType") or kind or "application/octet-stream"
    resource: Resource = objects._make_object_resource(request.base_url, bucket, name, kind, "0", stated)
    return resource


def claimed(request: Request, metadata: Resource) -> list[Mapping[str, Any]]:
    """Digests that a client announces: in the metadata, or in a header."""
    header = dict(part.strip().split("=", 1) for part in request.headers.get("X-Goog-Hash", "").split(",") if part)
    return [metadata, {"crc32c": header.get("crc32c"), "md5Hash": header.get("md5")}]


def insert(request: Request, response: Response, store: Store) -> None:
    """Upload in one request, or begin a resumable upload."""
    kind, bucket = request.first("uploadType"), request.params["bucket_name"]
    if kind == "resumable" and request.first("upload_id"):
        add_chunk(request, response, store)
    elif kind == "resumable":
        begin(request, response, store)
    elif kind in ("media", "multipart"):
        blocks: Iterable[bytes]
        metadata, content_type, blocks = {}, request.headers.get("Content-Type"), request.incoming
        if kind == "multipart":
            metadata, content_type, blocks = multipart(request)
        name = request.first("name") or metadata.get("name")
        if not name:
            raise BadRequest("an object needs a name")
        resource = new_resource(request, bucket, name, content_type, metadata)
        response.json(keep(request, store, bucket, resource, blocks, metadata))
    else:
        raise BadRequest("uploadType is media, multipart or resumable")


def xml_upload(request: Request, response: Response, store: Store) -> None:
    """Upload by PUT /BUCKET/OBJECT."""
    bucket, name = request.name()
    resource = new_resource(request, bucket, name, request.headers.get("Content-Type"), {})
    keep(request, store, bucket, resource, request.incoming, {})


def keep(
    request: Request, store: Store, bucket: str, resource: Resource, blocks: Iterable[bytes], metadata: Resource
) -> Resource:
    """Receive content and make it an object."""
    with Content(store.arriving) as content:
        digests = content.add(blocks).digests()
        agree(digests, *claimed(request, metadata))
        return store.put(content, bucket, resource | digests, request.query)


def begin(request: Request, response: Response, store: Store) -> None:
    """Begin a resumable upload; its address carries the query, and so the preconditions, along."""
    bucket, metadata = request.params["bucket_name"], request.data
    name = request.first("name") or metadata.get("name")
    if not name:
        raise BadRequest("an object needs a name")
    with store.lock:
        if bucket not in store.buckets:
            raise Refused(HTTPStatus.NOT_FOUND, f"The specified bucket does not exist: {bucket}", "notFound")
        check(request.query, store.find(bucket, name))
    resource = new_resource(request, bucket, name, request.headers.get("X-Upload-Content-Type"), metadata)
    resource |= {key: metadata.get(key) for key in ("md5Hash", "crc32c")}
    upload = secrets.token_urlsafe(24)
    store.sessions[upload] = Session(bucket, resource, Content(store.arriving))
    response["Location"] = f"{request.full_url}&upload_id={upload}"


def add_chunk(request: Request, response: Response, store: Store) -> None:
    """Take a part of a resumable upload, or say how far it has come; the last part makes the object."""
    session = store.sessions.get(request.first("upload_id") or "")
    if session is None:
        raise Refused(HTTPStatus.NOT_FOUND, "no such upload", "notFound")
    header = request.headers.get("Content-Range", "bytes 0-*/*")
    span = objects._parse_resumable_content_range(header)
    if span is None:
        raise BadRequest(f"Content-Range {header!r} is none")
    with session.lock:
        content, total = session.content, span["total"]
        if span["kind"] != "status":
            if span["start"] > content.size:
                raise BadRequest(f"Content-Range starts at {span['start']}, but only {content.size} bytes came so far")
            # A client that did not hear of our receipt sends again what we have.
            content.add(_skip(request.incoming, content.size - span["start"]))
            if span["kind"] == "star_end":
                total = content.size
        if total is None or content.size < total:
            response.status = RESUME_INCOMPLETE
            if content.size:
                response["Range"] = f"bytes=0-{content.size - 1}"
            return
        del store.sessions[request.first("upload_id") or ""]
        with content:
            digests = content.digests()
            agree(digests, *claimed(request, session.resource))
            response.json(store.put(content, session.bucket, session.resource | digests, request.query))


def _skip(blocks: Iterable[bytes], count: int) -> Iterator[bytes]:
    for block in blocks:
        yield block[count:]
        count = max(0, count - len(block))


def cancel(request: Request, response: Response, store: Store) -> None:
    """Give up a resumable upload."""
    session = store.sessions.pop(request.first("upload_id") or "", None)
    if session is None:
        raise Refused(HTTPStatus.NOT_FOUND, "no such upload", "notFound")
    with session.lock, session.content:
        response.refuse(CLIENT_CLOSED_REQUEST, "the upload was cancelled")


def get(request: Request, response: Response, store: Store) -> None:
    """What is known of an object, or with alt=media its content."""
    if request.first("alt") == "media":
        download(request, response, store)
    else:
        response.json(store.checked(*request.name(), request.query, "GET"))


def download(request: Request, response: Response, store: Store) -> None:
    """The content of an object, or a range of it."""
    found, file = store.open(*request.name(), request.query)
    response.file, size = file, int(found["size"])
    start, end = _range(request.headers.get("Range", ""), size)
    if start >= end and size:
        file.close()
        response.file = None
        response["Content-Range"] = f"bytes */{size}"
        raise Refused(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "no such bytes", "requestedRangeNotSatisfiable")
    response.start, response.length = start, end - start
    if end - start < size:
        response.status = HTTPStatus.PARTIAL_CONTENT
        response["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    else:
        # Of the whole: a client would compare it with the part that it reads.
        response["X-Goog-Hash"] = ",".join(
            f"{short}={found[name]}" for short, name in (("crc32c", "crc32c"), ("md5", "md5Hash")) if found.get(name)
        )
    head = {
        "Content-Type": found["contentType"],
        "Content-Encoding": found.get("contentEncoding"),
        "Content-Disposition": request.first("response-content-disposition") or found.get("contentDisposition"),
        "Cache-Control": found.get("cacheControl"),
        "ETag": found["etag"],
        "X-Goog-Generation": found["generation"],
        "X-Goog-Metageneration": found["metageneration"],
        "X-Goog-Storage-Class": found["storageClass"],
    } | {f"X-Goog-Meta-{key}": value for key, value in (found.get("metadata") or {}).items()}
    for name, value in head.items():
        if value:
            response[name] = value


def _range(header: str, size: int) -> tuple[int, int]:
    """The bytes `start <= i < end` that a Range header asks for; all when it asks for none."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return 0, size
    first, last = match.groups()
    if not first:
        return max(size - int(last), 0), size
    return int(first), min(int(last) + 1, size) if last else size


def ls(request: Request, response: Response, store: Store) -> None:
    """A page of a bucket's objects, and of the prefixes that a delimiter cuts, together in order."""
    start, end = request.first("startOffset") or "", request.first("endOffset")
    after = base64.urlsafe_b64decode(request.first("pageToken") or "").decode()
    size = min(int(request.first("maxResults") or PAGE), PAGE)
    with store.lock:
        asked = [request.first(name) for name in ("prefix", "delimiter", "matchGlob")]
        found, prefixes = store.get_file_list(request.params["bucket_name"], *asked)
    everything = sorted([(item["name"], item) for item in found] + [(prefix, None) for prefix in prefixes], key=_first)
    wanted = [(name, item) for name, item in everything if name > after and name >= start and (not end or name < end)]
    page = wanted[:size]
    answer: Resource = {
        "kind": "storage#objects",
        "items": [item for _, item in page if item],
        "prefixes": [name for name, item in page if item is None],
    }
    if len(wanted) > len(page):
        answer["nextPageToken"] = base64.urlsafe_b64encode(page[-1][0].encode()).decode()
    response.json(answer)


def _first(pair: tuple[str, object]) -> str:
    return pair[0]


def patch(request: Request, response: Response, store: Store) -> None:
    """Change what is said of an object: only the keys that are given, and of custom metadata too; null removes."""
    bucket, name = request.name()
    with store.lock:
        found = store.checked(bucket, name, request.query)
        stated = {key: value for key, value in request.data.items() if key in objects._WRITABLE_FIELDS}
        changed = _merged(found, stated) | {
            "metageneration": str(int(found["metageneration"]) + 1),
            "updated": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        store.patch_object(bucket, name, changed)
    response.json(changed)


def _merged(old: Resource, new: Resource) -> Resource:
    """As RFC 7396 has it."""
    merged = dict(old)
    for key, value in new.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(old.get(key), dict):
            merged[key] = _merged(old[key], value)
        else:
            merged[key] = value
    return merged


def delete(request: Request, response: Response, store: Store) -> None:
    """Delete an object."""
    with store.lock:
        store.checked(*request.name(), request.query)
        store.delete_file(*request.name())
    response.status = HTTPStatus.NO_CONTENT


def rewrite(request: Request, response: Response, store: Store) -> None:
    """Copy an object, in one call whatever its size."""
    made = _copied(request, store)
    size = {"totalBytesRewritten": made["size"], "objectSize": made["size"]}
    response.json({"kind": "storage#rewriteResponse", "done": True, "resource": made, **size})


def copy(request: Request, response: Response, store: Store) -> None:
    """Copy an object."""
    response.json(_copied(request, store))


def _copied(request: Request, store: Store) -> Resource:
    source = {"generation": request.query["sourceGeneration"]} if "sourceGeneration" in request.query else {}
    found, file = store.open(*request.name(), source)
    check(request.query, found, prefix="ifSource")
    bucket, name = request.name("dest_")
    # What the body says of the copy takes the place of all that was said of the source.
    stated = {key: value for key, value in request.data.items() if key in objects._WRITABLE_FIELDS}
    stated = stated or {key: found[key] for key in objects._WRITABLE_FIELDS if found.get(key)}
    resource = new_resource(request, bucket, name, found["contentType"], stated)
    with file:
        return keep(request, store, bucket, resource, _blocks(file), {})


def compose(request: Request, response: Response, store: Store) -> None:
    """Make one object of several, one after the other."""
    bucket, name = request.name()
    opened = [store.open(bucket, source["name"], {}) for source in request.data["sourceObjects"]]
    stated = request.data.get("destination") or {}
    resource = new_resource(request, bucket, name, opened[0][0]["contentType"], stated)
    blocks = (block for _, file in opened for block in _blocks(file))
    made = keep(request, store, bucket, resource | {"componentCount": len(opened)}, blocks, {})
    for _, file in opened:
        file.close()
    response.json(made)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(BLOCK):
        yield block


def insert_bucket(request: Request, response: Response, store: Store) -> None:
    """Make a bucket as it is asked for: the package would take its name only."""
    with store.lock:
        buckets.insert(request, response, store)
        if response.status == HTTPStatus.OK:
            made = store.buckets[request.data["name"]]
            made |= {key: value for key, value in request.data.items() if key in buckets._WRITABLE_BUCKET_FIELDS}
            store.create_bucket(made["name"], made)
            response.json(made)


def token(request: Request, response: Response, store: Store) -> None:
    """An OAuth token for whoever asks: nothing here looks at it."""
    response.json({"access_token": "local", "expires_in": 3600, "token_type": "Bearer"})


def health(request: Request, response: Response, store: Store) -> None:
    """That requests are answered."""
    response.json({"status": "ok"})


# --- The server -------------------------------------------------------------------------------------------------------

Answer = Callable[[Request, Response, Store], None]

OURS: dict[Callable[..., None], Answer] = {
    buckets.insert: insert_bucket,
    objects.insert: insert,
    objects.upload_partial: add_chunk,
    objects.xml_upload: xml_upload,
    objects.get: get,
    objects.download: download,
    objects.ls: ls,
    objects.patch: patch,
    objects.delete: delete,
    objects.copy: copy,
    objects.rewrite: rewrite,
    objects.compose: compose,
}
"""What takes the place of the package's own."""


def locked(answer: Answer) -> Answer:
    """One of the package's answers, which know no threads."""

    def answer_alone(request: Request, response: Response, store: Store) -> None:
        _ = request.data  # read before the lock is taken
        with store.lock:
            answer(request, response, store)

    return answer_alone


def routes() -> list[tuple[re.Pattern[str], dict[str, Answer]]]:
    """Paths and methods, the package's and ours."""
    found = [(re.compile("/token"), {"POST": token}), (re.compile("/healthz"), {"GET": health})]
    for pattern, methods in server.HANDLERS:
        answers = {method: OURS.get(answer) or locked(answer) for method, answer in methods.items()}
        if answers.get("PUT") is add_chunk:
            answers["DELETE"] = cancel
        if answers.get("PATCH") is patch:
            answers["PUT"] = patch
        found.append((re.compile(pattern), answers))
    return found


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    server_version = "gcs-stand-in"
    wbufsize = -1  # head and body in one packet
    disable_nagle_algorithm = True
    server: "Server"

    def _answer(self) -> None:
        request = Request(self, self.headers.get("X-HTTP-Method-Override") or self.command)
        response = Response(self)
        try:
            self._route(request, response)
            for _ in request.incoming:  # what nobody read is not the next request
                pass
            response.close()
        except ConnectionError:
            self.close_connection = True  # the client left in the middle, as clients do

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def _route(self, request: Request, response: Response) -> None:
        try:
            answer = self.server.find(request)
            answer(request, response, self.server.store)
        except ConnectionError:
            raise
        except Refused as refused:
            response.refuse(refused.status, str(refused), refused.reason)
        except NotFound as error:
            response.refuse(HTTPStatus.NOT_FOUND, str(error) or "not found", "notFound")
        except Exception as error:  # noqa: BLE001  # Google's clients repeat a request for minutes after a 5xx
            if not isinstance(error, BadRequest | Conflict):
                traceback.print_exc()
            response.refuse(HTTPStatus.BAD_REQUEST, f"{type(error).__name__}: {error}")

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: the log is for what goes wrong."""


class Server(ThreadingHTTPServer):
    """Listens on 127.0.0.1."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, store: Store) -> None:
        self.store = store
        self._routes = routes()
        super().__init__((HOST, port), Handler)

    def server_bind(self) -> None:
        """Without the look-up of our own name, which can wait for a name server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def find(self, request: Request) -> Answer:
        """Who answers a request."""
        for pattern, answers in self._routes:
            if match := pattern.fullmatch(request.path):
                request.set_match(match)
                if answer := answers.get(request.method):
                    return answer
                break
        raise Refused(HTTPStatus.NOT_IMPLEMENTED, f"the stand-in does not know {request.method} {request.path}")


def main() -> None:
    """Read the command line and serve until a signal ends the process, which may be any: nothing is lost."""
    folder, port = sys.argv[1:]
    Server(int(port), Store(Path(folder).resolve())).serve_forever()


if __name__ == "__main__":
    main()
