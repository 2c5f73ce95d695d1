"""What writes a staged file: every row of a trip file in canonical columns, the malformed ones beside it, counted."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nyc_taxi.errors import NotATripFile, TooManyMalformed, shortened
from nyc_taxi.extract.conform import Conformed, Malformed, as_text
from nyc_taxi.extract.download import Downloaded
from nyc_taxi.extract.http import shown
from nyc_taxi.extract.readers import count_rows, open_trip_file
from nyc_taxi.files import replacing, writing_through
from nyc_taxi.manifest import StagedFile
from nyc_taxi.run import RunContext
from nyc_taxi.streams import prefetch

ROW_GROUP = 131_072
GROUPS_AT_ONCE = 4
"""Some 20 MB: what the disk has still to take when the last row is written."""
MALFORMED_SCHEMA = pa.schema([("row", pa.int64()), ("text", pa.string()), ("reason", pa.string())])


class StagedFileWriter:
    """Writes one staged file and counts what goes into it."""

    def __init__(self, run: RunContext, downloaded: Downloaded, base: Path) -> None:
        self.run, self.downloaded, self.base = run, downloaded, base
        self.position = self.rows = self.in_month = self.without_pickup = self.blank = self.elsewhere = 0
        self.columns: set[str] = set()
        self.dropped: dict[str, None] = {}
        """In the order in which they were found."""
        self.malformed: list[Malformed] = []
        """Held in memory: they are few, or the file is refused."""
        self.reasons: Counter[str] = Counter()

    @cached_property
    def tolerated(self) -> int:
        """
        Malformed rows that files of this size may have at most; counted only once one is found.

        Rows without a value are among those counted: how many there are is known at the end, and judged once more.
        """
        return int(sum(map(count_rows, self.downloaded.paths)) * self.run.malformed_share)

    def write(self) -> StagedFile:
        """Write the staged file and, if needed, the malformed rows beside it; both appear whole or not at all."""
        path, malformed = self.base.with_suffix(".parquet"), self.base.with_suffix(".malformed.parquet")
        with replacing(path, locked=True, durable=True) as part:
            with (
                writing_through(part) as begin,
                pq.ParquetWriter(part, self.run.service.schema, compression="lz4", use_dictionary=False) as trips,
            ):
                for number, table in enumerate(_groups(self._counted(self._pieces())), 1):
                    trips.write_table(table, row_group_size=ROW_GROUP)
                    if number % GROUPS_AT_ONCE == 0:
                        begin()
            self._check()
            if self.malformed:
                rows = pa.Table.from_pylist(list(map(asdict, self.malformed)), MALFORMED_SCHEMA)
                with replacing(malformed, locked=True, durable=True) as part_malformed:
                    pq.write_table(rows, part_malformed)
        published = self.downloaded.published
        return StagedFile(
            service_name=self.run.service.name,
            month_text=str(self.run.month),
            origin=self.run.origin.name,
            url=published.url,
            etag=published.etag,
            bytes=self.downloaded.bytes,
            sha256=self.downloaded.sha256,
            path=str(path),
            malformed_path=str(malformed) if self.malformed else "",
            columns=tuple(name for name in self.run.service.schema.names if name in self.columns),
            columns_dropped=tuple(self.dropped),
            rows_read=self.rows_read,
            malformed=dict(self.reasons),
            rows_blank=self.blank,
        )

    @property
    def rows_read(self) -> int:
        """Rows so far that have a value."""
        return self.rows + self.reasons.total()

    def _pieces(self) -> Iterator[Conformed]:
        """Of one file after another: only one is open at a time."""
        for path in self.downloaded.paths:
            columns, pieces = open_trip_file(path, self.run.service, self.run.origin)
            self.columns.update(columns.present)
            self.dropped.update(dict.fromkeys(columns.dropped))
            yield from pieces

    def _counted(self, pieces: Iterable[Conformed]) -> Iterator[pa.Table]:
        start, end = self.run.month.bounds()
        for piece in prefetch(pieces):
            if piece.malformed:
                self._keep_malformed(piece.malformed)
            self.blank += piece.blank
            pickups = piece.table[self.run.service.pickup]
            inside = pc.and_(pc.greater_equal(pickups, start), pc.less(pickups, end))
            self.in_month += pc.sum(inside).as_py() or 0
            table = piece.table
            if self.run.origin.holds_other_months:
                self._keep_without_time(table)
                table = table.filter(inside)
                self.elsewhere += len(piece.table) - len(table) - pickups.null_count
            self.position += len(piece.table) + len(piece.malformed) + piece.blank
            self.rows += len(table)
            self.without_pickup += table[self.run.service.pickup].null_count
            yield table

    def _keep_without_time(self, table: pa.Table) -> None:
        """A row without a time is of no month: it is kept with each, as one that cannot be read is."""
        missing = pc.is_null(table[self.run.service.pickup]).to_numpy(zero_copy_only=False)
        for row in map(int, missing.nonzero()[0]):
            reason, text = f"malformed: {self.run.service.pickup}", as_text(table.slice(row, 1))
            self.malformed.append(Malformed(self.position + row + 1, text, reason))
            self.reasons[reason] += 1

    def _keep_malformed(self, rows: list[Malformed]) -> None:
        self.malformed += rows
        self.reasons.update(row.reason for row in rows)
        self._refuse_more_than(self.tolerated)

    def _refuse_more_than(self, tolerated: int) -> None:
        if self.reasons.total() > tolerated:
            first = shortened(self.malformed[0].text, 30)
            raise TooManyMalformed(
                f"{self.downloaded.path.name} of {self.run}: at least {self.reasons.total():,} rows cannot be parsed, "
                f"more than {self.run.malformed_share:.3g} of the file ({self._reasons()}); the first: {first!r}. "
                f"Check it, or set malformed_share"
            )

    def _reasons(self) -> str:
        return ", ".join(f"{count:,} x {reason}" for reason, count in self.reasons.most_common(2))

    def _check(self) -> None:
        name = f"{shown(self.downloaded.published.url)} of {self.run}"
        if self.elsewhere:
            print(f"{name}: {self.elsewhere:,} rows of other months are left out", flush=True)
        if not self.rows and self.reasons:
            raise NotATripFile(f"{name}: no row can be read ({self._reasons()}): check its delimiter and encoding")
        if not self.rows:
            raise NotATripFile(f"{name} has no rows: an empty month is never loaded over a full one")
        if self.without_pickup == self.rows:
            raise NotATripFile(
                f"{name}: none of {self.rows:,} rows has a {self.run.service.pickup}: a month without times is never "
                f"loaded over one that has them; check the file"
            )
        if not self.run.origin.holds_other_months:  # else only the whole file knows its share
            self._refuse_more_than(int(self.rows_read * self.run.malformed_share))
        if self.in_month * 2 < self.rows:
            # Only told: a few trips of other months are in every file, and whose file this is only a person can say.
            print(
                f"WARNING {name}: only {self.in_month:,} of {self.rows:,} pickups lie in {self.run.month}", flush=True
            )


def _groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of a row group's size, so that small pieces do not make small row groups."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(map(len, held)) >= ROW_GROUP:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)
