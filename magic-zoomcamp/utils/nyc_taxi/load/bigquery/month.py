"""
One month into BigQuery: its object in the lake loaded into a staging table, from which SQL replaces the month.

BigQuery reads the object itself: no row passes through this process. The SQL is a block of the pipeline,
write_taxi_to_bigquery.sql. Whatever interrupts a load leaves the old month, and a staging table that BigQuery removes
after STAGING_DAYS.
"""

import secrets
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import cast

import pandas as pd
import requests
from google.api_core import exceptions
from google.cloud import bigquery

from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import CountsDisagree, NotATripFile
from nyc_taxi.google import REQUEST_SECONDS, bigquery_client, bigquery_retry, bigquery_rows, google_errors, is_misplaced
from nyc_taxi.load.bigquery.tables import FILE_MONTH, columns, ensure_table
from nyc_taxi.manifest import StagedFile, sums_agree
from nyc_taxi.months import Month
from nyc_taxi.settings import GoogleSettings

STAGING_DAYS = 1
POLL_SECONDS = 0.5
CLEAN_UP_SECONDS = 10.0
"""How long to try to remove a staging table after an error: BigQuery may be what failed."""


@dataclass(frozen=True)
class StagedMonth:
    """A month loaded beside its table: what the SQL that replaces the month needs to know."""

    target: str
    """project.dataset.table of the service's trips."""
    staging: str
    """project.dataset.table of this run's rows, in TLC's own column names, without file_month."""
    file_month: str
    """The first day of the month, YYYY-MM-DD."""
    columns: str
    """Every column of the target, as SQL lists them. BigQuery does not mind the case of TLC's names."""

    def to_frame(self) -> pd.DataFrame:
        """One row, for blocks."""
        return pd.DataFrame([asdict(self)])

    @classmethod
    def of_frame(cls, frame: pd.DataFrame) -> "StagedMonth":
        """The inverse of to_frame."""
        [row] = frame.to_dict("records")
        return cls(**{str(name): str(value) for name, value in row.items()})


def stage_month(file: StagedFile, google: GoogleSettings) -> StagedMonth:
    """
    Load the month's object in the lake into a staging table of its own; make the service's table where it is missing.

    Raises NotATripFile when BigQuery cannot read the object as this service's trips, CountsDisagree when it holds other
    rows or sums than the manifest, TargetUnavailable when BigQuery cannot be reached or refuses. None of them leaves a
    staging table or touches the month that was there.
    """
    started = time.monotonic()
    client = bigquery_client(google)
    time_there = _times_of_answers(client)
    with google_errors(_where(client, google), google):
        target = ensure_table(file.service, client, google)
        staging = _create_staging(file, client, google, time_there[-1])
        try:
            _load(file, staging, client)
            _check_staging(file, staging, client)
        except BaseException:
            # Of the two errors the first one counts; and the table expires anyway.
            with suppress(exceptions.GoogleAPIError, requests.RequestException):
                patient = bigquery_retry(CLEAN_UP_SECONDS)
                client.delete_table(staging, retry=patient, timeout=CLEAN_UP_SECONDS, not_found_ok=True)
            raise
    said = f"{file.rows_accepted:,} rows in {time.monotonic() - started:.1f} s"
    print(f"{file.path} -> {_name(staging)}: {said}", flush=True)
    names = [*(field.name for field in columns(file.service)), FILE_MONTH]
    return StagedMonth(_name(target), _name(staging), str(file.month.first_day), ", ".join(names))


def drop_staging(staged: StagedMonth, google: GoogleSettings) -> None:
    """Remove a run's staging table; that it is gone is no error."""
    client = bigquery_client(google)
    with google_errors(_where(client, google), google):
        client.delete_table(staged.staging, retry=bigquery_retry(), timeout=REQUEST_SECONDS, not_found_ok=True)


def measure_month(service: Service, month: Month, google: GoogleSettings) -> tuple[int, dict[str, float]]:
    """What BigQuery holds of a month: rows, and the sum of each of the service's measures. Scans that month only."""
    client = bigquery_client(google)
    table = f"{client.project}.{google.dataset}.{service.table}"
    with google_errors(_where(client, google), google):
        return _measure(f"`{table}` WHERE {FILE_MONTH} = DATE '{month.first_day}'", service, client)


def check_month(file: StagedFile, google: GoogleSettings) -> None:
    """Raise CountsDisagree unless BigQuery holds exactly the rows and sums that the manifest counts."""
    rows, sums = measure_month(file.service, file.month, google)
    if rows != file.rows_accepted or not sums_agree(sums, file.sums):
        raise CountsDisagree(
            f"{file.service_name} {file.month}: the manifest has {file.rows_accepted:,} rows and sums "
            f"{dict(file.sums)}, BigQuery {rows:,} and {sums}: another run replaced the month, or rows were changed by "
            f"hand; run gcs_to_bigquery again"
        )


def planned_bytes(sql: str, google: GoogleSettings) -> int:
    """Bytes that a query would scan, by a dry run, which is free; names without a data set mean BIGQUERY_DATASET."""
    client = bigquery_client(google)
    config = bigquery.QueryJobConfig(
        dry_run=True, use_query_cache=False, default_dataset=f"{client.project}.{google.dataset}"
    )
    with google_errors(_where(client, google), google):
        job = client.query(sql, job_config=config, retry=bigquery_retry(), timeout=REQUEST_SECONDS, job_retry=None)
        return int(job.total_bytes_processed or 0)


def _where(client: bigquery.Client, google: GoogleSettings) -> str:
    return f"BigQuery {client.project}.{google.dataset}"


def _name(table: bigquery.TableReference | bigquery.Table) -> str:
    return f"{table.project}.{table.dataset_id}.{table.table_id}"


def _times_of_answers(client: bigquery.Client) -> list[datetime]:
    """
    The time at the service, in its newest answer last: the clock of this machine may be days off.

    First is the time here, for a service that says none.
    """
    times = [datetime.now(UTC)]

    def note(answer: requests.Response, **_: object) -> None:
        with suppress(KeyError, ValueError):
            times.append(parsedate_to_datetime(answer.headers["Date"]))

    client._http.hooks["response"].append(note)
    return times


def _create_staging(file: StagedFile, client: bigquery.Client, google: GoogleSettings, now: datetime) -> bigquery.Table:
    """Make an empty table of this run's own; a load job could make one, but not one that expires."""
    month = str(file.month).replace("-", "_")
    name = f"{client.project}.{google.dataset}.{file.service.table}_staging_{month}_{secrets.token_hex(6)}"
    staging = bigquery.Table(name, schema=columns(file.service, tlc_names=True))
    staging.expires = now + timedelta(days=STAGING_DAYS)
    staging.labels = _labels(file)
    with suppress(exceptions.Conflict):  # the name is random: it was we, in a request whose answer was lost
        client.create_table(staging, retry=bigquery_retry(), timeout=REQUEST_SECONDS)
    return staging


def _load(file: StagedFile, staging: bigquery.Table, client: bigquery.Client) -> None:
    """Have BigQuery read the object into the staging table; NotATripFile with what BigQuery said when it cannot."""
    config = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        schema=staging.schema,
        write_disposition=bigquery.WriteDisposition.WRITE_EMPTY,
        labels=_labels(file),
    )
    retry = bigquery_retry()
    try:
        try:
            job = client.load_table_from_uri(
                file.path, staging, staging.table_id, job_config=config, retry=retry, timeout=REQUEST_SECONDS
            )
        except exceptions.Conflict:  # the same again
            job = cast(bigquery.LoadJob, client.get_job(staging.table_id, retry=retry, timeout=REQUEST_SECONDS))
        # Not job.result(): that goes on asking a dead server for ten minutes, whatever it is given.
        while not job.done(retry=retry, timeout=REQUEST_SECONDS):
            time.sleep(POLL_SECONDS)
        job.result()
    except (exceptions.BadRequest, exceptions.NotFound) as error:
        if is_misplaced(error):
            raise
        said = " ".join(str(error).split())[:400]
        raise NotATripFile(
            f"{file.path}: BigQuery cannot load it as {file.service_name} trips, and left the month as it was; replace "
            f"it (api_to_gcs for {file.service_name} {file.month}), then run gcs_to_bigquery again [{said}]"
        ) from None
    if job.output_rows != file.rows_accepted:
        raise _changed(file, f"{job.output_rows or 0:,} rows")


def _check_staging(file: StagedFile, staging: bigquery.Table, client: bigquery.Client) -> None:
    """Another service's object may load with columns left null: measured before it can replace anything."""
    _, sums = _measure(f"`{_name(staging)}`", file.service, client)
    if not sums_agree(sums, file.sums):
        raise _changed(file, f"sums {sums}")


def _labels(file: StagedFile) -> dict[str, str]:
    """For the bill, and for whoever wonders what a table or job is."""
    return {"service": file.service_name, "file_month": file.month_text}


def _changed(file: StagedFile, found: str) -> CountsDisagree:
    return CountsDisagree(
        f"{file.path}: the manifest has {file.rows_accepted:,} rows and sums {dict(file.sums)}, BigQuery read {found}: "
        f"the object changed meanwhile or is damaged; nothing was replaced: run gcs_to_bigquery again"
    )


def _measure(rows_of: str, service: Service, client: bigquery.Client) -> tuple[int, dict[str, float]]:
    sums = "".join(f", CAST(COALESCE(SUM({name}), 0) AS FLOAT64)" for name in service.measures)
    sql = f"SELECT COUNT(*){sums} FROM {rows_of}"
    [(rows, *totals)] = bigquery_rows(client, sql)
    return rows, dict(zip(service.measures, totals, strict=True))
