"""Objects in a bucket: uploaded whole or not at all, replaced as a set, read by their ends."""

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from shutil import rmtree
from threading import Event
from time import sleep
from typing import TypeVar

from google.api_core.exceptions import GoogleAPIError, NotFound, PreconditionFailed
from google.cloud.storage import Blob, Bucket
from requests import RequestException

from nyc_taxi.errors import CountsDisagree, TargetUnavailable
from nyc_taxi.files import writing_to
from nyc_taxi.google import REQUEST_SECONDS, retry
from nyc_taxi.load.bucket.runs import is_dead, own_name
from nyc_taxi.space import in_use

T = TypeVar("T")
PARQUET = "application/vnd.apache.parquet"
CHUNK_BYTES = 8 << 20
"""A dropped line repeats a chunk of an upload, not the whole of it."""
AT_ONCE = 4
INCOMING = "_incoming"
"""Where a set of objects is uploaded before it takes its place; no reader's wildcard matches it."""
ABANDONED = timedelta(days=1)
ATTEMPTS = 10
NO_CONTEXT = nullcontext()


@dataclass(frozen=True)
class NewObject:
    """A local file and the object that it becomes."""

    path: Path
    name: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Shown by every tool beside the object: what is in it, and from which trip file."""


@contextmanager
def scratch_folder(near: Path) -> Iterator[Path]:
    """
    A folder beside a staged file to make objects in; emptied at the end, and what killed runs left with it.

    Raises StorageFull in the place of what a full disk makes the work in it raise.
    """
    folder = near.parent / "exports" / own_name()
    folder.mkdir(parents=True)
    day_ago = folder.stat().st_mtime - ABANDONED.total_seconds()  # by the disk's clock, which dates the others too
    for left in folder.parent.iterdir():
        with suppress(FileNotFoundError):
            if is_dead(left.name, old=left.stat().st_mtime < day_ago):
                rmtree(left, ignore_errors=True)
    try:
        with writing_to(folder.parent, full_only=True), in_use(near.parent, near.name[:7]):
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


def replace_set(
    bucket: Bucket,
    news: Sequence[NewObject],
    pattern: str,
    version: str,
    *,
    placing: AbstractContextManager[None] = NO_CONTEXT,
) -> None:
    """
    Put a set of objects in the place of all that match a pattern.

    They are uploaded under other names first, so that whatever interrupts an upload leaves the old set. Copying them
    into place, which the service does by itself, and removing what the new set no longer has is short; a reader in that
    moment can see objects of both. Two runs at once end as one of them: each looks again after its last change.

    Args:
        bucket: where they are.
        news: the whole new set; every name matches the pattern.
        pattern: matches these names and no other set's.
        version: names the content; kept with each object as metadata.
        placing: entered while they are put in place; an error that comes through it leaves objects of both sets.

    Raises CountsDisagree when another run keeps writing the same set, TargetUnavailable when another program wrote one.
    """
    refuse_foreign(bucket, listing(bucket, pattern).values())
    told = [NewObject(new.path, new.name, {**new.metadata, "version": version}) for new in news]
    with aside(bucket, told, pattern.replace("*", "_")) as incoming, placing:
        _put_in_place(bucket, incoming, news, pattern, version)


def refuse_foreign(bucket: Bucket, blobs: Iterable[Blob | None]) -> None:
    """Raise TargetUnavailable for an object that this project did not write; None stands for one that is not there."""
    for blob in blobs:
        if blob and "service" not in (blob.metadata or {}):
            raise TargetUnavailable(
                f"gs://{bucket.name}/{blob.name} was written by another program, and nothing was changed: move it, or "
                f"set GCS_BUCKET to another bucket, and run again"
            )


@contextmanager
def aside(bucket: Bucket, news: Sequence[NewObject], what: str) -> Iterator[list[NewObject]]:
    """Upload objects under names that no reader knows, in a folder named after what they are; removed at the end."""
    folder = f"{INCOMING}/{what}"
    incoming = [NewObject(new.path, f"{folder}/{own_name()}", new.metadata) for new in news]
    uploaded = [bucket.blob(new.name) for new in incoming]
    try:
        _at_once(lambda new: upload(bucket, new), incoming)
        _forget_dead(bucket, folder, {new.name for new in incoming})
        yield incoming
    except BaseException:
        # Asked once only: the first error counts, and a service that is gone must not be waited for twice.
        with suppress(GoogleAPIError, RequestException):
            _at_once(lambda blob: remove(bucket, [blob], once=True), uploaded)
        raise
    try:
        _at_once(lambda blob: remove(bucket, [blob]), uploaded)
    except (GoogleAPIError, RequestException) as error:
        print(f"gs://{bucket.name}/{folder}: left there, for the next run to remove [{error}]", flush=True)


def until_ours(what: str, change: Callable[[], None], is_ours: Callable[[], bool]) -> None:
    """
    Change several objects until all of them are one's own: another run that changes them too looks as well.

    The last of all changes is followed by a look of the run that made it: so they never stay of two runs.
    Raises CountsDisagree when another run keeps changing them.
    """
    for attempt in range(1, ATTEMPTS + 1):
        change()
        if is_ours():
            return
        print(f"{what} is being written by another run ({attempt} of {ATTEMPTS})", flush=True)
        sleep(random.uniform(0.2, 2.0))
    raise CountsDisagree(f"{what} is written by another run again and again: end one of the two")


def look_again(read: Callable[[], T]) -> T:
    """What several requests for one object read; from the beginning when it was replaced between two of them."""
    for _ in range(ATTEMPTS - 1):
        with suppress(NotFound):
            return read()
    return read()


def remove(bucket: Bucket, blobs: Iterable[Blob], *, once: bool = False) -> None:
    """Delete objects as they were seen, asking the service once or patiently; what others changed since stays."""
    patience = None if once else retry()
    for blob in blobs:
        with suppress(NotFound, PreconditionFailed):
            bucket.delete_blob(blob.name, if_generation_match=blob.generation, timeout=REQUEST_SECONDS, retry=patience)


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

    def change() -> None:
        _at_once(lambda pair: copy_object(bucket, *pair), zip(incoming, news, strict=True))
        remove(bucket, [blob for name, blob in listing(bucket, pattern).items() if name not in names])

    def is_ours() -> bool:
        now = listing(bucket, pattern)
        return now.keys() == names and all((blob.metadata or {}).get("version") == version for blob in now.values())

    until_ours(f"gs://{bucket.name}/{pattern}", change, is_ours)


def copy_object(bucket: Bucket, source: NewObject, new: NewObject) -> None:
    """Have the service copy an object of the bucket under the new name."""
    target, token = bucket.blob(new.name), None
    # Said again: the client always sends a resource, and the service then takes nothing over from the source.
    target.metadata, target.content_type = dict(source.metadata), PARQUET
    while True:
        token, _, _ = target.rewrite(bucket.blob(source.name), token=token, timeout=REQUEST_SECONDS, retry=retry())
        if token is None:
            return


def _forget_dead(bucket: Bucket, folder: str, own: Collection[str]) -> None:
    """Remove what killed runs left: at once where the process is known to be gone, else after a day."""
    left = [*bucket.list_blobs(prefix=f"{folder}/", timeout=REQUEST_SECONDS, retry=retry())]
    now = max((blob.time_created for blob in left if blob.name in own), default=None)  # by the service's clock
    others = [blob for blob in left if blob.name not in own]

    def is_left(blob: Blob) -> bool:
        return is_dead(blob.name.rpartition("/")[2], old=bool(now and blob.time_created < now - ABANDONED))

    remove(bucket, list(filter(is_left, others)))


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
