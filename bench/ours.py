"""The two contestants of the project: its library's work alone, and a whole `mage run` of its pipeline."""

import sys

from bench.arena import SERVICE, Arena
from bench.peers import Peer, mage

PIPELINE = "api_to_postgres"
RULES = "has_passengers"
ROWS = "SELECT count(*) FROM ny_taxi.yellow_cab_data WHERE file_month = DATE '{month}'"


def variables(month: str) -> dict[str, str]:
    """What both contestants load, as the pipeline's variables."""
    return {"service": SERVICE, "month": month, "origin": "dtc", "rules": RULES}


def _blocks(arena: Arena, month: str) -> list[str]:
    return [sys.executable, "-m", "bench.blocks", month]


def _mage(arena: Arena, month: str) -> list[str]:
    return mage("magic-zoomcamp", PIPELINE, variables(month))


BLOCKS = Peer("blocks", "stage, judge and replace the month: what the pipeline's blocks call", ROWS, _blocks,
              timed="after imports")  # fmt: skip
MAGE = Peer("mage run", f"mage run magic-zoomcamp {PIPELINE} --test", ROWS, _mage)
