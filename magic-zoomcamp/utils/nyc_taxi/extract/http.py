"""Requests to an origin: retried, with no redirect to a foreign host."""

from collections.abc import Callable
from time import sleep
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import requests

from nyc_taxi.errors import DownloadFailed, NotATripFile, NotPublished

T = TypeVar("T")

CHUNK_BYTES = 1 << 20
SMALL_FILE_BYTES = 1 << 20
"""What `fetch_if_changed` takes into memory at most."""
TIMEOUT_SECONDS = (10, 60)
"""To connect, and between two pieces of data."""
ATTEMPTS = 5
REDIRECTS = 5
DELIVERS = {"github.com": ".githubusercontent.com"}
"""Hosts that send their files from hosts of another name."""
NOT_THERE = (403, 404, 410)
"""TLC's own origin answers 403 for a file that does not exist."""


def fetch_if_changed(url: str, etag: str) -> tuple[bytes, str] | None:
    """
    A small file and its ETag in one request; None when the origin says that it is still the one of the given ETag.

    Raises NotPublished without such a file, NotATripFile for one of more than a megabyte, DownloadFailed without an
    answer.
    """

    def fetch() -> tuple[bytes, str] | None:
        with request("GET", url, **({"If-None-Match": etag} if etag else {})) as answer:
            if answer.status_code == 304:
                return None
            if answer.status_code in NOT_THERE:
                raise NotPublished(f"{url} is not published (answer {answer.status_code}): check the base URL")
            if answer.status_code != 200:
                raise DownloadFailed(f"{url} answered {answer.status_code}: check the base URL")
            content = bytearray()
            for chunk in answer.iter_content(CHUNK_BYTES):
                content += chunk
                if len(content) > SMALL_FILE_BYTES:
                    raise NotATripFile(f"{url} sends more than {SMALL_FILE_BYTES:,} bytes: check the base URL")
            return bytes(content), answer.headers.get("ETag", "")

    return with_retries(url, fetch)


def request(method: str, url: str, **headers: str) -> requests.Response:
    """
    The answer, its body not read yet, after redirects to the same host or the one that delivers for it.

    Raises DownloadFailed for other redirects, requests.ConnectionError for an answer that is worth another attempt.
    """
    # "identity": a server that compresses on the fly would change the size and make Range meaningless.
    headers["Accept-Encoding"] = "identity"
    for _ in range(REDIRECTS):
        answer = requests.request(
            method, url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS, allow_redirects=False
        )
        if not answer.is_redirect:
            break
        answer.close()
        url = redirected(url, answer.headers["Location"])
    else:
        raise DownloadFailed(f"{url}: more than {REDIRECTS} redirects; check the base URL")
    if answer.status_code >= 500 or answer.status_code == 429:
        answer.close()
        raise requests.ConnectionError(f"the server answered {answer.status_code}")
    return answer


def redirected(url: str, location: str) -> str:
    """The address to go on with; DownloadFailed when it is another host's: it could be one that only we can reach."""
    target = urljoin(url, location)
    old, new = urlsplit(url), urlsplit(target)
    host, delivers = str(new.hostname), DELIVERS.get(str(old.hostname))
    same = (old.scheme, old.netloc) == (new.scheme, new.netloc)
    if not same and not (
        new.scheme == "https" and (host == old.hostname or (delivers is not None and host.endswith(delivers)))
    ):
        raise DownloadFailed(f"{url} redirects to {new.scheme}://{new.netloc}: if you trust it, make it the base URL")
    return target


def with_retries(url: str, action: Callable[[], T]) -> T:
    """Call the action until it succeeds, waiting 1, 2, 4, 8 seconds after failures of the line or the server."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except requests.RequestException as error:
            if attempt == ATTEMPTS:
                raise DownloadFailed(
                    f"{url} could not be fetched in {ATTEMPTS} attempts ({_cause(error)}): "
                    f"check the network and the base URL"
                ) from None
            print(f"{url}: {_cause(error)}; attempt {attempt + 1} of {ATTEMPTS} follows", flush=True)
            sleep(2 ** (attempt - 1))
    raise AssertionError("unreachable")


def _cause(error: BaseException) -> str:
    """The innermost cause of a network error, without the wrapping of three libraries."""
    while error.args and isinstance(error.args[-1], BaseException):
        error = error.args[-1]
    reason = getattr(error, "reason", None)
    return _cause(reason) if isinstance(reason, BaseException) else str(error) or type(error).__name__
