"""
Known faults of the locked packages: those that have a fix are refused, the others are told.

Usage: python .github/audit.py [LOCK]

LOCK is requirements.txt by default. pip-audit asks PyPI, or OSV with PIP_AUDIT_VULNERABILITY_SERVICE=osv. A pin of
mage-ai excuses nothing: override-dependencies in pyproject.toml lifts it. Ends with 0 when all packages were looked up
and none has a fault with a fix, with 1 when one has, and with 2 when it could not be found out. Runs in .venv, whose
packages it asks what they allow.
"""

import json
import os
import ssl
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PIP_AUDIT = ROOT / ".venv-scanners" / "bin" / "pip-audit"
OVERRIDES = "override-dependencies"
CANARY = "tornado==6.4.2"
"""It has a fault that everybody knows, CVE-2025-47287: who finds none has no data."""
Allowed = Mapping[str, Mapping[str, SpecifierSet]]


class NotAudited(RuntimeError):
    """It could not be found out which faults are known; the message says why."""


def allowed() -> Allowed:
    """For every package that is asked for: who asks, and which versions they allow."""
    found: defaultdict[str, dict[str, SpecifierSet]] = defaultdict(dict)
    for distribution in distributions():
        for text in distribution.requires or ():
            asked = Requirement(text)
            if not asked.marker or asked.marker.evaluate({**default_environment(), "extra": ""}):
                name = f"{distribution.metadata['Name']} {distribution.version}"
                found[canonicalize_name(asked.name)][name] = asked.specifier
    for text in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"][OVERRIDES]:
        asked = Requirement(text)
        found[canonicalize_name(asked.name)] = {OVERRIDES: asked.specifier}  # it stands above all others
    return found


def audited(requirements: Path) -> list[dict[str, Any]]:
    """What pip-audit says of each package of a file. NotAudited when it does not get that far."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "audit.json"
        options = ["--disable-pip", "--no-deps", "--progress-spinner", "off", "--format", "json"]
        ran = subprocess.run(
            [PIP_AUDIT, *options, "--output", written, "-r", requirements],
            # This machine's authorities: a company's proxy has one of its own.
            env={"REQUESTS_CA_BUNDLE": ssl.get_default_verify_paths().cafile or "", **os.environ},
            capture_output=True,
            text=True,
            check=False,
        )
        # Its exit code is 1 for faults and for a failure alike.
        if not written.exists():
            said = ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"]
            raise NotAudited(f"pip-audit failed: {said[-1]}")
        packages: list[dict[str, Any]] = json.loads(written.read_text())["dependencies"]
        return packages


def faults_of(requirements: Path) -> list[dict[str, Any]]:
    """The same, from a service that knows faults. NotAudited when it knows none, or not all of the packages."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as canary:
        canary.write(CANARY)
        canary.flush()
        [known] = audited(Path(canary.name))
        if not known.get("vulns"):
            why = known.get("skip_reason", "the service has no data of faults")
            raise NotAudited(f"nothing is known of {CANARY}, which has faults: {why}")
    packages = audited(requirements)
    skipped = [f"{package['name']} ({package['skip_reason']})" for package in packages if "skip_reason" in package]
    if skipped or not packages:
        raise NotAudited(f"{len(skipped)} of {len(packages)} packages were not looked up: {', '.join(skipped[:3])}")
    return packages


def judged(packages: Sequence[Mapping[str, Any]], asks: Allowed) -> tuple[list[str], list[str]]:
    """The faults that can be fixed here, and those that cannot, a line each."""
    fixable, told = [], []
    for package in packages:
        name = canonicalize_name(package["name"])
        for fault in package["vulns"]:
            line = f"{package['name']} {package['version']} {fault['id']}"
            fixed = sorted(map(Version, fault["fix_versions"]))
            if not fixed:
                told.append(f"{line}: no version is without it yet")
                continue
            line += f": fixed in {', '.join(map(str, fixed))}"
            against = [who for who, can in asks.get(name, {}).items() if not any(can.contains(fix) for fix in fixed)]
            later = [fix for fix in fixed if fix > Version(package["version"])] or fixed
            if against:
                line += f', which {", ".join(against)} does not allow: put "{name}=={later[0]}" or a later one into '
                fixable.append(f"{line}{OVERRIDES} of pyproject.toml, then make lock UPGRADE=")
            else:
                fixable.append(f"{line}: run make lock")
    return fixable, told


def main(arguments: Sequence[str]) -> int:
    """Print both kinds; the exit code that the module's text says."""
    try:
        packages = faults_of(Path(arguments[0]) if arguments else ROOT / "requirements.txt")
    except NotAudited as failed:
        print(f"NOT AUDITED  {failed}\nThis is no clean bill: make audit where PyPI or OSV can be reached")
        return 2
    fixable, told = judged(packages, allowed())
    for line in told:
        print(f"known    {line}")
    for line in fixable:
        print(f"REFUSED  {line}")
    print(f"{len(packages)} packages: {len(fixable)} faults can be fixed here, {len(told)} cannot")
    return 1 if fixable else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
