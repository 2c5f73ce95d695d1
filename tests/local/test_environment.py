"""Which server the commands reach: the one that is named, else this machine's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local import stack
from local.environment import environment


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[stack.Stack]:
    """The stack in a folder of its own, running, and no variable that names another server."""
    monkeypatch.setenv("NYC_TAXI_LOCAL_DIR", str(tmp_path / "local"))
    for name in ("HOST", "PORT", "DBNAME", "USER", "PASSWORD"):
        monkeypatch.delenv(f"POSTGRES_{name}", raising=False)
    (tmp_path / "trips").mkdir()
    yield stack.up()
    stack.down()


def test_without_a_named_server_it_is_this_machines(own: stack.Stack) -> None:
    assert own.postgres is not None
    assert environment()["POSTGRES_PORT"] == str(own.postgres.port)


def test_a_named_server_is_used_even_while_this_machines_runs(
    own: stack.Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_HOST", "db.example")
    monkeypatch.setenv("POSTGRES_PASSWORD", "theirs")
    found = environment(tmp_path / "trips")
    assert (found["POSTGRES_HOST"], found["POSTGRES_PASSWORD"]) == ("db.example", "theirs")
    assert found["TLC_DTC_BASE_URL"].startswith("http://127.0.0.1:")
