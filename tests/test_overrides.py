"""What mage-ai pins and this project lifts: every lock has the lifted version, and it is one without the fault."""

import getpass
import re
from importlib.metadata import requires, version
from pathlib import Path

import pytest
import requests
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from pytest_httpserver import HTTPServer

from ops.paths import ROOT
from ops.set_up import LOCKS
from tests.deploy.ssh_host import running_ssh_host

SECTION = re.search(
    r"^override-dependencies = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL
)
LATER_PYTHON = "; python_version >= '3.14'"
LINES = [line for line in SECTION[1].splitlines() if LATER_PYTHON not in line] if SECTION else []
OVERRIDES: dict[str, Requirement] = {
    canonicalize_name(asked.name): asked for asked in (Requirement(line.split('"')[1]) for line in LINES)
}
REASONS: dict[str, str] = {name: line.rpartition('"')[2] for name, line in zip(OVERRIDES, LINES, strict=True)}
FIXED: dict[str, tuple[str, ...]] = {
    name: told.groups()
    for name, reason in REASONS.items()
    if (told := re.match(r", # fixed in (\d[\d.]*): ((?:CVE|GHSA)-[\w-]+), \w+", reason))
}
"""Of a package that is lifted for a fault: the first version without it, and the advisory."""
FOR_ANOTHER_REASON = {"google-cloud-storage", "psutil", "newrelic", "ipython"}
WRITTEN = sorted({lock for locks in LOCKS.values() for lock in locks} | {"requirements.txt"})


def lifted(name: str) -> str:
    """The one version that an override allows."""
    [specifier] = OVERRIDES[name].specifier
    assert specifier.operator == "==", f"{name}: uv installs by the overrides too"
    return specifier.version


def locked(lock: str) -> dict[str, set[str]]:
    """The versions of each package of a lock; not those for Pythons that this does not run on."""
    found: dict[str, set[str]] = {}
    pin = r"^([\w.-]+)(?:\[[^]]*\])?==([^\s;\\]+)(?=\s)(?! ; python_full_version >= '3.14')"
    for name, pinned in re.findall(pin, (ROOT / lock).read_text(), re.MULTILINE):
        found.setdefault(canonicalize_name(name), set()).add(pinned)
    return found


@pytest.mark.parametrize("lock", WRITTEN)
def test_a_lock_has_the_lifted_version_of_every_package_that_it_has(lock: str) -> None:
    pinned = locked(lock)
    both = pinned.keys() & OVERRIDES.keys()
    assert {name: pinned[name] for name in both} == {name: {lifted(name)} for name in both}


def test_both_locks_of_mage_have_every_package_that_is_lifted() -> None:
    for lock in ("requirements.txt", "requirements-dev.txt"):
        assert OVERRIDES.keys() <= locked(lock).keys()


@pytest.mark.parametrize("name", sorted(OVERRIDES))
def test_an_override_says_why_in_a_comment(name: str) -> None:
    assert re.match(r", # \S+ \S+ \S+", REASONS[name])
    assert (name in FIXED) != (name in FOR_ANOTHER_REASON)


@pytest.mark.parametrize("name", sorted(FIXED))
def test_a_package_with_a_known_fault_is_lifted_to_a_version_without_it(name: str) -> None:
    first, _ = FIXED[name]
    assert Version(lifted(name)) >= Version(first)


def test_these_faults_of_mages_pins_are_lifted() -> None:
    lifted_for: dict[str, Version] = {name: Version(first) for name, (first, _) in FIXED.items()}
    asked = {
        "aiohttp": "3.13.4",
        "cryptography": "46.0.7",
        "jupyter-server": "2.18.0",
        "paramiko": "5.0.0",
        "pillow": "12.2.0",
        "pyjwt": "2.12.0",
        "pyopenssl": "26.0.0",
        "requests": "2.33.0",
        "setuptools": "78.1.1",
        "tornado": "6.5.5",
        "werkzeug": "3.1.6",
    }
    assert asked.keys() <= lifted_for.keys()
    assert all(lifted_for[name] >= Version(first) for name, first in asked.items())


def test_what_is_lifted_is_what_runs() -> None:
    here = {name for name, asked in OVERRIDES.items() if not asked.marker or asked.marker.evaluate()}
    assert {name: version(name) for name in here} == {name: lifted(name) for name in here}


def test_mage_still_does_not_allow_what_is_lifted() -> None:
    """Or the override goes: Mage has lifted the pin itself."""
    allowed = [Requirement(text) for text in requires("mage-ai") or () if "extra ==" not in text]
    needless = [
        asked.name
        for asked in allowed
        if (name := canonicalize_name(asked.name)) in OVERRIDES and asked.specifier.contains(lifted(name))
    ]
    assert needless == []


def test_mages_tunnel_to_a_database_opens_with_the_lifted_packages(tmp_path: Path, httpserver: HTTPServer) -> None:
    from sshtunnel import SSHTunnelForwarder  # type: ignore[import-untyped]

    httpserver.expect_request("/").respond_with_data("through")
    with running_ssh_host(tmp_path) as host:
        key = tmp_path / "key"
        key.write_text(host.private_key)
        tunnel = SSHTunnelForwarder(
            ("127.0.0.1", host.port),
            ssh_username=getpass.getuser(),
            ssh_pkey=str(key),
            remote_bind_address=("127.0.0.1", httpserver.port),
            allow_agent=False,
        )
        with tunnel:
            answer = requests.get(f"http://127.0.0.1:{tunnel.local_bind_port}/", timeout=20)
    assert answer.text == "through"
