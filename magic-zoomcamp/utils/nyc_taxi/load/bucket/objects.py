"""Objects in a bucket: uploaded whole or not at all, replaced as a set, read by their ends."""

import random
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from threading import Event
from time import sleep
from typing import TypeVar

from google.api_core.exceptions import GoogleAPIError, NotFound, PreconditionFailed
from google.api_core.retry import Retry
from google.cloud.storage import Blob, Bucket
from requests import RequestException

from nyc_taxi.errors import CountsDisagree
from nyc_taxi.load.google import REQUEST_SECONDS, retry

T = TypeVar("T")
PARQUET = "application/vnd.apache.parquet"
CHUNK_BYTES = 8 << 20
"""A dropped line repeats a chunk of an upload, not the whole of it."""
AT_ONCE = 4
INCOMING = "_incoming"
"""Where a set of objects is uploaded before it takes its place; no reader's wildcard matches it."""
ABANDONED = timedelta(days=1)
ATTEMPTS = 10


@dataclass(frozen=True)
class NewObject:
    """A local file and the object that it becomes."""

    path: Path
    name: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Shown by every tool beside the object: what is in it, and from which trip file."""


@contextmanager
def scratch_folder(near: Path) -> Iterator[Path]:
    """A folder beside a staged file to make objects in; emptied at the end, and what killed runs left with it."""
    parent = near.parent / "exports"
    parent.mkdir(exist_ok=True)
    for left in parent.iterdir():
        with suppress(FileNotFoundError):
            if left.stat().st_mtime < datetime.now(UTC).timestamp() - ABANDONED.total_seconds():
                rmtree(left, ignore_errors=True)
    folder = Path(mkdtemp(dir=parent))
    try:
        yield folder
    finally:
        rmtree(folder, ignore_errors=True)


def upload(bucket: Bucket, new: NewObject) -> None:
    """Write one object: readers see the old one until every byte of the new one has arrived with the right checksum."""
    blob = bucket.blob(new.name, chunk_size=CHUNK_BYTES)
    blob.metadata = dict(new.metadata)
    blob.upload_from_filename(
        str(new.path), content_type=PARQUET, checksum="crc32c", timeout=REQUEST_SECONDS, retry=retry()
    )


def listing(bucket: Bucket, pattern: str) -> dict[str, Blob]:
    """The objects whose names match a pattern in which * stands for anything but a slash."""
    found = bucket.list_blobs(
        prefix=pattern.partition("*")[0], match_glob=pattern, timeout=REQUEST_SECONDS, retry=retry()
    )
    return {blob.name: blob for blob in found}


def replace_set(bucket: Bucket, news: Sequence[NewObject], pattern: str, version: str) -> None:
    """
    Make the objects that match the pattern exactly the new ones.

    All are uploaded to a folder of their own first; then the service itself copies them into place and the stale ones
    go: whatever stops the upload leaves the old set. Two runs at once end as one of them, for each looks again after
    its last change, and the last to look has found nothing but its own.

    Args:
        bucket: where they are.
        news: the whole new set; every name matches the pattern.
        pattern: matches these names and no other set's.
        version: names the content; kept with each object as metadata.

    Raises CountsDisagree when another run keeps writing the same set.
    """
    folder = f"{INCOMING}/{pattern.replace('*', '_')}"
    _forget_abandoned(bucket, folder)
    incoming = [
        NewObject(new.path, f"{folder}/{uuid.uuid4().hex}", {**new.metadata, "version": version}) for new in news
    ]
    uploaded = [bucket.blob(new.name) for new in incoming]
    try:
        _at_once(lambda new: upload(bucket, new), incoming)
        _put_in_place(bucket, incoming, news, pattern, version)
    except BaseException:
        # Asked once only: the first error counts, and a service that is gone must not be waited for twice.
        with suppress(GoogleAPIError, RequestException):
            _at_once(lambda blob: _remove(bucket, [blob], None), uploaded)
        raise
    _at_once(lambda blob: _remove(bucket, [blob], retry()), uploaded)


def tail(blob: Blob, size: int) -> bytes:
    """The last bytes of an object, at most `size`; the object's size must be known."""
    if not blob.size:
        return b""  # the service refuses every range of an empty object
    content: bytes = blob.download_as_bytes(
        start=max(0, blob.size - size), timeout=REQUEST_SECONDS, retry=retry(), checksum=None
    )
    return content


def _put_in_place(
    bucket: Bucket, incoming: Sequence[NewObject], news: Sequence[NewObject], pattern: str, version: str
) -> None:
    names = {new.name for new in news}
    for attempt in range(1, ATTEMPTS + 1):
        _at_once(lambda pair: _copy(bucket, *pair), zip(incoming, news, strict=True))
        _remove(bucket, [blob for name, blob in listing(bucket, pattern).items() if name not in names], retry())
        now = listing(bucket, pattern)
        if now.keys() == names and all((blob.metadata or {}).get("version") == version for blob in now.values()):
            return
        print(f"{pattern} is being written by another run ({attempt} of {ATTEMPTS})", flush=True)
        sleep(random.uniform(0.2, 2.0))
    raise CountsDisagree(f"gs://{bucket.name}/{pattern} is written by another run again and again: end one of the two")


def _copy(bucket: Bucket, source: NewObject, new: NewObject) -> None:
    target, token = bucket.blob(new.name), None
    # Said again: the client always sends a resource, and the service then takes nothing over from the source.
    target.metadata, target.content_type = dict(source.metadata), PARQUET
    while True:
        token, _, _ = target.rewrite(bucket.blob(source.name), token=token, timeout=REQUEST_SECONDS, retry=retry())
        if token is None:
            return


def _remove(bucket: Bucket, blobs: Iterable[Blob], patience: Retry | None) -> None:
    """Delete objects as they were listed; one that another run deleted or wrote since is left to it."""
    for blob in blobs:
        with suppress(NotFound, PreconditionFailed):
            bucket.delete_blob(blob.name, if_generation_match=blob.generation, timeout=REQUEST_SECONDS, retry=patience)


def _forget_abandoned(bucket: Bucket, folder: str) -> None:
    old = datetime.now(UTC) - ABANDONED
    left = bucket.list_blobs(prefix=f"{folder}/", timeout=REQUEST_SECONDS, retry=retry())
    _remove(bucket, [blob for blob in left if blob.time_created < old], retry())


def _at_once(work: Callable[[T], None], items: Iterable[T]) -> None:
    """Do the same with every item, some at a time: each waits for the service, not for this machine."""
    failed = Event()

    def unless_failed(item: T) -> None:
        if failed.is_set():
            return
        try:
            work(item)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(unless_failed, items))
