"""The interpreter of duckdb and dlt: an environment of its own, for they would not fit mage-ai's pins."""

import subprocess
from functools import cache
from pathlib import Path

from bench.results import NotAvailable
from ops import set_up

PEERS = Path(__file__).resolve().parent


@cache
def peers_python() -> str:
    """The interpreter, its environment made on first use and again when the lock has changed."""
    try:
        return str(set_up.make(".bench/venv"))
    except set_up.SetUpFailed as failed:
        raise NotAvailable(str(failed)) from None


@cache
def duckdb_python() -> str:
    """The same with duckdb's extension for Postgres; NotAvailable says why it cannot be had."""
    install = [peers_python(), str(PEERS / "with_duckdb.py"), "--install"]
    result = subprocess.run(install, capture_output=True, text=True, check=False, timeout=120)
    if result.returncode:
        raise NotAvailable(result.stderr.strip().splitlines()[-1])
    return peers_python()
