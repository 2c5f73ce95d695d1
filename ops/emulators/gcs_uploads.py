"""How content comes into the Cloud Storage emulator: at once, in parts, or by PUT; whole and as announced, or not."""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from gcp_storage_emulator.exceptions import BadRequest
from gcp_storage_emulator.handlers import objects

from ops.emulators.gcs_requests import Content, Refused, Request, Resource, Response, multipart
from ops.emulators.gcs_store import Session, Store, check

RESUME_INCOMPLETE = 308
CLIENT_CLOSED_REQUEST = 499


def new_resource(request: Request, bucket: str, name: str, kind: str | None, metadata: Resource) -> Resource:
    """A resource as the package makes it; digests, size and generation are filled in when the content is there."""
    stated = {key: value for key, value in metadata.items() if key not in {"md5Hash", "crc32c"}}
    kind = stated.get("contentType") or kind or "application/octet-stream"
    resource: Resource = objects._make_object_resource(request.base_url, bucket, name, kind, "0", stated)
    # It would name a port that may be another one tomorrow; without it, clients build the address themselves.
    del resource["mediaLink"]
    return resource


def agree(digests: Mapping[str, str], *claims: Mapping[str, Any]) -> None:
    """Refuse content that is not what the client meant to send."""
    for claim in claims:
        for name, digest in digests.items():
            if claim.get(name) not in (None, digest):
                raise Refused(HTTPStatus.BAD_REQUEST, f"{name} is {digest}, not the {claim[name]} that was announced")


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
        metadata: Resource = {}
        blocks: Iterable[bytes] = request.incoming
        content_type = request.headers.get("Content-Type")
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
