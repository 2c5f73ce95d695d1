"""
The numbers behind the charts of Mage's editor: small frames, counted on demand from what a manifest points at.

Blocks hand manifests to each other, not trips; a chart asks here for what it draws. A chart stands beside blocks that
may not have run yet, or have failed: it then says so in one line and draws nothing.
"""

from collections.abc import Callable
from datetime import date

import pandas as pd

from nyc_taxi.errors import TaxiError
from nyc_taxi.load.postgres.audit import AUDIT_TABLE
from nyc_taxi.load.postgres.connection import connect, is_there
from nyc_taxi.manifest import Manifest, StagedFile
from nyc_taxi.report.numbers import DISTANCES, FARES, PAYMENT, in_words
from nyc_taxi.report.tallies import Calendar, Histogram, Values, tally
from nyc_taxi.settings import PostgresSettings

LOADS_SHOWN = 30

Rows = list[tuple[object, int]]


def trips_per_day(manifest: object) -> pd.DataFrame:
    """Accepted trips by day of pickup: `day` of the month, `trips`."""

    def count(file: StagedFile) -> Rows:
        calendar = Calendar(file.service, file.month, with_money=False)
        tally(file, [calendar])
        return [(day.day, int(trips)) for day, trips in zip(calendar.days, calendar.trips, strict=True)]

    return _drawn(manifest, count, ["day", "trips"])


def distances(manifest: object) -> pd.DataFrame:
    """Accepted trips by length: `miles` where a bin begins, `trips` in it; fhv has no length."""
    return _drawn(manifest, lambda file: _histogram(file, file.service.distance, *DISTANCES), ["miles", "trips"])


def fares(manifest: object) -> pd.DataFrame:
    """Accepted trips by fare: `usd` where a bin begins, `trips` in it; fhv has no fare."""
    return _drawn(manifest, lambda file: _histogram(file, file.service.fare, *FARES), ["usd", "trips"])


def payment_types(manifest: object) -> pd.DataFrame:
    """Accepted trips by way of payment in words: `payment`, `trips`; fhv and fhvhv have none."""

    def count(file: StagedFile) -> Rows:
        if PAYMENT not in file.service.schema.names:
            return []
        payments = Values(PAYMENT)
        tally(file, [payments])
        return list(in_words(payments, file.service))

    return _drawn(manifest, count, ["payment", "trips"])


def rejected_rows(manifest: object) -> pd.DataFrame:
    """Rejected rows: `reason`, `rows`."""
    return _drawn(manifest, lambda file: list(file.rejected.items()), ["reason", "rows"])


def load_history(settings: PostgresSettings) -> tuple[list[str], list[int]]:
    """The last loads in the order of time: what each loaded, and how many rows; a load that failed has none."""
    try:
        with connect(settings) as connection, connection.cursor() as cursor:
            if is_there(cursor, f"{settings.schema}.{AUDIT_TABLE}"):
                cursor.execute(
                    f"SELECT load_id, service, file_month, rows_accepted FROM {settings.schema}.{AUDIT_TABLE} "
                    f"ORDER BY load_id DESC LIMIT %s",
                    (LOADS_SHOWN,),
                )
            loads = cursor.fetchall()[::-1]
        said = "nothing to draw yet: run a pipeline that loads into Postgres"
    except TaxiError as error:
        loads, said = [], str(error)
    if not loads:
        print(said)
    return [_load(*load) for load in loads], [rows or 0 for *_, rows in loads]


def _load(number: int, service: str | None, month: date | None, rows: int | None) -> str:
    """The number keeps loads of the same month apart; a run that failed may not have come to know its month."""
    words = (f"#{number}", "failed" if rows is None else None, service, f"{month:%Y-%m}" if month else None)
    return " ".join(word for word in words if word)


def _histogram(file: StagedFile, column: str | None, width: float, end: float) -> Rows:
    if column is None:
        return []
    values = Histogram(column, width, end)
    tally(file, [values])
    return [(float(start), int(trips)) for start, trips in zip(values.starts, values.counts, strict=True)]


def _drawn(manifest: object, count: Callable[[StagedFile], Rows], columns: list[str]) -> pd.DataFrame:
    """What `count` finds in the manifest's one file; an empty frame, and a line that says why, when there is none."""
    try:
        files = Manifest.of_frame(manifest).files if isinstance(manifest, pd.DataFrame) else ()
        rows = count(files[0]) if files else []
        said = (
            f"{files[0].service_name} has nothing to draw here" if files else "nothing to draw yet: run the block above"
        )
    except TaxiError as error:
        rows, said = [], str(error)
    if not rows:
        print(said)
    return pd.DataFrame(rows, columns=columns)
