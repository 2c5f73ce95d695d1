"""One machine for every contestant: Postgres, Google's emulators, a trip-file server and its files, all temporary."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg2

from bench.ours.variables import SERVICE
from ops.paths import ROOT
from ops.stack import google, postgres
from ops.stack.google import GoogleServer
from ops.stack.postgres import PostgresServer
from ops.stack.trip_server import TripServer

GENERATE_SECONDS = 600
FOREIGN = ("PG", "POSTGRES_", "TLC_", "MAGE_", "STAGING_", "GOOGLE_", "GCS_", "BIGQUERY_", "STORAGE_", "CLOUD_")
"""Variables of the caller that could change what is measured."""


@dataclass(frozen=True)
class Arena:
    """What every contestant is given."""

    folder: Path
    server: PostgresServer
    trips: TripServer
    google: GoogleServer

    def url(self, month: str) -> str:
        """Address of the month's csv.gz."""
        return f"{self.trips.dtc_base_url}/{SERVICE}/{SERVICE}_tripdata_{month}.csv.gz"

    def environ(self, folder: Path) -> dict[str, str]:
        """The environment of one run: servers, credentials, and `folder` for everything it writes."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        server = self.server
        places = {"HOST": server.host, "PORT": str(server.port), "USER": server.user, "PASSWORD": server.password}
        return {
            **kept,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            **{f"PG{name}": value for name, value in places.items()},
            "PGDATABASE": server.dbname,
            "PGSSLMODE": "disable",
            **{f"POSTGRES_{name}": value for name, value in places.items()},
            "POSTGRES_DBNAME": server.dbname,
            "POSTGRES_SCHEMA": "ny_taxi",
            "TLC_DTC_BASE_URL": self.trips.dtc_base_url,
            "TLC_PARQUET_BASE_URL": self.trips.tlc_base_url,
            "STAGING_DIR": str(folder / "staging"),
            "MAGE_DATA_DIR": str(folder / "mage"),
            "DLT_DATA_DIR": str(folder / "dlt"),
            **self.google.environment(),
        }

    def generate(self, month: str, rows: int, service: str = SERVICE, origin: str = "dtc") -> None:
        """Make the month's trip file. In a process of its own: ours stays small, and with it every measured child."""
        command = [sys.executable, "-m", "ops.cli", "generate", service, month, origin, str(rows)]
        subprocess.run(
            [*command, "--folder", str(self.trips.folder)],
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=GENERATE_SECONDS,
        )

    def sql(self, *statements: str) -> int:
        """Run the statements, each committed; the first value of the last one's first row, or 0."""
        server = self.server
        with closing(
            psycopg2.connect(
                host=server.host,
                port=server.port,
                user=server.user,
                password=server.password,
                dbname=server.dbname,
                sslmode="disable",
            )
        ) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return int(cursor.fetchone()[0]) if cursor.description else 0  # type: ignore[index]


@contextmanager
def arena() -> Iterator[Arena]:
    """Servers on free ports over a temporary folder; all are gone afterwards."""
    with TemporaryDirectory(prefix="nyc-taxi-bench-") as name:
        folder = Path(name)
        data, cloud = folder / "postgres" / "data", folder / "google"
        with TripServer(folder / "trips") as trips:
            try:
                made = Arena(folder, postgres.start(data), trips, google.start(cloud))
                # By its own clock, it would vacuum what one contestant has left while another one is measured.
                made.sql("ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()")
                yield made
            finally:
                google.stop(cloud)
                postgres.stop(data)
