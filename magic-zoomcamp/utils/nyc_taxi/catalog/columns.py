"""What is known of one column: its type, its unit, its codes, and what they mean."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import pyarrow as pa

from nyc_taxi.catalog.names import check_column
from nyc_taxi.errors import UnknownName, not_one_of

TIME, TEXT = pa.timestamp("us"), pa.string()
SMALL, WHOLE, REAL = pa.int32(), pa.int64(), pa.float64()
TYPES = {"TIME": TIME, "TEXT": TEXT, "SMALL": SMALL, "WHOLE": WHOLE, "REAL": REAL}
"""What a column can be: every target has these."""

Codes: TypeAlias = Mapping[int | str, str]
"""The meaning of each code, as `{1: "card"}` or `{"HV0002": "Juno"}`."""

UNITS = ("miles", "kilometres", "seconds", "USD", "passengers")
LICENCE, FLAG = "licence", "flag"
FORMS = (LICENCE, FLAG)
"""What a text can be: a licence number, kept in capitals and without padding or words behind it; or Y and N."""


@dataclass(frozen=True)
class Column:
    """A canonical column: `Column("km", REAL, "by the bike's own meter", unit="kilometres")`."""

    name: str
    type: pa.DataType
    description: str = ""
    """What unit and codes do not say."""
    unit: str | None = None
    """One of UNITS; None for what is no quantity."""
    codes: Codes = field(default_factory=dict)
    form: str | None = None
    """One of FORMS; None for other text, which is only trimmed."""

    def __post_init__(self) -> None:
        """Raise UnknownName for a name that SQL must quote, and for a type, unit or form that does not exist."""
        check_column(self.name)
        if self.type not in TYPES.values():
            hint = "a date is a TIME, a decimal REAL, and a truth value TEXT, in the file too"
            raise UnknownName(f"column {self.name}: type {self.type} is not one of {', '.join(TYPES)}: {hint}")
        for what, name, known in (("unit", self.unit, UNITS), ("form", self.form, FORMS)):
            if name not in (None, *known):
                raise UnknownName(not_one_of(f"column {self.name}: {what}", str(name), known))

    @property
    def full_description(self) -> str:
        """Unit, codes and description in one text, as tables and Parquet files carry it."""
        codes = (f"{code} {meaning}" for code, meaning in self.codes.items())
        return ", ".join(filter(None, (self.unit, *codes, self.description)))

    @property
    def arrow_field(self) -> pa.Field:
        """The column in an Arrow schema, nullable."""
        return pa.field(self.name, self.type, metadata={"description": self.full_description})
