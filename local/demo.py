"""
The whole project at work on made-up files: real pipelines, real tables, and whether the numbers agree.

Usage: python -m local.demo
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from nyc_taxi.database import connect
from nyc_taxi.errors import TaxiError
from nyc_taxi.manifest import sums_agree
from nyc_taxi.months import Month
from nyc_taxi.postgres import measure_month
from nyc_taxi.services import service_named
from nyc_taxi.settings import Settings
from rich.console import Console
from rich.table import Table

from local.environment import environment
from local.generate import generate
from local.mage import PipelineFailed, run_pipeline
from local.paths import local_dir
from local.postgres import LocalStackError


@dataclass(frozen=True)
class Loaded:
    """One month after its pipeline ran: what was published, what was audited, what Postgres holds."""

    file: str
    rows_published: int
    rows_read: int
    rows_accepted: int
    rejected: dict[str, int]
    sums: dict[str, float]
    seconds: float
    in_postgres: tuple[int, int, dict[str, float]]

    @property
    def agrees(self) -> bool:
        """Whether every number is confirmed by another."""
        rows, rows_rejected, sums = self.in_postgres
        return (
            self.rows_published == self.rows_read == self.rows_accepted + sum(self.rejected.values())
            and rows == self.rows_accepted
            and rows_rejected == sum(self.rejected.values())
            and sums_agree(sums, self.sums)
        )


MONTHS = (
    ("yellow", "2021-01", "dtc", 100_000, 25),
    ("yellow", "2021-02", "dtc", 90_000, 0),
    ("green", "2021-01", "tlc", 40_000, 0),
    ("green", "2021-02", "tlc", 35_000, 0),
)
"""Service, month, origin, rows, and how many of them are malformed."""


def main() -> int:
    """Run it; the exit code is 0 only if every pipeline ran and every number agrees."""
    started = time.monotonic()
    trips = local_dir() / "trips"
    try:
        for service, month, origin, rows, malformed in MONTHS:
            generate(service, month, origin, rows, trips, malformed=malformed)
        env = environment(trips)
        _refuse_to_replace_real_months(env)
        for pipeline in ("example_pipeline", "test_config"):
            _say(f"mage run {pipeline}")
            run_pipeline(pipeline, {}, env)
        loaded = [_load(*month[:4], env) for month in MONTHS]
    except (PipelineFailed, LocalStackError, TaxiError) as error:
        print(f"FAILED  {error}", file=sys.stderr)
        return 1
    Console(width=160 if not sys.stdout.isatty() else None).print(_table(loaded))
    agree = all(month.agrees for month in loaded)
    print(f"{'All numbers agree' if agree else 'FAILED  the numbers disagree'} ({time.monotonic() - started:.0f} s)")
    print('Look around: make sql Q="select * from ny_taxi.load_audit"   or   make ui')
    return 0 if agree else 1


def _say(text: str) -> None:
    print(f"\n=== {text}", flush=True)


def _refuse_to_replace_real_months(env: dict[str, str]) -> None:
    """Made-up trips never take the place of real ones: a month that came from a real origin stops the demo."""
    settings = Settings.from_environment(env).postgres
    schema = settings.schema
    with connect(settings) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", (f"{schema}.load_audit",))
        if cursor.fetchone() == (None,):
            return
        cursor.execute(
            f"SELECT DISTINCT ON (service, file_month) service, to_char(file_month, 'YYYY-MM'), url "
            f"FROM {schema}.load_audit ORDER BY service, file_month, load_id DESC"
        )
        loaded = {(service, month): url for service, month, url in cursor.fetchall()}
    for service, month, *_ in MONTHS:
        url = loaded.get((service, month), "http://127.0.0.1")
        if not url.startswith("http://127.0.0.1"):
            raise PipelineFailed(
                f"{schema} holds {service} {month} from {url}, which the demo would replace by made-up trips: "
                f"run it in a schema of its own, POSTGRES_SCHEMA=ny_taxi_demo make demo"
            )


def _load(service: str, month: str, origin: str, rows: int, env: dict[str, str]) -> Loaded:
    _say(f"mage run api_to_postgres: {service} {month} from {origin}")
    started = time.monotonic()
    run_pipeline("api_to_postgres", {"service": service, "month": month, "origin": origin}, env)
    seconds = time.monotonic() - started
    settings = Settings.from_environment(env).postgres
    with connect(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            f"SELECT url, rows_read, rows_accepted, rejected, sums FROM {settings.schema}.load_audit "
            f"WHERE service = %s AND file_month = %s ORDER BY load_id DESC LIMIT 1",
            (service, Month.parse(month).first_day),
        )
        url, rows_read, rows_accepted, rejected, sums = cursor.fetchone() or ()
    held = measure_month(service_named(service), Month.parse(month), settings)
    return Loaded(Path(url).name, rows, rows_read, rows_accepted, rejected, sums, seconds, held)


def _table(loaded: list[Loaded]) -> Table:
    table = Table("file", "rows read", "accepted", "rejected by reason", "seconds", "rows now in Postgres", "agree")
    for month in loaded:
        reasons = "\n".join(f"{rows:,} {reason}" for reason, rows in sorted(month.rejected.items())) or "none"
        table.add_row(
            month.file,
            f"{month.rows_read:,}",
            f"{month.rows_accepted:,}",
            reasons,
            f"{month.seconds:.1f}",
            f"{month.in_postgres[0]:,} (+ {month.in_postgres[1]:,} rejected)",
            "yes" if month.agrees else "NO",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
