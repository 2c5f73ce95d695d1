"""The cloud half: our exporters beside pyarrow's and the course's, and what the way to BigQuery moves."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import mkdtemp

from bench.arena import SERVICE, Arena
from bench.counting import CountingLine
from bench.measure import CommandFailed, Measured, run
from bench.ours import variables
from bench.peers import HERE, WHOLE, mage
from bench.results import Result, Target
from ops.paths import ROOT

AFTER_IMPORTS = "after imports"
WITH_FRAME = "exporter alone, its DataFrame in memory"
LIMIT_SECONDS = 900
PEAK_MB = 500
RATIO = 1.3
MOVED_MB = 1


@dataclass(frozen=True)
class Prepared:
    """A month made ready for every contestant: staged and judged, and as the course's DataFrame."""

    month: str
    manifest: Path
    frame: Path
    """Not there when the course does not take part."""
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
    return lambda arena, ready: [sys.executable, "-m", "bench.exports", step, str(ready.manifest)]


def _pyarrow(how: str, target: str) -> Callable[[Arena, Prepared], list[str]]:
    return lambda arena, ready: [
        sys.executable, str(HERE / "with_pyarrow.py"), how, ready.staged, target.format(month=ready.month)
    ]  # fmt: skip


def _course(block: str) -> Callable[[Arena, Prepared], list[str]]:
    return lambda arena, ready: [sys.executable, str(HERE / "with_course.py"), block, str(ready.frame)]


def _mage_ours(arena: Arena, ready: Prepared) -> list[str]:
    return mage("magic-zoomcamp", "api_to_gcs", variables(ready.month))


def _mage_course(arena: Arena, ready: Prepared) -> list[str]:
    return mage("bench/course", "course_gcs", {"url": arena.url(ready.month)})


OBJECT = (f"trips/{SERVICE}", "{month}.parquet")
DAYS = (f"trips_by_day/{SERVICE}", "{month}.parquet")
COURSE_OBJECT, COURSE_DAYS = ("course/one", ".parquet"), ("course/days", ".parquet")
LAKE = Exporter("month: ours", "what the block taxi_to_gcs_parquet calls", _ours("lake"), (OBJECT,))
TABLE = Exporter("month: write_table", "pyarrow.parquet.write_table of the staged file",
                 _pyarrow("write_table", "peer/one/{month}.parquet"), (("peer/one", "{month}.parquet"),))  # fmt: skip
COURSE_TABLE = Exporter("month: course", "pandas to mage_ai.io.google_cloud_storage", _course("trips_to_gcs"),
                        (COURSE_OBJECT,), WITH_FRAME)  # fmt: skip
BY_DAY = Exporter("days: ours", "what the block taxi_to_gcs_partitioned_parquet calls", _ours("days"), (DAYS,))
DATASET = Exporter("days: write_dataset", "pyarrow.dataset.write_dataset of the staged file",
                   _pyarrow("write_dataset", "peer/days/{month}"), (("peer/days/{month}", ".parquet"),))  # fmt: skip
COURSE_DATASET = Exporter("days: course", "pandas to pyarrow.parquet.write_to_dataset",
                          _course("trips_to_gcs_partitioned"), (COURSE_DAYS,), WITH_FRAME)  # fmt: skip
MAGE = Exporter("mage run: ours", "mage run api_to_gcs: from the csv.gz, both exporters", _mage_ours,
                (OBJECT, DAYS), WHOLE)  # fmt: skip
MAGE_COURSE = Exporter("mage run: course", "mage run course_gcs: from the csv.gz, both exporters", _mage_course,
                       (COURSE_OBJECT, COURSE_DAYS), WHOLE)  # fmt: skip
WITHOUT_COURSE = (LAKE, TABLE, BY_DAY, DATASET)
EXPORTERS = (LAKE, TABLE, COURSE_TABLE, BY_DAY, DATASET, COURSE_DATASET, MAGE, MAGE_COURSE)


@dataclass(frozen=True)
class Moved:
    """A month taken from the bucket to BigQuery: what it took, and the bytes that passed through our process."""

    rows: int
    measured: Measured
    bytes: int


def prepare(arena: Arena, month: str, *, course: bool) -> Prepared:
    """Stage and judge the month, in processes of their own; with the course's DataFrame where it takes part."""
    folder = arena.folder / "ready" / month
    folder.mkdir(parents=True)
    manifest, frame = folder / "manifest.json", folder / "frame.pickle"
    environ = arena.environ(folder)
    _quietly([sys.executable, "-m", "bench.exports", "stage", month, str(manifest)], environ)
    if course:
        _quietly([sys.executable, str(HERE / "with_course.py"), "frame", arena.url(month), str(frame)], environ)
    row = json.loads(manifest.read_text())
    return Prepared(month, manifest, frame, row["path"], row["rows_accepted"])


def measure_once(arena: Arena, exporter: Exporter, ready: Prepared, *, again: bool = False) -> tuple[Measured, int]:
    """One run into places that are empty; with the rows that are there afterwards, by the fullest or emptiest place."""
    folder = Path(mkdtemp(prefix="export-", dir=arena.folder))
    environ = arena.environ(folder)
    places = [(start.format(month=ready.month), end.format(month=ready.month)) for start, end in exporter.places]
    for start, _ in places:
        _objects("clear", start, "", environ)
    try:
        measured = run(exporter.command(arena, ready), environ, folder, LIMIT_SECONDS)
    except CommandFailed as error:
        # The course's whole run: pyarrow's GcsFileSystem() with a key now and then aborts a Python that ends.
        if again or "exit code -6" not in str(error):
            raise
        return measure_once(arena, exporter, ready, again=True)
    if exporter.timed != WHOLE:
        measured = _by_its_own_clock(measured)
    counts = {_objects("count", start, end, environ) for start, end in places}
    return measured, counts.pop() if len(counts) == 1 else 0


def measure_all(
    arena: Arena, exporters: Sequence[Exporter], ready: Prepared, rounds: int, say: Callable[[str], None]
) -> dict[str, Result]:
    """Every exporter once per round, in turn; by name."""
    results = {exporter.name: Result(exporter) for exporter in exporters}
    for number in range(1, rounds + 1):
        for exporter in exporters:
            result = results[exporter.name]
            measured, result.rows = measure_once(arena, exporter, ready)
            result.runs.append(measured)
            say(f"round {number} of {rounds}: {exporter.name}, {ready.rows:,} rows, {measured.seconds:.2f} s")
    return results


def measure_warehouse(arena: Arena, ready: Prepared) -> Moved:
    """Take the month, which the bucket holds already, to BigQuery over lines that count."""
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
        _quietly([sys.executable, "-m", "bench.exports", "lake", str(ready.manifest)], environ)
        before = storage.bytes + bigquery.bytes
        command = [sys.executable, "-m", "bench.exports", "warehouse", str(ready.manifest)]
        measured = _by_its_own_clock(run(command, environ, folder, LIMIT_SECONDS))
        return Moved(ready.rows, measured, storage.bytes + bigquery.bytes - before)


def table(results: Mapping[str, Result]) -> str:
    """The results side by side; ratios are to the pyarrow peer or the course's pipeline of the same group."""
    lines = [f"{'':<20}{'seconds':>9}{'x peer':>8}{'best s':>9}{'x peer':>8}{'peak MB':>9}{'rows':>12}  timed"]
    for name, result in results.items():
        peer = _peer(name, results)
        lines.append(
            f"{name:<20}{result.seconds:>9.2f}{result.seconds / peer.seconds:>8.2f}"
            f"{result.best:>9.2f}{result.best / peer.best:>8.2f}"
            f"{result.peak_mb:>9.0f}{result.rows:>12,}  {result.peer.timed}"
        )
    return "\n".join(lines)


def moves(moved: Sequence[Moved]) -> str:
    """What the way to BigQuery took; its seconds are the emulator's, which is not BigQuery."""
    return "\n".join(
        f"gcs_to_bigquery{each.rows:>12,} rows{each.measured.seconds:>8.2f} s{each.bytes / 1e6:>8.3f} MB moved"
        f"{each.measured.peak_mb:>7.0f} MB peak: "
        + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in each.measured.steps.items())
        for each in moved
    )


def wrong_rows(results: Mapping[str, Result], ready: Prepared) -> list[str]:
    """Exporters whose objects do not hold the month."""
    return [
        f"{name} wrote {result.rows:,} rows, the month has {ready.rows:,}"
        for name, result in results.items()
        if result.rows != ready.rows
    ]


def targets(small: Mapping[str, Result], large: Mapping[str, Result], moved: Sequence[Moved]) -> list[Target]:
    """What the cloud half must reach, by median."""
    judged = []
    for ours, peer in ((LAKE, TABLE), (BY_DAY, DATASET)):
        for size, results in (("usual", small), ("large", large)):
            ratio = results[ours.name].seconds / results[peer.name].seconds
            judged.append(Target(f"{ours.name}, {size}: seconds, relative to pyarrow", ratio, RATIO, "x"))
            judged.append(Target(f"{ours.name}, {size}: peak memory", results[ours.name].peak_mb, PEAK_MB, "MB"))
    for ours, course in ((LAKE, COURSE_TABLE), (BY_DAY, COURSE_DATASET), (MAGE, MAGE_COURSE)):
        mine, theirs = small[ours.name], small[course.name]
        judged.append(
            Target(f"{course.name}: seconds, relative to ours", theirs.seconds / mine.seconds, 3, "x", at_least=True)
        )
        judged.append(
            Target(f"{course.name}: memory, relative to ours", theirs.peak_mb / mine.peak_mb, 5, "x", at_least=True)
        )
    judged += [
        Target(f"gcs_to_bigquery, {each.rows:,} rows: moved", each.bytes / 1e6, MOVED_MB, "MB") for each in moved
    ]
    return judged


def as_json(results: Mapping[str, Result], moved: Sequence[Moved]) -> dict[str, object]:
    """Everything measured, for a program."""
    return {
        "exporters": {
            name: {
                "what": result.peer.what,
                "timed": result.peer.timed,
                "rows": result.rows,
                "runs": [asdict(each) | {"output": None} for each in result.runs],
            }
            for name, result in results.items()
        },
        "warehouse": [asdict(each) | {"measured": asdict(each.measured) | {"output": None}} for each in moved],
    }


def _peer(name: str, results: Mapping[str, Result]) -> Result:
    peers = {"month": TABLE, "days": DATASET, "mage run": MAGE_COURSE}
    return results[peers[name.partition(":")[0]].name]


def _by_its_own_clock(measured: Measured) -> Measured:
    own = json.loads(measured.output.splitlines()[-1])
    return Measured(own["seconds"], measured.peak_mb, measured.tree_mb, measured.output, own["steps"])


def _objects(what: str, start: str, end: str, environ: Mapping[str, str]) -> int:
    """Count the rows of objects, or clear them, in another process: this one stays small for what it measures."""
    command = [sys.executable, str(HERE / "with_pyarrow.py"), what, start, end]
    return int(_quietly(command, environ).splitlines()[-1])


def _quietly(command: list[str], environ: Mapping[str, str]) -> str:
    quiet = {**environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command, cwd=ROOT, env=quiet, check=True, stdout=subprocess.PIPE, text=True, timeout=LIMIT_SECONDS
    )
    return done.stdout
