"""Requests to an origin: retried, with no redirect to a foreign host."""

import ssl
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic, sleep
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from nyc_taxi.errors import DownloadFailed, NotATripFile, NotPublished, TaxiError, shortened

T = TypeVar("T")

CHUNK_BYTES = 1 << 20
SMALL_FILE_BYTES = 1 << 20
"""What `fetch_if_changed` takes into memory at most."""
TIMEOUT_SECONDS = (10, 60)
"""To connect, and between two pieces of data."""
ATTEMPTS = 5
REDIRECTS = 5
WEAK = "W/"
"""Before an ETag that promises the same content, but not the same bytes."""
DELIVERS = {"github.com": ".githubusercontent.com"}
"""Hosts that send their files from hosts of another name."""
SLOW_SECONDS = 60.0
"""Over so long a line may be slow before it is given up."""
ADVANCED_BYTES = 1 << 20
"""An attempt that brings so much starts the count of attempts anew: a line may break as often as a file is long."""
LONGEST_PAUSE = 120.0
"""Seconds between two attempts, whatever a server asks for."""
NOT_THERE = (403, 404, 410)
"""TLC's own origin answers 403 for a file that does not exist, and to who asks too often."""


class OtherVersion(DownloadFailed):
    """What comes is not the version of the file that the origin named: ask it again which there is."""

    def __init__(self, url: str, why: str = "") -> None:
        """Say it of the file at the address, and why it is known."""
        super().__init__(f"{shown(url)} was replaced while it was fetched{f' ({why})' if why else ''}: run again")


class TooSlow(requests.ConnectionError):
    """A line that brings too little to wait for."""


class Passing(requests.ConnectionError):
    """An answer that is worth another attempt."""

    def __init__(self, why: str, answer: requests.Response | None = None, at_last: TaxiError | None = None) -> None:
        """`answer`: its Retry-After is heeded. `at_last`: raised when every attempt ended so."""
        super().__init__(why)
        self.pause = retry_after(answer) if answer is not None else 0.0
        self.at_last = at_last


def fetch_if_changed(url: str, etag: str, least: int) -> tuple[bytes, str] | None:
    """
    A small file and its ETag in one request; None when the origin says that it is still the one of the given ETag.

    `least`: bytes a second. Raises NotPublished without such a file, NotATripFile for one of more than a megabyte,
    DownloadFailed without an answer.
    """

    def fetch() -> tuple[bytes, str] | None:
        with request("GET", url, **({"If-None-Match": etag} if etag else {})) as answer:
            if answer.status_code == 304:
                return None
            if answer.status_code in NOT_THERE:
                often = ", or is asked for too often" if answer.status_code == 403 else ""
                raise NotPublished(
                    f"{shown(url)} is not published{often} (answer {answer.status_code}): check the base URL"
                )
            if answer.status_code != 200:
                raise DownloadFailed(f"{shown(url)} answered {answer.status_code}: check the base URL")
            content = bytearray()
            for chunk in fast_enough(pieces(answer, unpacked=True), least):
                content += chunk
                if len(content) > SMALL_FILE_BYTES:
                    raise NotATripFile(f"{shown(url)} sends more than {SMALL_FILE_BYTES:,} bytes: check the base URL")
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
        raise DownloadFailed(f"{shown(url)}: more than {REDIRECTS} redirects; check the base URL")
    if answer.status_code >= 500 or answer.status_code == 429:
        answer.close()
        why = f"the server answered {answer.status_code}"
        last = f"{shown(url)}: {why} in {ATTEMPTS} attempts: run again later, or check the base URL"
        raise Passing(why, answer, DownloadFailed(last))
    if answer.status_code == 407:
        raise DownloadFailed(f"{shown(url)}: the proxy asks for a name and a password: give them in HTTPS_PROXY")
    return answer


def retry_after(answer: requests.Response) -> float:
    """The seconds that an answer asks to wait, as a number or as a date; 0 where it asks for none that makes sense."""
    asked = answer.headers.get("Retry-After", "").strip()
    try:
        if asked.isdecimal():
            seconds = float(asked)
        else:
            seconds = (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):  # no date, or one without a zone
        return 0.0
    return min(max(seconds, 0.0), LONGEST_PAUSE)


def pieces(answer: requests.Response, *, unpacked: bool = False) -> Iterator[bytes]:
    """
    The body as it arrives: a line that breaks takes nothing with it that had come.

    `unpacked`: of a body that the server packed on its way; else its bytes are those on the line. Raises
    requests.ConnectionError when it breaks.
    """
    try:
        while piece := answer.raw.read1(CHUNK_BYTES, decode_content=unpacked):
            yield piece
    except HTTPError as error:
        raise requests.ConnectionError(error) from None


def fast_enough(came: Iterable[bytes], least: int) -> Iterator[bytes]:
    """The same pieces; TooSlow once fewer than `least` bytes a second came in SLOW_SECONDS."""
    began, size = monotonic(), 0
    for piece in came:
        yield piece
        size += len(piece)
        if (seconds := monotonic() - began) >= SLOW_SECONDS:
            if size < least * seconds:
                raise TooSlow(f"only {size / 1e3:,.1f} kB came in {seconds:.0f} s: the line is given up")
            began, size = monotonic(), 0


def is_of_version(answer: requests.Response, version: str) -> bool | None:
    """Whether an answer is of the version that `version_of` another one; None where it does not say."""
    said = answer.headers.get("ETag")
    return said.removeprefix(WEAK) == version.removeprefix(WEAK) if said and version else None


def version_of(answer: requests.Response) -> str:
    """What tells a file's versions apart: its ETag, empty without one. Its date does not: a copy may keep it."""
    return answer.headers.get("ETag") or ""


def shown(url: str) -> str:
    """An address as a message shows it."""
    return shortened(url, 110)


def redirected(url: str, location: str) -> str:
    """The address to go on with; DownloadFailed when it is another host's: it could be one that only we can reach."""
    target = urljoin(url, location)
    old, new = urlsplit(url), urlsplit(target)
    host, delivers = str(new.hostname), DELIVERS.get(str(old.hostname))
    same = (old.scheme, old.netloc) == (new.scheme, new.netloc)
    if not same and not (
        new.scheme == "https" and (host == old.hostname or (delivers is not None and host.endswith(delivers)))
    ):
        other = shortened(f"{new.scheme}://{new.netloc}", 80)
        raise DownloadFailed(f"{shown(url)} redirects to {other}: if you trust it, make it the base URL")
    return target


def with_retries(url: str, action: Callable[[], T], arrived: Callable[[], int] = lambda: 0) -> T:
    """
    Call the action until it succeeds, waiting 1, 2, 4, 8 seconds after failures of the line or the server.

    A server may ask for longer pauses. `arrived`: the bytes that the next attempt has not to fetch again; a line that
    breaks is given up only where they no longer grow. Raises DownloadFailed, at once for what no attempt can change.
    """
    attempt, most = 0, arrived()
    while True:
        attempt += 1
        try:
            return action()
        except requests.RequestException as error:
            if lasting := _lasting(url, error):
                raise DownloadFailed(f"{shown(url)}: {lasting}") from None
            if (now := arrived()) >= most + ADVANCED_BYTES and not isinstance(error, TooSlow):
                attempt, most = 1, now
            at_last, pause = getattr(error, "at_last", None), getattr(error, "pause", 0.0)
            if attempt == ATTEMPTS:
                raise at_last or DownloadFailed(
                    f"{shown(url)} could not be fetched in {ATTEMPTS} attempts ({_cause(error)}): "
                    f"check the network and the base URL"
                ) from None
            pause = max(pause, 2 ** (attempt - 1))
            print(
                f"{shown(url)}: {_cause(error)}; attempt {attempt + 1} of {ATTEMPTS} follows in {pause:.0f} s",
                flush=True,
            )
            sleep(pause)


def _lasting(url: str, error: requests.RequestException) -> str:
    """What is wrong and what to do, for an error that the next attempt would meet again; empty for others."""
    certificate = next((e for e in _causes(error) if isinstance(e, ssl.SSLCertVerificationError)), None)
    if certificate:
        return (
            f"its certificate is not trusted ({shortened(certificate.verify_message, 60)}): if your company opens the "
            f"line on its way, name the file of its authority in REQUESTS_CA_BUNDLE"
        )
    if isinstance(error, requests.exceptions.ProxyError):
        return f"the proxy does not let it through ({_cause(error)}): check HTTPS_PROXY, HTTP_PROXY and NO_PROXY"
    if isinstance(error, ValueError):  # what requests calls an invalid URL, schema or proxy
        return f"this is no address that can be asked ({_cause(error)}): check the base URL"
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it wraps, from the outside in: three libraries wrap each other's."""
    yield error
    inner = getattr(error, "reason", None)
    if not isinstance(inner, BaseException):
        inner = error.args[-1] if error.args and isinstance(error.args[-1], BaseException) else None
    if isinstance(inner, BaseException):
        yield from _causes(inner)


def _cause(error: BaseException) -> str:
    """The innermost cause of a network error in a few words."""
    *_, innermost = _causes(error)
    return shortened(str(innermost) or type(innermost).__name__, 100)
