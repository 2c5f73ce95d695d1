"""What is decided once for a synthetic trip file, before any of its rows is drawn."""

import zlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ops.synthetic import eras

Ints = NDArray[np.int64]

UNMETERED_SHARE = 0.07
# One fhv trip of these years ends a thousand years later: nanosecond timestamps cannot hold it.
FAR_YEARS = ("2019", "2020", "2021", "2022")


@dataclass(frozen=True)
class Plan:
    """What is decided once for a file of `rows` rows; positions are row numbers from 0 in file order."""

    service: str
    month: str
    origin: str
    rows: int
    seed: int
    schema: pa.Schema
    malformed: Ints
    """Positions of the broken lines."""
    strays: Ints
    """Positions of trips whose pickup lies outside the month, the first of them in 2008."""
    far: int
    """Position of the drop-off in the year 3019, or -1."""

    def rng(self, stream: int) -> np.random.Generator:
        """Random numbers of one stream: 0 for the plan, 1 + n for chunk n."""
        name = zlib.crc32(f"{self.service} {self.month} {self.origin}".encode())
        return np.random.default_rng([self.seed, name, stream])


def plan_file(service: str, month: str, origin: str, rows: int, seed: int = 0, malformed: int = 0) -> Plan:
    """
    Decide what a file holds: era, broken lines, strays.

    A taxi file has 2 to 10 strays, fewer where that would be more than a tenth of the rows.
    Raises ValueError for a file that the origin does not publish and for counts that do not fit.
    """
    schema = eras.schema(service, month, origin)
    if rows < 0 or not 0 <= malformed <= rows:
        raise ValueError(f"malformed lines ({malformed}) must be between 0 and the rows ({rows}) of the file")
    if malformed and origin != "dtc":
        raise ValueError("only CSV lines can be malformed: use origin dtc")
    if seed < 0:
        raise ValueError(f"seed {seed} is negative")
    broken = (2 * np.arange(malformed, dtype=np.int64) + 1) * rows // max(2 * malformed, 1)
    nobody: Ints = np.empty(0, np.int64)
    plan = Plan(service, month, origin, rows, seed, schema, broken, nobody, -1)
    rng = plan.rng(0)
    count = min(int(rng.integers(2, 11)), rows // 10)
    sample = rng.integers(0, max(rows, 1), 200)
    free = sample[~np.isin(sample, broken)]
    _, first_seen = np.unique(free, return_index=True)
    chosen: Ints = free[np.sort(first_seen)]
    if service in ("yellow", "green"):
        return Plan(service, month, origin, rows, seed, schema, broken, chosen[:count], -1)
    has_far = service == "fhv" and month[:4] in FAR_YEARS and rows > 0 and len(chosen) > 0
    return Plan(service, month, origin, rows, seed, schema, broken, nobody, int(chosen[0]) if has_far else -1)


def unmetered_rows(plan: Plan) -> int:
    """
    Trips without a meter record stand at the end of a file, where a reader that guesses types does not look.

    Yellow files have none before 2018-07, when their whole-number columns became doubles to hold the gaps.
    """
    if plan.service == "yellow" and plan.month < "2018-07":
        return 0
    return round(plan.rows * UNMETERED_SHARE)
