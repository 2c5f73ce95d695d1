"""
Known faults of the locked packages: those that can be fixed here are refused, the others are told.

Usage: python .github/audit.py AUDIT.json

AUDIT.json is what `pip-audit --format json` writes. Mage pins many packages, some to versions with known faults; only
its makers can fix those. So a fault counts if a version without it is allowed by everything that is installed: then
`make lock` fixes it. Runs in .venv, whose packages it asks.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

Allowed = Mapping[str, Mapping[str, SpecifierSet]]


def allowed() -> Allowed:
    """For every package that is asked for: who asks, and which versions they allow."""
    found: defaultdict[str, dict[str, SpecifierSet]] = defaultdict(dict)
    for distribution in distributions():
        for text in distribution.requires or ():
            asked = Requirement(text)
            if not asked.marker or asked.marker.evaluate({**default_environment(), "extra": ""}):
                name = f"{distribution.metadata['Name']} {distribution.version}"
                found[canonicalize_name(asked.name)][name] = asked.specifier
    return found


def judged(audit: Mapping[str, Any], asks: Allowed) -> tuple[list[str], list[str]]:
    """The faults that can be fixed here, and those that cannot, a line each. ValueError when nothing was audited."""
    fixable, told = [], []
    audited = [package for package in audit["dependencies"] if "skip_reason" not in package]
    if not audited:
        raise ValueError("no package was audited: was the index reached?")
    for package in audited:
        askers = asks.get(canonicalize_name(package["name"]), {})
        for fault in package["vulns"]:
            line = f"{package['name']} {package['version']} {fault['id']}"
            fixed = fault["fix_versions"]
            against = [who for who, versions in askers.items() if not any(versions.contains(fix) for fix in fixed)]
            if not fixed:
                told.append(f"{line}: no version is without it yet")
            elif against:
                told.append(f"{line}: fixed in {', '.join(fixed)}, which {', '.join(against)} does not allow")
            else:
                fixable.append(f"{line}: fixed in {', '.join(fixed)}: run make lock")
    return fixable, told


def main() -> int:
    """Print both kinds; 1 when something can be fixed here."""
    fixable, told = judged(json.loads(Path(sys.argv[1]).read_text()), allowed())
    for line in told:
        print(f"known    {line}")
    for line in fixable:
        print(f"REFUSED  {line}")
    print(f"{len(fixable)} faults can be fixed here, {len(told)} cannot")
    return 1 if fixable else 0


if __name__ == "__main__":
    sys.exit(main())
