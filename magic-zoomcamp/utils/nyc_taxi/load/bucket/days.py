"""
Trips in one Parquet object per day of pickup, in folders that every reader of Hive partitions knows.

A month's file holds trips of neighbouring days, and a few of any year: the object's name has the month beside the day,
so that replacing one month neither doubles nor deletes what another month has on the same day.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import CountsDisagree, NotATripFile
from nyc_taxi.google import bucket_of, google_errors
from nyc_taxi.load.bucket.objects import NewObject, listing, replace_set, scratch_folder
from nyc_taxi.load.bucket.pair import described
from nyc_taxi.load.bucket.parquet import Encoder, TripsWriter, free_unused
from nyc_taxi.manifest import StagedFile, sums_agree
from nyc_taxi.months import Month
from nyc_taxi.settings import GoogleSettings
from nyc_taxi.transform.rules import accepted

NO_DAY = "__HIVE_DEFAULT_PARTITION__"
"""Hive's name for the partition of rows without a value."""
HELD_ROWS = 131_072
"""Rows of all days together that wait for their row group: what bounds the memory."""
FORMAT = 2
"""Raise it when the same staged file would become other bytes."""


@dataclass(frozen=True)
class DayFile:
    """One day's trips in a local file."""

    day: date | None
    """None for trips without a time of pickup."""
    path: Path
    rows: int
    sums: dict[str, float]

    @property
    def text(self) -> str:
        """The day as it stands in a partition's name."""
        return self.day.isoformat() if self.day else NO_DAY

    def as_object(self, name: str, about: dict[str, str]) -> NewObject:
        """The object that it becomes; its rows and sums are kept beside it."""
        sums = {f"sum_{measure}": repr(total) for measure, total in self.sums.items()}
        return NewObject(self.path, name, about | {"rows": str(self.rows)} | sums)


def partition_column(service: Service) -> str:
    """Name of the date column that exists in folder names only, such as tpep_pickup_date."""
    return f"{service.pickup.removesuffix('_datetime')}_date"


def day_object(service: Service, month: Month, day: str) -> str:
    """Name of the object that holds one month's trips of one day; `*` for the pattern of all its days."""
    folder = f"trips_by_day/{service.name}/{partition_column(service)}={day}"
    return f"{folder}/{service.name}_tripdata_{month}.parquet"


def replace_month(file: StagedFile, google: GoogleSettings) -> None:
    """
    Replace the month's day objects: the days it no longer has go, other months' objects on the same days stay.

    Raises as replace_month of the whole month does; whatever stops the upload leaves the old days.
    """
    file.check_conservation()
    bucket = bucket_of(google)
    pattern = day_object(file.service, file.month, "*")
    version = sha256(f"{FORMAT} {file.sha256} {file.rules}".encode()).hexdigest()[:16]
    where = f"gs://{bucket.name}/{pattern}"
    with google_errors(where, google), scratch_folder(file.staged) as folder:
        days = split_by_day(accepted(file), folder, file.service.schema, file.service.pickup, file.service.measures)
        _refuse_other_numbers(file, sum(day.rows for day in days), added_up(day.sums for day in days))
        news = [day.as_object(day_object(file.service, file.month, day.text), described(file)) for day in days]
        replace_set(bucket, news, pattern, version, placing=half_replaced(where, google))
    print(f"{where}: {file.rows_accepted:,} rows in {len(days)} days", flush=True)


def half_replaced(where: str, google: GoogleSettings) -> AbstractContextManager[None]:
    """For the moment in which days take their place: an error in it says that they are of two versions now."""
    return google_errors(f"{where}: the days are of two versions now, run the pipeline again; {where}", google)


def measure_month(service: Service, month: Month, google: GoogleSettings) -> tuple[int, dict[str, float], int]:
    """
    Rows, the sum of each measure and the number of days, as counted when the objects were written.

    Raises NotATripFile for an object that another program wrote, CountsDisagree when the days are of two versions.
    """
    bucket = bucket_of(google)
    pattern = day_object(service, month, "*")
    with google_errors(f"gs://{bucket.name}/{pattern}", google):
        blobs = listing(bucket, pattern)
    found = [blob.metadata or {} for blob in blobs.values()]
    wanted = {"rows", *(f"sum_{name}" for name in service.measures)}
    for name, about in zip(blobs, found, strict=True):
        if not wanted <= about.keys():
            raise NotATripFile(
                f"gs://{bucket.name}/{name} says nothing of its rows: another program wrote it; "
                f"move it and run api_to_gcs"
            )
    if len({about.get("version") for about in found}) > 1:
        raise CountsDisagree(
            f"gs://{bucket.name}/{pattern}: the days are of two versions, a run was stopped between them or another "
            f"runs now; run the pipeline again"
        )
    sums = added_up({name: float(about[f"sum_{name}"]) for name in service.measures} for about in found)
    return sum(int(about["rows"]) for about in found), sums, len(found)


def check_month(file: StagedFile, google: GoogleSettings) -> None:
    """Raise CountsDisagree unless the month's day objects add up to the rows and sums of the manifest."""
    rows, sums, _ = measure_month(file.service, file.month, google)
    _refuse_other_numbers(file, rows, sums)


def split_by_day(
    batches: Iterable[pa.RecordBatch], folder: Path, schema: pa.Schema, pickup: str, measures: Sequence[str]
) -> list[DayFile]:
    """
    Write one Parquet file per day of pickup, in the order of the days.

    Args:
        batches: rows in the schema, in any order of time; a month is nearly in order, and then this is fast.
        folder: where the files go.
        schema: of the files.
        pickup: the timestamp column that has the day, NYC wall clock.
        measures: columns to sum per day.
    """
    with Encoder(threads=2) as encoder:  # no day's file waits for another's
        splitter = _Splitter(folder, schema, measures, encoder)
        for batch in batches:
            for day, rows in _days(batch, pickup):
                splitter.add(day, rows)
        days = splitter.finish()
    free_unused()
    return days


def _days(batch: pa.RecordBatch, pickup: str) -> Iterator[tuple[date | None, pa.RecordBatch]]:
    """The batch's rows by day; a batch of one day, as most are, is not copied."""
    days = batch[pickup].cast(pa.date32())
    first = days[0].as_py() if len(days) else None
    if len(days) and days.null_count == 0 and pc.all(pc.equal(days, first)).as_py():
        yield first, batch
        return
    order = pc.sort_indices(days)
    numbers = pc.fill_null(days.cast(pa.int32()), np.iinfo(np.int32).max).take(order).to_numpy()
    starts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
    for start, end in pairwise(starts):
        if end > start:
            # Taken, not sliced: one stray row must not keep its whole batch in memory.
            yield days[order[start].as_py()].as_py(), batch.take(order.slice(start, end - start))


class _Splitter:
    """Holds rows per day until there are too many, then writes those of the fullest day."""

    def __init__(self, folder: Path, schema: pa.Schema, measures: Sequence[str], encoder: Encoder) -> None:
        self.folder, self.schema, self.measures, self.encoder = folder, schema, measures, encoder
        self.held: dict[date | None, list[pa.RecordBatch]] = {}
        self.rows: dict[date | None, int] = {}
        self.open: dict[date | None, TripsWriter] = {}

    def add(self, day: date | None, batch: pa.RecordBatch) -> None:
        self.held.setdefault(day, []).append(batch)
        self.rows[day] = self.rows.get(day, 0) + len(batch)
        while sum(self.rows.values()) > HELD_ROWS:
            self._write(max(self.rows, key=lambda each: self.rows[each]))

    def _write(self, day: date | None) -> None:
        if day not in self.open:
            self.open[day] = TripsWriter(self._path(day), self.schema, self.measures, self.encoder)
        batches, self.held[day], self.rows[day] = self.held[day], [], 0
        self.open[day].write_group(batches)

    def _path(self, day: date | None) -> Path:
        return self.folder / f"{day}.parquet"

    def finish(self) -> list[DayFile]:
        days = sorted(self.held, key=lambda each: (each is None, each or date.min))
        for day in days:
            self._write(day)
        files = []
        for day in days:
            with self.open[day] as writer:
                pass
            files.append(DayFile(day, self._path(day), writer.rows, writer.sums))
        return files


def added_up(sums: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The sum of each measure over all days."""
    total: dict[str, float] = {}
    for each in sums:
        for name, value in each.items():
            total[name] = total.get(name, 0.0) + value
    return total


def _refuse_other_numbers(file: StagedFile, rows: int, sums: dict[str, float]) -> None:
    if rows != file.rows_accepted or not sums_agree(sums, file.sums):
        raise CountsDisagree(
            f"{file.service_name} {file.month}: the manifest has {file.rows_accepted:,} rows and sums {file.sums}, the "
            f"day partitions {rows:,} and {sums}: another run replaced the month; run the pipeline again"
        )
