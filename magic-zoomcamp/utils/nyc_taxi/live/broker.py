"""Connections to the broker, a NATS server with JetStream, whose errors say what to do."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeAlias

from nyc_taxi.errors import BrokerUnavailable
from nyc_taxi.settings import BrokerSettings

JetStream: TypeAlias = Any
"""nats-py's, which is imported by who streams only: it comes with the extra `streaming`."""
CONNECT_SECONDS = ANSWER_SECONDS = 5
AGAIN_SECONDS = 0.1
NO_TLS = "TLS is not required there"
FULL = "maximum bytes exceeded|maximum messages exceeded"
ADVICE = {
    "Authorization Violation": "it refuses us: check NATS_USER and NATS_PASSWORD",
    "Connect call failed": "nothing listens there: start it (taxi live does, on this machine), or check NATS_URL",
    "no servers available": "nothing listens there: start it (taxi live does, on this machine), or check NATS_URL",
    "certificate verify failed": "its certificate is signed by nobody we know: set NATS_CA_FILE",
    NO_TLS: "it asks for no TLS, and was told no account: check NATS_URL, which says tls://, and NATS_CA_FILE",
    "no certificate or crl found": "the file holds no certificate: check NATS_CA_FILE",
    "No such file": "there is no such file: check NATS_CA_FILE",
    "Name or service not known": "there is no such host: check NATS_URL",
    **dict.fromkeys(
        FULL.split("|"),
        "the stream is full, and refuses what is new so that nothing old is lost: let live_trips store what waits, "
        "then remove what is stored (taxi live --forget), or raise the stream's limit",
    ),
    "err_code=10047": "its disk has no room for the stream: make room there, or raise max_file_store",
    "err_code=10065": "another stream takes these subjects: remove it, or take its subjects from it",
    **dict.fromkeys(
        ("no responders", "ServiceUnavailableError", "err_code=10039", "err_code=10076"),
        "it has no JetStream: start it with -js, or enable JetStream for this account",
    ),
    "timed out": "it does not answer: check NATS_URL and the firewall",
}
"""What to do, by a sign in the message."""


@asynccontextmanager
async def connected(settings: BrokerSettings) -> AsyncIterator[Any]:
    """A connection, closed at the end. It does not come back by itself: who uses it knows where to go on."""
    with explained(settings):
        tls = _tls(settings)
        client, no_servers = _client(tls)
        said: list[Exception] = []

        async def hear(error: Exception) -> None:
            said.append(error)

        account = {"user": settings.user, "password": settings.password} if settings.user else {}
        try:
            await client.connect(
                settings.url.split(","),
                allow_reconnect=False,
                max_reconnect_attempts=1,  # how often each server is tried again; without it, for two minutes
                reconnect_time_wait=AGAIN_SECONDS,
                connect_timeout=CONNECT_SECONDS,
                error_cb=hear,
                **account,
                **({"tls": tls} if tls else {}),
            )
        except no_servers as error:
            raise unavailable(settings, said[0] if said else error) from None
        try:
            yield client
        finally:
            with suppress(Exception):  # it may be gone; what counts is what was acknowledged
                await asyncio.wait_for(client.close(), ANSWER_SECONDS)


@contextmanager
def explained(settings: BrokerSettings) -> Iterator[None]:
    """BrokerUnavailable in the place of the client's errors: one line, the broker, what to do and what was said."""
    try:
        yield
    except (OSError, TimeoutError) as error:
        raise unavailable(settings, error) from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "nats":
            raise
        raise unavailable(settings, error) from None


def unavailable(settings: BrokerSettings, error: BaseException) -> BrokerUnavailable:
    """The error that says what another one means."""
    said = " ".join(f"{error}".split()) or "timed out"
    if settings.password:
        said = said.replace(settings.password, "***")
    advice = next((advice for sign, advice in ADVICE.items() if sign in said), "")
    where = f"NATS at {settings.url}"
    return BrokerUnavailable(f"{where}: {advice} [{said}]" if advice else f"{where}: {said}")


def _client(tls: ssl.SSLContext | None) -> tuple[Any, type[Exception]]:
    """A client of nats-py, and what it raises where no server takes it."""
    try:
        import nats
    except ModuleNotFoundError:
        raise BrokerUnavailable(
            "nats-py is not installed here: run `make streaming`, or pip install -r requirements-streaming.txt"
        ) from None

    class Guarded(nats.aio.client.Client):  # type: ignore[misc]  # it has no types here
        def _connect_command(self) -> bytes:
            """The account and its password, which the client by itself sends in the clear to who offers no TLS."""
            if tls and not self._server_info.get("tls_required"):
                raise nats.errors.Error(NO_TLS)
            return bytes(super()._connect_command())

    return Guarded(), nats.errors.NoServersError


def _tls(settings: BrokerSettings) -> ssl.SSLContext | None:
    if not settings.ca_file and "tls://" not in settings.url:
        return None
    return ssl.create_default_context(cafile=settings.ca_file or None)
