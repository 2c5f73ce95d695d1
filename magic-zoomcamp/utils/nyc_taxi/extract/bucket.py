"""Trip files that lie in a bucket, as they were published: found, and read from any byte on."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

import google_crc32c
import requests
from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound, PreconditionFailed, Unauthorized
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage import Blob

from nyc_taxi.errors import DownloadFailed, shortened
from nyc_taxi.extract.http import OtherVersion, shown
from nyc_taxi.google import REQUEST_SECONDS, retry, storage_client
from nyc_taxi.settings import GoogleSettings

CHUNK_BYTES = 8 << 20
"""Fetched by one request: what a line that breaks costs."""


class Found(NamedTuple):
    """What the bucket says of an object."""

    generation: str
    """Another one whenever the object is written."""
    bytes: int
    crc32c: str
    """In base64."""


def find_object(url: str, settings: GoogleSettings) -> Found | None:
    """The object of a gs:// address, None if there is none; DownloadFailed without an answer, or without the right."""
    blob = _blob(url, settings)
    with _explained(url):
        try:
            blob.reload(timeout=REQUEST_SECONDS, retry=retry())
        except NotFound:
            return None
    return Found(str(blob.generation), cast(int, blob.size), cast(str, blob.crc32c))


def read_object(url: str, generation: str, start: int, settings: GoogleSettings) -> Iterator[bytes]:
    """The bytes of that generation of the object from `start` on; OtherVersion when it was replaced meanwhile."""
    blob = _blob(url, settings)
    # Raw: what is kept packed arrives packed, so that sizes, ranges and the checksum are those of the object.
    with (
        _explained(url),
        blob.open(
            "rb",
            chunk_size=CHUNK_BYTES,
            if_generation_match=int(generation),
            raw_download=True,
            timeout=REQUEST_SECONDS,
            retry=retry(),
        ) as source,
    ):
        source.seek(start)
        while chunk := source.read(CHUNK_BYTES):
            yield chunk


def crc32c_of(path: Path) -> str:
    """The checksum of a file as Cloud Storage writes it."""
    checksum = google_crc32c.Checksum()
    with path.open("rb") as file:
        while block := file.read(CHUNK_BYTES):
            checksum.update(block)
    return base64.b64encode(checksum.digest()).decode()


def _blob(url: str, settings: GoogleSettings) -> Blob:
    bucket, _, name = url.removeprefix("gs://").partition("/")
    return storage_client(settings).bucket(bucket).blob(name)


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """DownloadFailed, with what to do, in the place of the client's errors."""
    try:
        yield
    except (NotFound, PreconditionFailed):
        raise OtherVersion(url) from None
    except (Forbidden, Unauthorized, GoogleAuthError) as error:
        raise DownloadFailed(
            f"{shown(url)} may not be read: grant the account roles/storage.objectViewer on the bucket, or check "
            f"GOOGLE_APPLICATION_CREDENTIALS ({shortened(str(error), 60)})"
        ) from None
    except (GoogleAPIError, requests.RequestException) as error:
        raise DownloadFailed(
            f"{shown(url)} cannot be read now: check the network and the address, and run again "
            f"({shortened(str(error), 80)})"
        ) from None
