"""Requests to an origin are tried again, for so long, and what failed is said plainly."""

import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from nyc_taxi.errors import DownloadFailed

from ops.ports import free_port
from tests.nyc_taxi.extract.bad_server import Answer, BadServer
from tests.nyc_taxi.extract.downloading import ETAG, NAME, fetch, run_at


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_server_that_fails_twice_is_asked_a_third_time(
    status: int, body: bytes, waits: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = Answer(200, body, ETAG), Answer(status, b"busy")
    with BadServer([bad, bad, good], [bad, bad, good]) as server:
        downloaded = fetch(run_at(server.url), tmp_path)
    assert downloaded.path.read_bytes() == body
    assert (server.count("HEAD"), server.count("GET"), waits) == (3, 3, [1, 2, 1, 2])
    said = f"{server.url}{NAME['dtc']}: the server answered {status}; attempt 2 of 5 follows in 1 s\n"
    assert capsys.readouterr().out.count(said) == 2


def test_a_server_that_never_recovers_is_given_up_after_five_attempts(waits: list[float], tmp_path: Path) -> None:
    with BadServer([Answer(503)]) as server, pytest.raises(DownloadFailed) as refused:
        fetch(run_at(server.url), tmp_path)
    assert str(refused.value) == (
        f"{server.url}{NAME['dtc']}: the server answered 503 in 5 attempts: run again later, or check the base URL"
    )
    assert (server.count("HEAD"), waits) == (5, [1, 2, 4, 8])


def test_a_port_where_nobody_listens_is_said_plainly(waits: list[float], tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"in 5 attempts \(.*Connection refused\): check the network"):
        fetch(run_at(f"http://127.0.0.1:{free_port()}"), tmp_path)
    assert waits == [1, 2, 4, 8]


def test_a_server_that_never_answers_runs_into_the_time_out(
    waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nyc_taxi.extract.http.TIMEOUT_SECONDS", (0.1, 0.1))
    monkeypatch.setattr("nyc_taxi.extract.http.ATTEMPTS", 2)
    started = time.monotonic()
    with BadServer([Answer(silent=True)], [Answer(silent=True)]) as server:
        with pytest.raises(DownloadFailed, match=r"could not be fetched in 2 attempts \(.*[Rr]ead timed out"):
            fetch(run_at(server.url), tmp_path)
        assert time.monotonic() - started < 5
        assert server.count("HEAD") == 2


def in_seconds(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ("30", 30, 30),
        ("0", 1, 1),
        ("100000", 120, 120),
        (in_seconds(3_600), 120, 120),
        (in_seconds(-60), 1, 1),
        ("soon", 1, 1),
        ("-5", 1, 1),
        ("", 1, 1),
        ("Tue, 99 Foo 2021", 1, 1),
    ],
    ids=["seconds", "none", "a day", "a date far off", "a date gone by", "a word", "negative", "empty", "no date"],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_says_how_long_to_wait_within_bounds(
    status: int, asked: str, least: float, most: float, body: bytes, waits: list[float], tmp_path: Path
) -> None:
    busy, good = Answer(status, b"", {"Retry-After": asked}), Answer(200, body, ETAG)
    with BadServer([good], [busy, good]) as server:
        fetch(run_at(server.url), tmp_path)
    [pause] = waits
    assert least <= pause <= most


def test_a_date_to_wait_for_is_heeded(body: bytes, waits: list[float], tmp_path: Path) -> None:
    busy, good = Answer(429, b"", {"Retry-After": in_seconds(60)}), Answer(200, body, ETAG)
    with BadServer([good], [busy, good]) as server:
        fetch(run_at(server.url), tmp_path)
    assert 40 < waits[0] <= 60


@pytest.fixture
def untrusted(tmp_path: Path) -> Iterator[tuple[BadServer, Path]]:
    """A server whose certificate nobody signed but itself, and the file of that certificate."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "server.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with BadServer([Answer(200, b"\x1f\x8b", ETAG)], tls=context) as server:
        yield server, file


def test_a_certificate_that_is_not_trusted_is_told_at_once(
    untrusted: tuple[BadServer, Path], waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, certificate = untrusted
    with pytest.raises(DownloadFailed) as refused:
        fetch(run_at(server.url), tmp_path)
    assert str(refused.value) == (
        f"{server.url}{NAME['dtc']}: its certificate is not trusted (self-signed certificate): if your company opens "
        "the line on its way, name the file of its authority in REQUESTS_CA_BUNDLE"
    )
    assert waits == []
    # The advice is true.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert fetch(run_at(server.url), tmp_path).bytes == 2


def test_a_proxy_that_does_not_answer_is_told_at_once(
    waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(
        DownloadFailed, match=r"^https://x.example/\S+: the proxy does not let it through \(.*refused\): che"
    ):
        fetch(run_at("https://x.example"), tmp_path)
    assert waits == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_password_is_told_at_once(
    scheme: str, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with BadServer([Answer(407)]) as proxy:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", proxy.url)
        with pytest.raises(DownloadFailed, match=r"^https?://x.example/\S+: the proxy .*(PROXY|Required|501)"):
            fetch(run_at(f"{scheme}://x.example"), tmp_path)
    assert waits == []


@pytest.mark.parametrize("url", ["ftp://x.example", "x.example/trip-data", "http://", "http://[::1/x"])
def test_what_is_no_address_is_told_at_once(url: str, waits: list[float], tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r": this is no address that can be asked \(.+\): check the base URL$"):
        fetch(run_at(url), tmp_path)
    assert waits == []


def test_a_long_address_leaves_room_for_the_cause_and_the_advice(waits: list[float], tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/{'x' * 2_000}"
    with pytest.raises(DownloadFailed, match=r"Connection refused\): check the network and the base URL$") as refused:
        fetch(run_at(url), tmp_path)
    assert len(str(refused.value)) <= 300
