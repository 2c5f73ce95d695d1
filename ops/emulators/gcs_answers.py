"""What the Cloud Storage emulator answers but to uploads, where the package's own answers will not do."""

import base64
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import BinaryIO

from gcp_storage_emulator.handlers import buckets, objects

from ops.emulators.gcs_requests import BLOCK, Refused, Request, Resource, Response
from ops.emulators.gcs_store import Store, check
from ops.emulators.gcs_uploads import keep, new_resource

PAGE = 1000
"""Objects in one page of a list, as in the real service."""

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


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


def get_bucket(request: Request, response: Response, store: Store) -> None:
    """A bucket's resource; its absence in the service's words, which the package leaves out."""
    name = request.params["bucket_name"]
    with store.lock:
        if name not in store.buckets:
            raise Refused(HTTPStatus.NOT_FOUND, f"The specified bucket does not exist: {name}", "notFound")
        response.json(store.buckets[name])


def token(request: Request, response: Response, store: Store) -> None:
    """An OAuth token for whoever asks: nothing here looks at it."""
    response.json({"access_token": "local", "expires_in": 3600, "token_type": "Bearer"})


def health(request: Request, response: Response, store: Store) -> None:
    """That requests are answered."""
    response.json({"status": "ok"})
