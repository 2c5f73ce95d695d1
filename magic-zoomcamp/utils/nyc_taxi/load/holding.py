"""What a target tells of its months without reading their trips: from catalogs, statistics and metadata."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from nyc_taxi.months import Month

PATIENCE_SECONDS = 10.0
"""How long a target is asked before it counts as silent: an overview of all of them must not wait for one."""


@dataclass(frozen=True)
class Holding:
    """One month as a target has it; what it does not tell is None or empty."""

    rows: int | None
    sums: Mapping[str, float] | None = None
    """Per measure of the service."""
    trip_file: str = ""
    """SHA-256 of the trip file that it was made of."""
    rules: tuple[str, ...] | None = None
    origin: str = ""
    url: str = ""
    etag: str = ""
    bytes: int | None = None
    """Of the trip file, as it was published."""
    loaded_at: datetime | None = None
    odd: tuple[str, ...] = ()
    """What is wrong with it, whatever other targets hold; a line each."""


Key: TypeAlias = tuple[str, Month]
"""A service's name and a month."""
Holdings: TypeAlias = dict[Key, Holding]
