"""`taxi demo`: the whole project on synthetic files: real pipelines, real tables, and whether the numbers agree."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click
from nyc_taxi.catalog.services import Service, service_named
from nyc_taxi.errors import NotPublished
from nyc_taxi.load.bucket.month import find_month
from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.load.postgres.month import measure_month
from nyc_taxi.load.reconciliation import Held, measure_marts, measure_targets, reconciles
from nyc_taxi.months import Month
from nyc_taxi.operate.marts import TARGETS
from nyc_taxi.settings import Settings
from rich.console import Console
from rich.table import Table

from ops.commands.arguments import examples
from ops.commands.run import PipelineFailed, run_pipeline
from ops.mage.rendering import refuse_unreadable
from ops.paths import PROJECT, local_dir
from ops.stack.environment import configured, environment
from ops.synthetic.generate import generate


@dataclass(frozen=True)
class Loaded:
    """One month after its pipeline ran: what was published, what was audited, what every target holds."""

    file: str
    rows_published: int
    rows_read: int
    rows_accepted: int
    rejected: dict[str, int]
    sums: dict[str, float]
    seconds: float
    rejected_in_postgres: int
    places: list[Held]
    """Postgres, the month's object, its days, BigQuery, and the marts of both."""

    @property
    def agrees(self) -> bool:
        """Whether every number is confirmed by another."""
        rejected = sum(self.rejected.values())
        return (
            self.rows_published == self.rows_read == self.rows_accepted + rejected
            and self.rejected_in_postgres == rejected
            and reconciles([Held("audit", self.rows_accepted, self.sums), *self.places])
        )


MONTHS = (
    ("yellow", "2021-01", "dtc", 100_000, 25),
    ("yellow", "2021-02", "dtc", 90_000, 0),
    ("green", "2021-01", "tlc", 40_000, 0),
    ("green", "2021-02", "tlc", 35_000, 0),
)
"""Service, month, origin, rows, and how many of them are malformed."""


@click.command("demo", epilog=examples("taxi demo"))
def command() -> int:
    """
    Fill real tables through real pipelines from synthetic files, and check the numbers.

    It needs no internet and no cloud account; the exit code is 0 only if every pipeline ran and every number agrees.
    """
    started = time.monotonic()
    refuse_unreadable(PROJECT, configured())
    trips = local_dir() / "trips"
    for service, month, origin, rows, malformed in MONTHS:
        generate(service, month, origin, rows, trips, malformed=malformed)
    env = environment(trips)
    _refuse_to_replace_real_months(env)
    for pipeline in ("example_pipeline", "test_config", "local_to_gcs", "reference_tables"):
        _say(f"mage run {pipeline}")
        run_pipeline(pipeline, {}, env)
    seconds = [_load(*month[:3], env) for month in MONTHS]
    for target in TARGETS:
        _say(f"mage run trips_to_marts: zones, revenue, tips and speeds in {target}")
        run_pipeline("trips_to_marts", {"target": target}, env)
    settings = Settings.from_environment(env)
    loaded = [
        _look(service_named(service), Month.parse(month), rows, took, settings)
        for (service, month, _, rows, _), took in zip(MONTHS, seconds, strict=True)
    ]
    Console().print(_table(loaded))
    agree = all(month.agrees for month in loaded)
    print(f"{'All numbers agree' if agree else 'FAILED  the numbers disagree'} ({time.monotonic() - started:.0f} s)")
    audit = f"{env.get('POSTGRES_SCHEMA', 'ny_taxi')}.load_audit"
    print(f'Look around: taxi sql "select * from {audit}"   or   taxi ui   or   ls {local_dir() / "google"}')
    return 0 if agree else 1


def _say(text: str) -> None:
    print(f"\n=== {text}", flush=True)


def _refuse_to_replace_real_months(env: dict[str, str]) -> None:
    """Synthetic trips never take the place of real ones: a month that came from a real origin stops the demo."""
    settings = Settings.from_environment(env)
    for service, month, *_ in MONTHS:
        for place, url in _loaded_from(service_named(service), Month.parse(month), settings):
            if not url.startswith("http://127.0.0.1"):
                raise PipelineFailed(
                    f"{place} holds {service} {month} from {url}, which the demo would replace by synthetic trips: "
                    f"give it a place of its own, POSTGRES_SCHEMA=ny_taxi_demo NYC_TAXI_LOCAL_DIR=.local/demo make demo"
                )


def _loaded_from(service: Service, month: Month, settings: Settings) -> Iterator[tuple[str, str]]:
    """The places that hold a month, with the URL that it came from."""
    schema = settings.postgres.schema
    with connect(settings.postgres) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", (f"{schema}.load_audit",))
        if cursor.fetchone() != (None,):
            cursor.execute(
                # A load that failed has no URL; the column status is not in every older table.
                f"SELECT url FROM {schema}.load_audit WHERE service = %s AND file_month = %s AND url IS NOT NULL "
                f"ORDER BY load_id DESC LIMIT 1",
                (service.name, month.first_day),
            )
            yield from ((schema, url) for (url,) in cursor.fetchall())
    with suppress(NotPublished):
        found = find_month(service, month, settings.google)
        yield found.path, found.url


def _load(service: str, month: str, origin: str, env: dict[str, str]) -> float:
    """Load a month into every target; the seconds that it took."""
    _say(f"mage run all_targets: {service} {month} from {origin}")
    started = time.monotonic()
    run_pipeline("all_targets", {"service": service, "month": month, "origin": origin}, env)
    return time.monotonic() - started


def _look(service: Service, month: Month, rows: int, seconds: float, settings: Settings) -> Loaded:
    """What was audited of a month of so many published rows, and what every target and its marts now hold."""
    with connect(settings.postgres) as connection, connection.cursor() as cursor:
        cursor.execute(
            f"SELECT url, rows_read, rows_accepted, rejected, sums FROM {settings.postgres.schema}.load_audit "
            f"WHERE service = %s AND file_month = %s AND status = 'loaded' ORDER BY load_id DESC LIMIT 1",
            (service.name, month.first_day),
        )
        url, rows_read, rows_accepted, rejected, sums = cursor.fetchone() or ()
    _, rows_rejected, _ = measure_month(service, month, settings.postgres)
    held = measure_targets(service, month, settings) + measure_marts(service, month, settings)
    return Loaded(Path(url).name, rows, rows_read, rows_accepted, rejected, sums, seconds, rows_rejected, held)


def _table(loaded: list[Loaded]) -> Table:
    """A column per file, for a terminal has more lines than columns."""
    table = Table("", *(month.file.replace("_tripdata_", "\n").replace(".", "\n", 1) for month in loaded))
    reasons = sorted({reason for month in loaded for reason in month.rejected})
    places = ("in Postgres", "in GCS, month", "in GCS, days", "in BigQuery", "marts, Postgres", "marts, BigQuery")
    table.add_row("rows read", *(f"{month.rows_read:,}" for month in loaded))
    table.add_row("accepted", *(f"{month.rows_accepted:,}" for month in loaded))
    for reason in reasons:
        table.add_row(reason, *(f"{month.rejected.get(reason, 0):,}" for month in loaded))
    for number, place in enumerate(places):
        table.add_row(place, *(f"{month.places[number].rows:,}" for month in loaded))
    table.add_row("seconds", *(f"{month.seconds:.1f}" for month in loaded))
    table.add_row("agree", *("yes" if month.agrees else "NO" for month in loaded))
    return table
