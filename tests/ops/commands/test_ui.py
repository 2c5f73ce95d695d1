"""`taxi ui` on a real Mage: `taxi status` names it, `taxi down` ends it and all that it has started."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
from nyc_taxi.settings import PostgresSettings

from ops.commands.ui import refuse_weak
from ops.errors import LocalStackError
from ops.mage import owner
from ops.mage.server import scheduler_runs
from ops.paths import ROOT
from ops.ports import free_port
from tests.conftest import environment_of, process_environment
from tests.project_copy import copy_project

SECONDS = 180
GOOD = {
    "DEFAULT_OWNER_EMAIL": "ada@example.com",
    "DEFAULT_OWNER_PASSWORD": "a long password of hers",
    "JWT_SECRET": "a long secret of the server",
    "ENV": "production",
}


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files with a short name, for it holds sockets."""
    with TemporaryDirectory(prefix="ui-") as name:
        yield Path(name)


@pytest.mark.mage
def test_a_web_ui_is_named_by_status_and_ended_by_down(
    database: PostgresSettings, tmp_path: Path, temporary: Path
) -> None:
    checkout, port = tmp_path / "checkout", free_port()
    copy_project(checkout)  # Mage writes into the project that it serves
    env = {
        **process_environment(),
        **environment_of(database),
        "GCS_BUCKET": "not-asked",
        "NYC_TAXI_LOCAL_DIR": str(tmp_path / "stack"),
        "MAGE_HOST_PORT": str(port),
        "DEFAULT_OWNER_PASSWORD": "a-password",
        "JWT_SECRET": "a-secret-of-a-test",
        "TMPDIR": str(temporary),
    }

    def run(command: str) -> "subprocess.CompletedProcess[str]":
        line = [sys.executable, "-m", "ops.cli", command]
        return subprocess.run(line, cwd=checkout, env=env, capture_output=True, text=True, timeout=60, check=False)

    assert run("status").stdout.splitlines()[-1] == "web UI       stopped"
    log = (tmp_path / "log").open("w")
    ui = subprocess.Popen([sys.executable, "-m", "ops.cli", "ui"], cwd=checkout, env=env, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + SECONDS
        while not scheduler_runs(f"http://127.0.0.1:{port}"):
            assert ui.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        where = f"http://localhost:{port}, process {ui.pid}"
        assert run("status").stdout.splitlines()[-1] == f"web UI       running at {where}"
        family = psutil.Process(ui.pid).children(recursive=True)
        assert len(family) >= 2, "Mage and its scheduler"
        assert any(temporary.iterdir())
        ended = run("down")
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"The web UI at {where}, ends too\n", "")
        assert ui.wait(5) == 0
        assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
        assert not any(temporary.iterdir())
        assert run("status").stdout.splitlines()[-1] == "web UI       stopped"
        assert (run("down").returncode, free_port(port)) == (0, port)
        assert (
            f"Mage comes up at http://localhost:{port}  owner@localhost.local signs in"
            in (tmp_path / "log").read_text()
        )
    finally:
        ui.terminate()
        ui.wait(60)
        log.close()
    assert not (ROOT / ".local" / f"ui-{port}.json").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"DEFAULT_OWNER_PASSWORD": "x"}, "DEFAULT_OWNER_PASSWORD is shorter than 12 characters"),
        ({"JWT_SECRET": "short"}, "JWT_SECRET is shorter than 16 characters"),
        ({"DEFAULT_OWNER_EMAIL": "owner@localhost.local"}, "DEFAULT_OWNER_EMAIL is 'owner@localhost.local', a default"),
    ],
)
def test_production_refuses_what_is_weak_and_only_production(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: dict[str, str], said: str
) -> None:
    def settings(**values: str) -> dict[str, str]:
        monkeypatch.setattr(owner, "configured", lambda **_: dict(values))
        return values

    with pytest.raises(LocalStackError, match=said):
        refuse_weak(settings(**GOOD | change))
    refuse_weak(settings(**GOOD))
    refuse_weak(settings(**GOOD | change | {"ENV": "dev"}))
