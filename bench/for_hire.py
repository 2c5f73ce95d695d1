"""The largest service as TLC publishes it: a Parquet month of fhvhv into Postgres, beside duckdb piped into psql."""

import sys

import pyarrow.parquet as pq
from nyc_taxi.catalog.services import FHVHV
from nyc_taxi.load.postgres.tables import TYPES

from bench.arena import Arena
from bench.database import Loader, psql_program
from bench.peers.environment import PEERS, peers_python
from bench.results import AFTER_IMPORTS, Results, Target
from ops.synthetic.generate import trip_path

SERVICE, ORIGIN, MONTH = FHVHV.name, "tlc", "2021-01"
ROWS, QUICK_ROWS = 3_000_000, 20_000
SECONDS_RATIO, MEMORY_RATIO = 0.55, 0.5
"""Of duckdb's."""

PIPE = '"$1" "$2" "$3" | "$4" -qX1 -v ON_ERROR_STOP=1 -c "$5" -c "$6" -c "$7"'


def _duckdb(arena: Arena, month: str) -> list[str]:
    """In one transaction, as a load of ours is, and with the same index: only then can COPY freeze the rows."""
    path = trip_path(SERVICE, month, ORIGIN, arena.trips.folder)
    names = pq.read_schema(path).names
    columns = ", ".join(f"{name.lower()} {TYPES[FHVHV.schema.field(name).type]}" for name in names)
    sql = (
        f"CREATE TABLE peer_fhvhv ({columns})",
        "COPY peer_fhvhv FROM STDIN (FORMAT csv, FREEZE)",
        f"CREATE INDEX ON peer_fhvhv USING brin ({FHVHV.pickup})",
    )
    url = f"{arena.trips.tlc_base_url}/{path.name}"
    command = [peers_python(), str(PEERS / "with_duckdb_csv.py"), url, psql_program(), *sql]
    return ["bash", "-o", "pipefail", "-c", PIPE, "duckdb", *command]


BLOCKS = Loader(
    "blocks",
    "stage, judge and replace the month: what the pipeline's blocks call",
    "SELECT count(*) FROM ny_taxi.fhvhv_trip_data WHERE file_month = DATE '{month}'",
    lambda arena, month: [sys.executable, "-m", "bench.ours.blocks", month, SERVICE, ORIGIN],
    timed=AFTER_IMPORTS,
)
DUCKDB = Loader(
    "duckdb | psql",
    "read_parquet as CSV to psql COPY FREEZE, and the same index",
    "SELECT count(*) FROM peer_fhvhv",
    _duckdb,
    ("DROP TABLE IF EXISTS peer_fhvhv",),
)


def generate(arena: Arena, rows: int) -> None:
    """Make the month's trip file."""
    arena.generate(MONTH, rows, SERVICE, ORIGIN)


def targets(results: Results) -> list[Target]:
    """What must be reached, where duckdb can be had."""
    ours, peer = (results[loader.name] for loader in (BLOCKS, DUCKDB))
    if peer.missing:
        return []
    return [
        Target(
            f"fhvhv, {ROWS:,} rows: seconds, relative to duckdb | psql", ours.seconds / peer.seconds, SECONDS_RATIO, "x"
        ),
        Target("  peak memory, relative to duckdb", ours.peak_mb / peer.peak_mb, MEMORY_RATIO, "x"),
    ]
