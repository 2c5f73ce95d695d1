"""
The reference tables: what the numbers and codes of a trip stand for.

The taxi zones are a list that TLC publishes; the others are the codes of TLC's data dictionaries, as the services'
columns have them. TLC names no for-hire base there, so there is no table of the bases of fhv.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from nyc_taxi.catalog.columns import SMALL, TEXT, WHOLE, Codes, Column
from nyc_taxi.catalog.services import LICENCES, PAYMENTS, RATES, VENDORS, service_named
from nyc_taxi.errors import NotATripFile


@dataclass(frozen=True)
class Reference:
    """A table of names; its first column is its key."""

    name: str
    description: str
    columns: tuple[Column, ...]
    codes: Codes | None = None
    """Its rows, key and name; None for the zones, which are fetched."""

    @property
    def key(self) -> str:
        """The column whose values are unique."""
        return self.columns[0].name

    @property
    def schema(self) -> pa.Schema:
        """The columns with their descriptions."""
        return pa.schema([column.arrow_field for column in self.columns])

    def table(self) -> pa.Table:
        """The rows of a table of codes, by key."""
        columns = zip(*sorted((self.codes or {}).items()), strict=True)
        return pa.table([*map(pa.array, columns)], names=self.schema.names).cast(self.schema)


def _codes(name: str, of: str, key: Column, codes: Codes) -> Reference:
    about = f"TLC's codes of {of}, and what each stands for"
    return Reference(name, about, (key, Column("name", TEXT, "what the code stands for")), codes)


ZONES = Reference(
    "taxi_zones",
    "TLC's taxi zones, by the numbers in pulocationid and dolocationid",
    (
        Column("location_id", SMALL, "taxi zone, as in pulocationid and dolocationid"),
        Column("borough", TEXT, "borough, or EWR for Newark Airport; N/A and Unknown where the zone is no place"),
        Column("zone", TEXT, "the zone's name"),
        Column("service_zone", TEXT, "Yellow Zone, Boro Zone, Airports or EWR: who may be hailed there"),
    ),
)
REFERENCES = {
    reference.name: reference
    for reference in (
        ZONES,
        _codes("payment_types", "payment_type", Column("payment_type", WHOLE), PAYMENTS),
        _codes("rate_codes", "ratecodeid", Column("ratecodeid", WHOLE), RATES),
        _codes("vendors", "vendorid", Column("vendorid", SMALL), VENDORS),
        _codes("trip_types", "trip_type", Column("trip_type", WHOLE), service_named("green").words("trip_type")),
        _codes("fhvhv_licences", "hvfhs_license_num", Column("hvfhs_license_num", TEXT), LICENCES),
    )
}


@dataclass(frozen=True)
class StagedReference:
    """A reference table as a Parquet file of this machine."""

    name: str
    path: str
    url: str
    """Where its rows are published."""
    rows: int
    sha256: str

    @property
    def object(self) -> str:
        """The name of its object in the bucket."""
        return f"reference/{self.name}.parquet"

    @property
    def reference(self) -> Reference:
        """What is known of the table."""
        return REFERENCES[self.name]

    def table(self) -> pa.Table:
        """The rows; NotATripFile when the file is gone or has changed."""
        path = Path(self.path)
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != self.sha256:
            raise NotATripFile(f"{path} is gone or was changed: run reference_tables again, from its first block")
        return pq.read_table(path, schema=self.reference.schema)

    def records(self) -> list[tuple[Any, ...]]:
        """The rows as tuples, as a database takes and gives them."""
        return [*zip(*self.table().to_pydict().values(), strict=True)]


def to_frame(staged: Sequence[StagedReference]) -> pd.DataFrame:
    """One row per table, for blocks."""
    return pd.DataFrame([asdict(each) for each in staged])


def of_frame(frame: pd.DataFrame) -> list[StagedReference]:
    """The inverse of to_frame."""
    return [StagedReference(**{str(name): value for name, value in row.items()}) for row in frame.to_dict("records")]
