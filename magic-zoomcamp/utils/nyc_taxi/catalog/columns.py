"""What is known of one column: its type, its unit, its codes, and what they mean."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from nyc_taxi.errors import UnknownName

TIME, TEXT = pa.timestamp("us"), pa.string()
SMALL, WHOLE, REAL = pa.int32(), pa.int64(), pa.float64()

UNITS = ("miles", "kilometres", "seconds", "USD", "passengers")


@dataclass(frozen=True)
class Column:
    """A canonical column: `Column("km", REAL, "by the bike's own meter", unit="kilometres")`."""

    name: str
    type: pa.DataType
    description: str = ""
    """What unit and codes do not say."""
    unit: str | None = None
    """One of UNITS; None for what is no quantity."""
    codes: Mapping[int | str, str] = field(default_factory=dict)
    """The meaning of each code, as `{1: "card"}` or `{"HV0002": "Juno"}`."""

    def __post_init__(self) -> None:
        """Raise UnknownName for a unit that is not in UNITS: reports and charts look for these words."""
        if self.unit not in (None, *UNITS):
            raise UnknownName(f"column {self.name}: unit {self.unit!r} is not one of {', '.join(UNITS)}")

    @property
    def full_description(self) -> str:
        """Unit, codes and description in one text, as tables and Parquet files carry it."""
        codes = (f"{code} {meaning}" for code, meaning in self.codes.items())
        return ", ".join(filter(None, (self.unit, *codes, self.description)))
