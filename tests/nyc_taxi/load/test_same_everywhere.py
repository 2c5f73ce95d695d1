"""Whatever a file holds, Postgres, the bucket and BigQuery end with the same rows, or none of them with any."""

import io
import itertools
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, seed
from hypothesis import settings as hypothesis_settings
from nyc_taxi.errors import TaxiError
from nyc_taxi.extract import staging
from nyc_taxi.google import bigquery_client
from nyc_taxi.load.bucket import days
from nyc_taxi.load.bucket import month as objects
from nyc_taxi.load.bucket.pair import month_object, rejected_object
from nyc_taxi.load.postgres import month as postgres
from nyc_taxi.manifest import StagedFile
from nyc_taxi.settings import GoogleSettings, Settings
from nyc_taxi.transform.rules import RULES, accepted, apply_rules, malformed

from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.conftest import run_of, sql
from tests.nyc_taxi.load.bigquery.bigquery_helpers import load, name_of, query
from tests.nyc_taxi.load.bucket.bucket_helpers import bucket_of
from tests.nyc_taxi.odd_files import OddParquet, odd_parquets

IN_SHORT = hypothesis_settings(
    max_examples=12, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
FOR_LONG = hypothesis_settings(IN_SHORT, max_examples=50, derandomize=False, database=None)
LONG_SECONDS = 200
MEASURES = ("trip_distance", "total_amount", "PULocationID")
Check = Callable[[OddParquet], None]


def counted(rows: Iterable[Iterable[object]]) -> Counter[str]:
    """Rows in any order."""
    return Counter(repr(tuple(row)) for row in rows)


def rows_of(content: Path | bytes, names: list[str]) -> Counter[str]:
    """The rows of a Parquet file."""
    table = pq.read_table(io.BytesIO(content) if isinstance(content, bytes) else content, columns=names)
    return counted(row.values() for row in table.to_pylist())


@pytest.fixture
def check(settings: Settings, trips: TripServer, google: GoogleSettings) -> Check:
    """Takes a file the whole way to every target, and compares what they hold with what was staged."""
    google = replace(google, dataset=f"test_{uuid.uuid4().hex}")
    bigquery_client(google).create_dataset(google.dataset)
    folder = trips.folder / "trip-data"
    folder.mkdir(parents=True)

    def take(odd: OddParquet) -> None:
        odd.write(folder)
        run = run_of(settings, odd.service.name, "2020-10", "tlc", "none")
        run = replace(run, malformed_share=1.0)  # of eight rows one is more than one in a hundred
        try:
            [file] = apply_rules(staging.stage_trip_file(run), run.rules).files
        except TaxiError as error:
            said = str(error)
            print("REFUSED", said)
            assert (len(said.splitlines()), len(said) <= 300) == (1, True), said
            return
        compare(file, settings, google)

    return take


def compare(file: StagedFile, settings: Settings, google: GoogleSettings) -> None:
    postgres.replace_month(file, settings.postgres)
    postgres.check_month(file, settings.postgres)
    objects.replace_month(file, google)
    days.replace_month(file, google)
    days.check_month(file, google)
    load(objects.find_month(file.service, file.month, google), google)

    names = file.service.schema.names
    columns, month = ", ".join(names), f"file_month = DATE '{file.month.first_day}'"
    table, bucket = f"ny_taxi.{file.service.table}", bucket_of(google)
    staged = rows_of(file.staged, names)
    assert counted(sql(settings.postgres, f"SELECT {columns} FROM {table} WHERE {month}")) == staged
    assert counted(query(google, f"SELECT {columns} FROM `{name_of(google, file.service)}` WHERE {month}")) == staged
    whole = bucket.blob(month_object(file.service, file.month)).download_as_bytes()
    assert rows_of(whole, names) == staged
    parts = bucket.list_blobs(match_glob=days.day_object(file.service, file.month, "*"))
    assert sum((rows_of(part.download_as_bytes(), names) for part in parts), Counter()) == staged
    texts = Counter(text for batch in malformed(file) for text in batch["source_text"].to_pylist())
    rejected = sql(settings.postgres, f"SELECT source_text FROM {table}_rejected WHERE {month}")
    assert Counter(text for (text,) in rejected) == texts


@IN_SHORT
@given(odd_parquets(loadable=True, extra=MEASURES))
def test_every_target_sees_the_same(check: Check, odd: OddParquet) -> None:
    check(odd)


@pytest.mark.fuzz
@pytest.mark.timeout(900)
def test_every_target_sees_the_same_for_minutes(check: Check) -> None:
    """New files at every run; a finding is printed with the call that makes it again."""
    until = time.monotonic() + LONG_SECONDS
    for number in itertools.count(time.time_ns()):
        seed(number)(FOR_LONG(given(odd_parquets(loadable=True, extra=MEASURES))(check)))()
        if time.monotonic() > until:
            break


def test_rules_of_the_month_reject_the_same_rows_for_every_target(
    settings: Settings, trips: TripServer, google: GoogleSettings
) -> None:
    google = replace(google, dataset=f"test_{uuid.uuid4().hex}")
    bigquery_client(google).create_dataset(google.dataset)
    path = generate("yellow", "2020-10", "tlc", 40_000, trips.folder)
    table = pq.read_table(path)
    again, back = table.slice(30_000, 500), table.slice(100, 300)
    for name in ("fare_amount", "total_amount"):
        back = back.set_column(back.schema.get_field_index(name), back.schema.field(name), pc.negate(back[name]))
    pq.write_table(pa.concat_tables([table.slice(0, 20_000), again, table.slice(20_000), back]), path)
    rules = ",".join(name for name in RULES if name != "plausible_fare")
    run = run_of(settings, "yellow", "2020-10", "tlc", f"{rules},plausible_fare:warn:max_usd=30")
    [file] = apply_rules(staging.stage_trip_file(run), run.rules).files
    assert file.rejected["duplicate"] > 400
    assert file.rejected["reversal"] == file.rejected["reversed"] > 200
    assert file.warned["fare_too_high"] > 0

    postgres.replace_month(file, settings.postgres)
    postgres.check_month(file, settings.postgres)
    objects.replace_month(file, google)
    days.replace_month(file, google)
    load(objects.find_month(file.service, file.month, google), google)
    names, wanted = file.service.schema.names, sum((counted_batch(batch) for batch in accepted(file)), Counter())
    assert wanted.total() == file.rows_accepted
    columns, bucket = ", ".join(names), bucket_of(google)
    assert counted(sql(settings.postgres, f"SELECT {columns} FROM ny_taxi.yellow_cab_data")) == wanted
    assert counted(query(google, f"SELECT {columns} FROM `{name_of(google, file.service)}`")) == wanted
    assert rows_of(bucket.blob(month_object(file.service, file.month)).download_as_bytes(), names) == wanted
    parts = bucket.list_blobs(match_glob=days.day_object(file.service, file.month, "*"))
    assert sum((rows_of(part.download_as_bytes(), names) for part in parts), Counter()) == wanted
    # Those rejected are the same ones too, each by the same reason.
    asked = f"SELECT {columns}, reason FROM ny_taxi.yellow_cab_data_rejected"
    lost = bucket.blob(rejected_object(file.service, file.month)).download_as_bytes()
    assert counted(sql(settings.postgres, asked)) == rows_of(lost, [*names, "reason"])
    assert objects.find_month(file.service, file.month, google).warned == file.warned


def counted_batch(batch: pa.RecordBatch) -> Counter[str]:
    return counted(row.values() for row in batch.to_pylist())
