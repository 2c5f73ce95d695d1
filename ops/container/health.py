"""
Whether the server of a container is well: exit code 0. Needs no package, since it runs every few seconds.

Usage: python -m ops.container.health [URL]
"""

import json
import os
import sys
import urllib.request

MAGE = f"http://127.0.0.1:{os.environ.get('PORT') or '6789'}/api/statuses"


def main() -> int:
    """Ask the URL; without one, Mage, whose scheduler must run too."""
    url = sys.argv[1] if len(sys.argv) > 1 else MAGE
    # A proxy of the environment must not be asked for 127.0.0.1.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            well = url != MAGE or json.load(answer)["statuses"][0]["scheduler_status"] == "running"
    except (OSError, ValueError, LookupError) as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
