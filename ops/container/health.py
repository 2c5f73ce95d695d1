"""
Whether the server of a container is well: exit code 0. Needs no package, since it runs every few seconds.

Usage: python -m ops.container.health [URL]
"""

import json
import os
import sys
import time
import urllib.request
from pathlib import Path

MAGE = f"http://127.0.0.1:{os.environ.get('PORT') or '6789'}/api/statuses"

MOVED_SECONDS = 300
"""A round of the scheduler takes a second, and one that fetches from git some more."""


def has_moved(data: Path) -> bool:
    """Whether Mage's scheduler has gone a round lately: ops/mage/patches/scheduler/hung_scheduler.py writes it down."""
    try:
        still = time.monotonic() - float((data / "scheduler.moved").read_text())
    except (FileNotFoundError, ValueError):
        return False
    return 0 <= still < MOVED_SECONDS


def main() -> int:
    """Ask the URL; without one, Mage, whose scheduler must run and move too."""
    url = sys.argv[1] if len(sys.argv) > 1 else MAGE
    # A proxy of the environment must not be asked for 127.0.0.1.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            well = url != MAGE or json.load(answer)["statuses"][0]["scheduler_status"] == "running"
        if well and url == MAGE and "MAGE_DATA_DIR" in os.environ and not has_moved(Path(os.environ["MAGE_DATA_DIR"])):
            print(f"the scheduler has not moved for {MOVED_SECONDS} s", file=sys.stderr)
            well = False
    except (OSError, ValueError, LookupError) as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
