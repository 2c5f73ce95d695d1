"""
A month through all targets by library calls, in a process of its own that can be killed at any moment.

    python -m tests.chaos.chain <month> <rules>
"""

import os
import sys
from dataclasses import dataclass

from nyc_taxi.catalog.services import YELLOW
from nyc_taxi.errors import CountsDisagree
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.google import bigquery_client, bucket_of
from nyc_taxi.load.bigquery import month as bigquery
from nyc_taxi.load.bucket import days, pair
from nyc_taxi.load.bucket import month as bucket
from nyc_taxi.load.postgres import month as postgres
from nyc_taxi.manifest import StagedFile, sums_agree
from nyc_taxi.months import Month
from nyc_taxi.settings import Settings
from nyc_taxi.transform.rules import apply_rules

from tests.conftest import run_of, sql
from tests.nyc_taxi.load.bigquery.bigquery_helpers import load

MONTH = Month(2021, 1)
STEP = "step: "
"""Before the name of each step; the first one is said when all is imported: a kill from now on hits the chain."""


def say(step: str) -> None:
    """Where it is now."""
    print(f"{STEP}{step}", flush=True)


def stage(settings: Settings, rules: str) -> StagedFile:
    """The month as it is published now, judged by the rules."""
    run = run_of(settings, YELLOW.name, str(MONTH), "dtc", rules)
    [file] = apply_rules(stage_trip_file(run), run.rules).files
    return file


def load_everywhere(file: StagedFile, settings: Settings) -> None:
    """Load it into all targets, and check each."""
    say("Postgres")
    postgres.replace_month(file, settings.postgres)
    postgres.check_month(file, settings.postgres)
    say("object")
    bucket.replace_month(file, settings.google)
    bucket.check_month(file, settings.google)
    say("days")
    days.replace_month(file, settings.google)
    days.check_month(file, settings.google)
    say("BigQuery")
    load(bucket.find_month(YELLOW, MONTH, settings.google), settings.google)


@dataclass(frozen=True)
class Found:
    """What the targets hold, each as a version of the month; None for one that says itself that it is of two."""

    postgres: StagedFile
    bucket: StagedFile | None
    days: StagedFile | None
    bigquery: StagedFile

    def is_all(self, file: StagedFile) -> bool:
        """Whether every target holds this version."""
        return all(each == file for each in vars(self).values())


def look(settings: Settings, versions: list[StagedFile]) -> Found:
    """Which whole version each target holds; fails for anything else."""
    rows, rejected, sums = postgres.measure_month(YELLOW, MONTH, settings.postgres)
    in_postgres = one_of(versions, rows, sums, rejected)
    audited = sql(settings.postgres, "SELECT rows_accepted FROM ny_taxi.load_audit ORDER BY load_id DESC LIMIT 1")
    assert audited == [(in_postgres.rows_accepted,)]
    return Found(
        in_postgres,
        in_bucket(settings, versions),
        in_days(settings, versions),
        one_of(versions, *bigquery.measure_month(YELLOW, MONTH, settings.google)),
    )


def in_bucket(settings: Settings, versions: list[StagedFile]) -> StagedFile | None:
    """The version of the month's object and of its rejected rows."""
    rows, sums = bucket.measure_month(YELLOW, MONTH, settings.google)
    found = one_of(versions, rows, sums)
    try:
        assert bucket.count_rejected(YELLOW, MONTH, settings.google) == found.rows_rejected
    except CountsDisagree:
        return None
    return found


def in_days(settings: Settings, versions: list[StagedFile]) -> StagedFile | None:
    """The version of the days."""
    try:
        rows, sums, _ = days.measure_month(YELLOW, MONTH, settings.google)
    except CountsDisagree:
        return None
    return one_of(versions, rows, sums)


def one_of(versions: list[StagedFile], rows: int, sums: dict[str, float], rejected: int | None = None) -> StagedFile:
    """The version that has these numbers."""
    for file in versions:
        same = rows == file.rows_accepted and sums_agree(sums, file.sums)
        if same and rejected in (None, file.rows_rejected):
            return file
    raise AssertionError(f"{rows} rows, {rejected} rejected, sums {sums}: no version of the month")


def leftovers(settings: Settings) -> list[str]:
    """What a clean run should have removed; a staging table in BigQuery expires by itself."""
    tables = sql(settings.postgres, r"SELECT relname::text FROM pg_class WHERE relname LIKE '%\_new%'")
    aside = [blob.name for blob in bucket_of(settings.google).list_blobs(prefix="_incoming/")]
    exports = [path.name for path in settings.staging_dir.glob("*/*/exports/*")]
    expiring = bigquery_client(settings.google)
    lasting = [
        table.table_id
        for table in expiring.list_tables(settings.google.dataset)
        if "_staging_" in table.table_id and expiring.get_table(table).expires is None
    ]
    names = {pair.month_object(YELLOW, MONTH), pair.rejected_object(YELLOW, MONTH)}
    strange = [blob.name for blob in bucket_of(settings.google).list_blobs(prefix="trips") if "by_day" not in blob.name]
    return [str(name) for (name,) in tables] + aside + exports + lasting + sorted(set(strange) - names)


def main() -> None:
    """Run the chain with the settings of the environment."""
    settings = Settings.from_environment(dict(os.environ))
    say("staging")
    load_everywhere(stage(settings, sys.argv[1]), settings)


if __name__ == "__main__":
    main()
