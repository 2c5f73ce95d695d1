"""The trips of a manifest as a DataFrame: for the course's blocks, and one's own, that come after this project's."""

from collections.abc import Iterator

import pandas as pd
import pyarrow as pa

from nyc_taxi.errors import TooManyRows, UnknownName, not_one_of
from nyc_taxi.manifest import Manifest, StagedFile
from nyc_taxi.settings import Settings
from nyc_taxi.transform.rules import accepted

LIMIT = 1_500_000
"""Rows. Handed from block to block, as many yellow trips take some 1.7 GB of memory."""
CHOICES = ("accepted", "all")


def trips_frame(manifest: Manifest, rows: str = "accepted", limit: object = LIMIT) -> pd.DataFrame:
    """
    The trips of a manifest's files, in the columns that these have, as TLC spells them; whole numbers may be missing.

    Args:
        manifest: of a loader, or of transform_taxi_data, whose rules decide which rows are accepted.
        rows: `accepted`, which is every row where no rules were asked yet, or `all` that could be parsed.
        limit: how many rows are too many, a number or its text.

    Raises UnknownName for what `rows` and `limit` cannot be, TooManyRows before any row is read, NotATripFile when a
    staged file is gone; of an object in the bucket, which holds accepted rows only, TargetUnavailable.
    """
    if rows not in CHOICES:
        raise UnknownName(not_one_of("rows", rows, CHOICES))
    number = sum(_count(file, rows) for file in manifest.files)
    if number > _limit(limit):
        raise TooManyRows(
            f"{_names(manifest)}: {number:,} rows are more than the {_limit(limit):,} that a DataFrame may have: take "
            "a smaller month (variable month) or raise the variable row_limit, with 1.2 GB of memory a million rows"
        )
    frames = [_frame(file, rows) for file in manifest.files]
    print(f"{_names(manifest)}: {number:,} rows as a DataFrame", flush=True)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _limit(limit: object) -> int:
    digits = str(limit).replace("_", "").replace(",", "")
    if not digits.isdecimal():
        raise UnknownName(f"row_limit {limit!r} is not a number of rows such as {LIMIT}")
    return int(digits)


def _is_judged(file: StagedFile) -> bool:
    return bool(file.rows_accepted or file.rejected)


def _count(file: StagedFile, rows: str) -> int:
    if file.path.startswith("gs://") or (rows == "accepted" and _is_judged(file)):
        return file.rows_accepted
    return file.rows_staged


def _batches(file: StagedFile, rows: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    if file.path.startswith("gs://"):
        from nyc_taxi.load.bucket.parquet import object_batches

        batches = object_batches(file.path, Settings.from_environment().google)
    else:
        batches = accepted(file) if rows == "accepted" and _is_judged(file) else file.batches()
    return (batch.select(columns) for batch in batches)


def _frame(file: StagedFile, rows: str) -> pd.DataFrame:
    columns = [name for name in file.service.schema.names if name in file.columns]
    whole = {name: pa.int64() for name in columns if pa.types.is_integer(file.service.schema.field(name).type)}
    schema = pa.schema([(name, whole.get(name, file.service.schema.field(name).type)) for name in columns])
    batches = (batch.cast(schema) for batch in _batches(file, rows, columns))
    table = pa.Table.from_batches(batches, schema)
    frame: pd.DataFrame = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get, self_destruct=True)
    return frame


def _names(manifest: Manifest) -> str:
    files = [f"{file.service_name} {file.month_text}" for file in manifest.files]
    return ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "") or "no file"
