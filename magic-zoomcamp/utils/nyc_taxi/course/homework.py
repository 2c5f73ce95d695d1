"""
The course's homework: three months of green trips, cleaned, their names in snake case, with a date to partition by.

The cleaned trips are one Parquet file beside the staged ones, named after what it was made of; blocks hand on where it
is and its numbers.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from inflection import underscore

from nyc_taxi.catalog.services import GREEN
from nyc_taxi.errors import CountsDisagree, NotATripFile
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.files import writing_to
from nyc_taxi.load.bucket.days import partition_column
from nyc_taxi.load.bucket.objects import scratch_folder
from nyc_taxi.load.bucket.parquet import TripsWriter
from nyc_taxi.manifest import BATCH_ROWS, Manifest, sums_agree
from nyc_taxi.run import run_context
from nyc_taxi.settings import Settings
from nyc_taxi.transform.rules import accepted, apply_rules

MONTHS = ("2020-10", "2020-11", "2020-12")
RULES = ("has_passengers", "positive_distance")
PICKUP, PICKUP_DATE = underscore(GREEN.pickup), partition_column(GREEN)
FORMAT = 1
"""Raise it when the same trip files would be cleaned differently."""


@dataclass(frozen=True)
class CleanTrips:
    """The cleaned trips: the file that holds them, and the numbers that follow it to every target."""

    path: str
    version: str
    """Names the content: the same trip files, cleaned in the same way."""
    rows_read: Mapping[str, int]
    """Per month."""
    rows_kept: Mapping[str, int]
    """Per month."""
    rejected: Mapping[str, int]
    """Rows left out, by reason, those that could not be parsed included."""
    columns_read: tuple[str, ...]
    """Names in the trip files."""
    sums: Mapping[str, float]
    """Sum of each of the service's measures over the kept rows."""

    @property
    def total_read(self) -> int:
        """Rows of all trip files."""
        return sum(self.rows_read.values())

    @property
    def total_kept(self) -> int:
        """Rows of the cleaned file."""
        return sum(self.rows_kept.values())

    @property
    def columns_renamed(self) -> dict[str, str]:
        """The names that snake case changes, and what they become."""
        return {name: underscore(name) for name in self.columns_read if underscore(name) != name}

    @property
    def schema(self) -> pa.Schema:
        """The columns that the trip files have, in snake case, and the date of pickup."""
        fields = [GREEN.schema.field(name).with_name(underscore(name)) for name in self.columns_read]
        return pa.schema([*fields, pa.field(PICKUP_DATE, pa.date32())])

    @property
    def file(self) -> Path:
        """The cleaned file; NotATripFile when it is gone."""
        if not Path(self.path).exists():
            raise NotATripFile(f"cleaned file {self.path} is gone: run clean_green_taxi again")
        return Path(self.path)

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Stream the cleaned rows, optionally some columns only; NotATripFile when the file is gone."""
        with pq.ParquetFile(self.file, pre_buffer=False) as parquet:
            yield from parquet.iter_batches(BATCH_ROWS, columns=columns)

    def distinct(self, column: str) -> set[Any]:
        """The values that occur in a column, None for a missing one."""
        return {value for batch in self.batches([column]) for value in pc.unique(batch[column]).to_pylist()}

    def refuse_other_numbers(self, where: str, rows: int, sums: Mapping[str, float]) -> None:
        """Raise CountsDisagree unless these are the rows and sums of the cleaned trips."""
        if rows != self.total_kept or not sums_agree(self.sums, sums):
            raise CountsDisagree(
                f"{self.total_kept:,} green trips with sums {dict(self.sums)} were kept, {where} has {rows:,} with "
                f"{dict(sums)}: another run replaced them, or they were changed by hand; run green_taxi_etl again"
            )

    def to_frame(self) -> pd.DataFrame:
        """One row of plain text, numbers as JSON: what Mage keeps without loss."""
        row = {name: value if isinstance(value, str) else json.dumps(value) for name, value in asdict(self).items()}
        return pd.DataFrame([row | {"columns_renamed": json.dumps(self.columns_renamed)}])

    @classmethod
    def of_frame(cls, frame: pd.DataFrame) -> "CleanTrips":
        """The inverse of to_frame."""
        [row] = frame.drop(columns="columns_renamed").to_dict("records")
        texts = {str(name): value for name, value in row.items()}
        values = {name: text if name in ("path", "version") else json.loads(text) for name, text in texts.items()}
        return cls(**values | {"columns_read": tuple(values["columns_read"])})


def stage_months(settings: Settings | None = None) -> Manifest:
    """Fetch, conform and stage the three trip files; raises what staging.stage_trip_file does."""
    runs = [run_context({"service": GREEN.name, "month": month, "origin": "dtc"}, settings) for month in MONTHS]
    return Manifest(tuple(file for run in runs for file in stage_trip_file(run).files))


def clean(manifest: Manifest, staging_dir: Path) -> CleanTrips:
    """
    Write the rows that pass the rules to one file, in snake case and with their date; print what is left out and why.

    The same trip files give the same bytes. Raises CountsDisagree unless every row read is kept or left out with its
    reason, NotATripFile when a staged file is gone or nothing is left of it, StorageFull when the disk is full.
    """
    files = apply_rules(manifest, RULES).files
    content = f"{FORMAT} {RULES} {[file.sha256 for file in files]}"
    version = sha256(content.encode()).hexdigest()[:16]
    rejected = Counter[str]()
    for file in files:
        rejected.update(file.rejected)
    trips = CleanTrips(
        path=str(staging_dir / "green_taxi" / f"{version}.parquet"),
        version=version,
        rows_read={file.month_text: file.rows_read for file in files},
        rows_kept={file.month_text: file.rows_accepted for file in files},
        rejected=dict(rejected),
        columns_read=tuple(name for name in GREEN.schema.names if any(name in file.columns for file in files)),
        sums={name: sum(file.sums[name] for file in files) for name in GREEN.measures},
    )
    with writing_to(Path(trips.path).parent):
        _write(trips, (batch for file in files for batch in accepted(file)))
    print(f"{trips.path}: {trips.total_kept:,} of {trips.total_read:,} green trips kept", flush=True)
    return trips


def _write(trips: CleanTrips, batches: Iterator[pa.RecordBatch]) -> None:
    """Write the file in a folder of its own, check its numbers and move it into its place."""
    path = Path(trips.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(path) as folder:
        with TripsWriter(folder / path.name, trips.schema, GREEN.measures) as out:
            for batch in batches:
                out.write(_cleaned(batch, trips))
        trips.refuse_other_numbers(path.name, out.rows, out.sums)
        os.replace(folder / path.name, path)


def _cleaned(batch: pa.RecordBatch, trips: CleanTrips) -> pa.RecordBatch:
    columns = [batch[name] for name in trips.columns_read]
    return pa.RecordBatch.from_arrays([*columns, batch[GREEN.pickup].cast(pa.date32())], schema=trips.schema)
