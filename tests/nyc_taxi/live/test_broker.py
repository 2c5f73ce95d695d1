"""Connections to a broker: what it refuses is one line, and no secret is in it."""

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from nyc_taxi.catalog.services import SERVICES, service_named
from nyc_taxi.errors import BrokerUnavailable, UnknownName
from nyc_taxi.live.broker import connected
from nyc_taxi.live.executor import LiveRun
from nyc_taxi.live.stream import ensure_stream
from nyc_taxi.settings import BrokerSettings, Settings

from ops.paths import ROOT
from ops.ports import free_port
from ops.stack import broker as local
from ops.stack.process import Service
from tests.nyc_taxi.live.streaming import YELLOW, OwnBroker, on, settings_of, store_all


def ask(settings: BrokerSettings) -> str:
    """Connect, and look at the stream; the server's name for its account where all is well."""

    async def asked() -> str:
        async with connected(settings) as connection:
            await ensure_stream(connection.jetstream(), YELLOW)
        return "well"

    return asyncio.run(asked())


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Path, Service]]:
    """A configuration to write, and a server to launch with it."""
    service = Service("own", tmp_path)
    yield tmp_path / "own.conf", service
    service.stop()


def launch(own: tuple[Path, Service], configuration: str) -> BrokerSettings:
    path, service = own
    path.write_text(configuration)
    port = free_port()
    program = [str(local.program()), "-c", str(path), "--addr", "127.0.0.1", "--port", str(port)]
    service.wait(service.launch(lambda monitor: [*program, "-m", str(monitor)]))
    return Settings.from_environment({"NATS_URL": f"nats://127.0.0.1:{port}"}).broker


def test_the_broker_of_this_machine_has_room_for_every_service(broker: OwnBroker) -> None:
    broker.empty()

    async def all_of_them(js: Any) -> int:
        for name in SERVICES:
            await ensure_stream(js, service_named(name))
        return len(await js.streams_info())

    assert on(settings_of(broker), all_of_them) == len(SERVICES)
    broker.empty()
    limits = local.CONFIGURATION.partition("max_memory_store")[2].partition("}")[0]
    assert limits in (ROOT / "docker-compose.yml").read_text()


def test_a_broker_without_jetstream_is_one_line(own: tuple[Path, Service]) -> None:
    with pytest.raises(BrokerUnavailable, match="it has no JetStream: start it with -js"):
        ask(launch(own, "max_payload: 1MB"))


def test_user_and_password_are_asked_for_and_never_said(own: tuple[Path, Service], tmp_path: Path) -> None:
    account = 'authorization { user: taxi, password: "correct horse" }'
    settings = launch(own, f'jetstream {{ store_dir: "{tmp_path}/js" }}\n{account}')
    assert ask(replace(settings, user="taxi", password="correct horse")) == "well"
    for wrong in (settings, replace(settings, user="taxi", password="battery staple")):
        with pytest.raises(BrokerUnavailable, match="it refuses us: check NATS_USER and NATS_PASSWORD") as refused:
            ask(wrong)
        assert "staple" not in f"{refused.value} {wrong!r}"


@pytest.mark.parametrize(
    "url", ["127.0.0.1:4222", "http://127.0.0.1:4222", "nats://me:secret@host:4222", "nats://token@host", "nats://a b"]
)
def test_an_address_that_is_none_or_has_an_account_is_refused_unsaid(url: str) -> None:
    with pytest.raises(UnknownName, match="NATS_URL is not of the form nats://HOST:PORT, or tls://") as refused:
        Settings.from_environment({"NATS_URL": url})
    assert "secret" not in str(refused.value)


def test_a_cluster_has_several_addresses() -> None:
    url = "tls://a.example:4222,tls://b.example:4222"
    assert Settings.from_environment({"NATS_URL": url, "NATS_CA_FILE": "/ca.pem"}).broker.url == url


def test_without_the_extra_one_line_says_how_to_get_it(run: LiveRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nats", None)
    with pytest.raises(BrokerUnavailable, match="nats-py is not installed here: run `make streaming`"):
        store_all(run)


def test_a_broker_with_tls_is_believed_by_its_authority_only(own: tuple[Path, Service], tmp_path: Path) -> None:
    ca, key = certificate(tmp_path)
    tls = f'tls {{ cert_file: "{ca}", key_file: "{key}" }}'
    settings = launch(own, f'jetstream {{ store_dir: "{tmp_path}/js" }}\n{tls}')
    url = settings.url.replace("nats://", "tls://")
    assert ask(replace(settings, url=url, ca_file=str(ca))) == "well"
    with pytest.raises(BrokerUnavailable, match="its certificate is signed by nobody we know: set NATS_CA_FILE"):
        ask(replace(settings, url=url))
    with pytest.raises(BrokerUnavailable, match="the file holds no certificate: check NATS_CA_FILE"):
        ask(replace(settings, url=url, ca_file=str(key)))
    with pytest.raises(BrokerUnavailable, match="there is no such file: check NATS_CA_FILE"):
        ask(replace(settings, url=url, ca_file=str(tmp_path / "none.pem")))


def test_no_account_is_told_to_a_server_without_the_tls_that_is_wanted() -> None:
    heard = bytearray()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id": "x", "version": "2.10.0", "max_payload": 1048576, "auth_required": true}\r\n')
        heard.extend(await reader.read())
        writer.close()

    async def asked() -> None:
        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        settings = Settings.from_environment({"NATS_URL": f"tls://127.0.0.1:{port}"}).broker
        async with server, connected(replace(settings, user="taxi", password="battery staple")):
            pass

    with pytest.raises(BrokerUnavailable, match="it asks for no TLS, and was told no account: check NATS_URL"):
        asyncio.run(asked())
    assert heard == b""


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "own.pem", folder / "own.key"
    files[0].write_bytes(made.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files
