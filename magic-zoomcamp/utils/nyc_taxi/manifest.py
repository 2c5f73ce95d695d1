"""What blocks hand to each other: where a staged file is and what is known of it, never its rows."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from math import isclose
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from nyc_taxi.catalog.services import Service, service_named
from nyc_taxi.errors import CountsDisagree, NotATripFile, shortened
from nyc_taxi.months import Month
from nyc_taxi.space import in_use

BATCH_ROWS = 16_384
"""Rows per record batch: some 2 MB, small against any memory limit and large against any per-batch cost."""
READ_BYTES = 64 << 10


@dataclass(frozen=True)
class StagedFile:
    """One trip file, conformed and staged; the numbers that follow it to every target."""

    service_name: str
    month_text: str
    origin: str
    url: str
    etag: str
    bytes: int
    """Size of the trip file as published."""
    sha256: str
    """Of the trip file as published."""
    path: str
    """The staged file: canonical columns, all rows that could be parsed."""
    malformed_path: str
    """Rows that could not be parsed (line, reason, text), as Parquet; empty when there are none."""
    columns: tuple[str, ...]
    """Canonical columns that the trip file has; the others are null throughout."""
    columns_dropped: tuple[str, ...]
    rows_read: int
    malformed: Mapping[str, int]
    """Rows that could not be parsed, by reason."""
    rules: tuple[str, ...] = ()
    rows_accepted: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Rows kept out of the table, by reason, the malformed ones included."""
    sums: Mapping[str, float] = field(default_factory=dict)
    """Sum of each of the service's measures over the accepted rows."""
    rows_blank: int = 0
    """Rows without any value, as a spreadsheet leaves them: no trips, and not among the rows read."""
    warned: Mapping[str, int] = field(default_factory=dict)
    """Accepted rows that a rule only warns of, by reason."""

    @property
    def service(self) -> Service:
        """The service, with its schema and its names."""
        return service_named(self.service_name)

    @property
    def month(self) -> Month:
        """The month under which the file is published, which is not that of each of its trips."""
        return Month.parse(self.month_text)

    @property
    def columns_missing(self) -> tuple[str, ...]:
        """Canonical columns that the trip file lacks."""
        return tuple(name for name in self.service.schema.names if name not in self.columns)

    @property
    def staged(self) -> Path:
        """The staged file; NotATripFile when it is gone."""
        if not Path(self.path).exists():
            raise NotATripFile(f"staged file {self.path} is gone: run load_api_data again")
        return Path(self.path)

    @property
    def note(self) -> Path:
        """Beside the staged file: what vouches for it and its malformed rows, and names their sizes."""
        return Path(self.path).with_name(f"{self.month_text}.json")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """
        Where its rows are read: it stays as long.

        NotATripFile for a damaged file, whose note is forgotten, so it is made anew.
        """
        try:
            with in_use(Path(self.path).parent, self.month_text):
                yield
        except (pa.ArrowInvalid, OSError) as error:
            self.note.unlink(missing_ok=True)
            raise NotATripFile(
                f"staged file {shortened(self.path, 110)} is damaged ({shortened(str(error), 60)}): "
                f"run load_api_data again, which makes it anew"
            ) from None

    @property
    def rows_rejected(self) -> int:
        """Rows kept out of the table, for whatever reason."""
        return sum(self.rejected.values())

    @property
    def rows_staged(self) -> int:
        """Rows that the staged file really holds."""
        with self.reading():
            return int(pq.read_metadata(self.staged).num_rows)

    def to_row(self) -> dict[str, Any]:
        """Plain strings and numbers, the rest as JSON text: what Mage and a note on disk keep without loss."""
        return {name: json.dumps(value) if name in _JSON_FIELDS else value for name, value in asdict(self).items()}

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "StagedFile":
        """The inverse of to_row."""
        values: dict[str, Any] = {n: json.loads(v) if n in _JSON_FIELDS else v for n, v in row.items()}
        values |= {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**values)

    def check_conservation(self) -> None:
        """Raise CountsDisagree unless every row read is either accepted or rejected."""
        if self.rows_read != self.rows_accepted + self.rows_rejected:
            raise CountsDisagree(
                f"{self.service_name} {self.month_text}: {self.rows_read:,} rows read, but {self.rows_accepted:,} "
                f"accepted and {self.rows_rejected:,} rejected: run transform_taxi_data again"
            )

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Stream the staged rows, optionally some columns only; NotATripFile when the file is gone or damaged."""
        # A small buffer per column, and one thread: whoever takes the rows has work for the other core, and each of
        # Arrow's reading threads would keep a memory of its own.
        with self.reading(), pq.ParquetFile(self.staged, pre_buffer=False, buffer_size=READ_BYTES) as parquet:
            yield from parquet.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)


def sums_agree(some: Mapping[str, float], others: Mapping[str, float]) -> bool:
    """Whether two sums of each measure are the same to nine digits: floating point, added in another order."""
    return some.keys() == others.keys() and all(
        isclose(total, others[name], rel_tol=1e-9, abs_tol=1e-6) for name, total in some.items()
    )


_JSON_FIELDS = ("columns", "columns_dropped", "malformed", "rules", "rejected", "sums", "warned")


@dataclass(frozen=True)
class Manifest:
    """The staged files of a run."""

    files: tuple[StagedFile, ...]

    def to_frame(self) -> pd.DataFrame:
        """One row per staged file."""
        return pd.DataFrame(
            [file.to_row() for file in self.files], columns=[column.name for column in fields(StagedFile)]
        )

    @classmethod
    def of_frame(cls, frame: pd.DataFrame) -> "Manifest":
        """The inverse of to_frame."""
        return cls(
            tuple(
                StagedFile.of_row({str(name): value for name, value in row.items()}) for row in frame.to_dict("records")
            )
        )
