"""The second half: a month to Cloud Storage, beside pyarrow and the course, and what the way to BigQuery moves."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from bench import mage_run
from bench.arena import Arena
from bench.counting import CountingLine
from bench.measure import CommandFailed, Measured, run
from bench.ours.variables import SERVICE
from bench.peers.environment import PEERS
from bench.results import AFTER_IMPORTS, WHOLE, Results, Target
from ops.paths import ROOT

LIMIT_SECONDS = 900
PEAK_MB = 500
RATIO = 1.3
MOVED_MB = 1


@dataclass(frozen=True)
class Prepared:
    """A month made ready for every contestant: staged and judged."""

    month: str
    manifest: Path
    staged: str
    rows: int
    """What every target must hold: the trips with passengers."""


@dataclass(frozen=True)
class Exporter:
    """One way of a month to the bucket."""

    name: str
    what: str
    command: Callable[[Arena, Prepared], list[str]]
    places: tuple[tuple[str, str], ...]
    """Folder and ending of the objects that together hold every row of {month}, once for each pair."""
    timed: str = AFTER_IMPORTS


def _ours(step: str) -> Callable[[Arena, Prepared], list[str]]:
    return lambda arena, ready: [sys.executable, "-m", "bench.ours.exports", step, str(ready.manifest)]


def _pyarrow(how: str, target: str) -> Callable[[Arena, Prepared], list[str]]:
    return lambda arena, ready: [
        sys.executable, str(PEERS / "with_pyarrow.py"), how, ready.staged, target.format(month=ready.month)
    ]  # fmt: skip


OBJECT = (f"trips/{SERVICE}", "{month}.parquet")
DAYS = (f"trips_by_day/{SERVICE}", "{month}.parquet")
LAKE = Exporter("month: ours", "what the block taxi_to_gcs_parquet calls", _ours("lake"), (OBJECT,))
TABLE = Exporter(
    "month: write_table",
    "pyarrow.parquet.write_table of the staged file",
    _pyarrow("write_table", "peer/one/{month}.parquet"),
    (("peer/one", "{month}.parquet"),),
)
BY_DAY = Exporter("days: ours", "what the block taxi_to_gcs_partitioned_parquet calls", _ours("days"), (DAYS,))
DATASET = Exporter(
    "days: write_dataset",
    "pyarrow.dataset.write_dataset of the staged file",
    _pyarrow("write_dataset", "peer/days/{month}"),
    (("peer/days/{month}", ".parquet"),),
)
MAGE = Exporter(
    "mage run: ours",
    "the pipeline api_to_gcs: from the csv.gz, both exporters",
    lambda arena, ready: mage_run.ours("api_to_gcs", ready.month),
    (OBJECT, DAYS),
    WHOLE,
)
COURSE = Exporter(
    "mage run: course",
    "mage run course_gcs: from the csv.gz, both exporters",
    lambda arena, ready: mage_run.course("course_gcs", arena.url(ready.month)),
    (("course/one", ".parquet"), ("course/days", ".parquet")),
    WHOLE,
)
WITHOUT_MAGE = (LAKE, TABLE, BY_DAY, DATASET)
EXPORTERS = (*WITHOUT_MAGE, MAGE, COURSE)


@dataclass(frozen=True)
class Moved:
    """A month taken from the bucket to BigQuery: what it took, and the bytes that passed through our process."""

    rows: int
    measured: Measured
    bytes: int

    def __str__(self) -> str:
        """One line of the report; its seconds are the emulator's, which is not BigQuery."""
        return (
            f"gcs_to_bigquery{self.rows:>12,} rows{self.measured.seconds:>8.2f} s{self.bytes / 1e6:>8.3f} MB moved"
            f"{self.measured.peak_mb:>7.0f} MB peak: "
            + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self.measured.steps.items())
        )

    def as_json(self) -> dict[str, object]:
        """Everything measured, for a program."""
        return {"rows": self.rows, "measured": self.measured.as_json(), "bytes": self.bytes}


def prepare(arena: Arena, month: str) -> Prepared:
    """Stage and judge the month, in a process of its own."""
    folder = arena.folder / "ready" / month
    folder.mkdir(parents=True)
    manifest = folder / "manifest.json"
    _quietly([sys.executable, "-m", "bench.ours.exports", "stage", month, str(manifest)], arena.environ(folder))
    row = json.loads(manifest.read_text())
    return Prepared(month, manifest, row["path"], row["rows_accepted"])


def measure(arena: Arena, exporter: Exporter, ready: Prepared, *, again: bool = False) -> tuple[Measured, int]:
    """One run into places that are empty; with the rows that each place holds afterwards, 0 where they differ."""
    folder = Path(mkdtemp(prefix="export-", dir=arena.folder))
    environ = arena.environ(folder)
    try:
        measured = run(exporter.command(arena, ready), environ, folder, LIMIT_SECONDS)
    except CommandFailed as error:
        # The course's: pyarrow's GcsFileSystem() with a key now and then aborts a Python that ends.
        if again or "exit code -6" not in str(error):
            raise
        _taken(exporter, ready, environ)
        return measure(arena, exporter, ready, again=True)
    counts = _taken(exporter, ready, environ)
    return measured if exporter.timed == WHOLE else measured.by_its_own_clock(), counts.pop() if len(counts) == 1 else 0


def measure_warehouse(arena: Arena, ready: Prepared) -> Moved:
    """Take the month to the bucket and from there to BigQuery, over lines that count the latter."""
    folder = Path(mkdtemp(prefix="warehouse-", dir=arena.folder))
    with ExitStack() as stack:
        storage = stack.enter_context(CountingLine(arena.google.gcs_port))
        bigquery = stack.enter_context(CountingLine(arena.google.bigquery_port))
        environ = arena.environ(folder) | {
            "STORAGE_EMULATOR_HOST": storage.url,
            "CLOUD_STORAGE_EMULATOR_ENDPOINT": storage.url,
            "BIGQUERY_EMULATOR_HOST": bigquery.url,
        }
        # Written over the line too: an object's address for downloads is that of its upload.
        _quietly([sys.executable, "-m", "bench.ours.exports", "lake", str(ready.manifest)], environ)
        before = storage.bytes + bigquery.bytes
        command = [sys.executable, "-m", "bench.ours.exports", "warehouse", str(ready.manifest)]
        measured = run(command, environ, folder, LIMIT_SECONDS).by_its_own_clock()
        return Moved(ready.rows, measured, storage.bytes + bigquery.bytes - before)


def peer_of(name: str) -> str:
    """Whom a contestant is compared with: pyarrow's way, or the course's pipeline."""
    return {"month": TABLE, "days": DATASET, "mage run": COURSE}[name.partition(":")[0]].name


def targets(small: Results, large: Results, moved: Sequence[Moved]) -> list[Target]:
    """What the second half must reach, by median."""
    judged = []
    for ours in (LAKE, BY_DAY):
        for size, results in (("usual", small), ("large", large)):
            ratio = results[ours.name].seconds / results[peer_of(ours.name)].seconds
            judged.append(Target(f"{ours.name}, {size}: seconds, relative to pyarrow", ratio, RATIO, "x"))
            judged.append(Target(f"{ours.name}, {size}: peak memory", results[ours.name].peak_mb, PEAK_MB, "MB"))
    mine, theirs = small[MAGE.name], small[COURSE.name]
    seconds, memory = theirs.seconds / mine.seconds, theirs.peak_mb / mine.peak_mb
    return [
        *judged,
        Target(f"{COURSE.name}: seconds, relative to ours", seconds, 3, "x", at_least=True),
        Target(f"{COURSE.name}: memory, relative to ours", memory, 3, "x", at_least=True),
        *(Target(f"gcs_to_bigquery, {each.rows:,} rows: moved", each.bytes / 1e6, MOVED_MB, "MB") for each in moved),
    ]


def _taken(exporter: Exporter, ready: Prepared, environ: Mapping[str, str]) -> set[int]:
    """Rows of the objects in each place, which is empty afterwards; in another process: this one stays small."""
    places = [text.format(month=ready.month) for place in exporter.places for text in place]
    return set(json.loads(_quietly([sys.executable, str(PEERS / "with_pyarrow.py"), "take", *places], environ)))


def _quietly(command: list[str], environ: Mapping[str, str]) -> str:
    quiet = {**environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command, cwd=ROOT, env=quiet, check=True, stdout=subprocess.PIPE, text=True, timeout=LIMIT_SECONDS
    )
    return done.stdout.splitlines()[-1] if done.stdout else ""
