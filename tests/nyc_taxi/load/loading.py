"""
What tests of loading share: synthetic months, staged and judged, and loads in a process of their own.

    python -m tests.nyc_taxi.load.loading <file with a manifest row> <seconds to pause per batch> <times>
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.load.postgres.month import replace_month
from nyc_taxi.manifest import StagedFile
from nyc_taxi.settings import PostgresSettings, Settings
from nyc_taxi.transform.rules import apply_rules

from ops.paths import ROOT
from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from ops.wait import wait_until
from tests.conftest import environment_of, run_of, sql


def judged(
    settings: Settings,
    trips: TripServer,
    service: str,
    month: str,
    origin: str,
    rows: int,
    *,
    malformed: int = 0,
    seed: int = 0,
) -> StagedFile:
    """A synthetic month, published by `trips`, staged and judged by its service's own rules: ready to load."""
    generate(service, month, origin, rows, trips.folder, malformed=malformed, seed=seed)
    run = run_of(settings, service, month, origin)
    [file] = apply_rules(stage_trip_file(run), run.rules).files
    return file


def miscounted(file: StagedFile, rows: int) -> StagedFile:
    """The same file with so many rows more than it has; the manifest alone does not give it away."""
    return replace(file, rows_read=file.rows_read + rows, rows_accepted=file.rows_accepted + rows)


def start_load(
    file: StagedFile, database: PostgresSettings, *, pause: float = 0, times: int = 1
) -> "subprocess.Popen[str]":
    """Load the file in a process of its own, `pause` seconds slower per batch, so many times one after another."""
    row = Path(f"{file.path}.row.json")
    row.write_text(json.dumps(file.to_row()))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.nyc_taxi.load.loading", row, str(pause), str(times)],
        cwd=ROOT,
        env=os.environ | environment_of(database),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def in_one_instant(work: list[Callable[[], None]]) -> None:
    """Start them all at once; none may fail."""
    start, errors = threading.Barrier(len(work)), []

    def run(each: Callable[[], None]) -> None:
        try:
            start.wait(10)
            each()
        except Exception as error:  # noqa: BLE001  any error is what the test is about
            errors.append(error)

    threads = [threading.Thread(target=run, args=(each,)) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def wait_for(what: str, condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until the condition holds; fail with its description when it does not in time."""
    assert wait_until(condition, seconds), f"not within {seconds} s: {what}"


def wait_for_copy(database: PostgresSettings) -> None:
    """Wait until rows of a load have arrived at the server, none of them committed."""
    # The driver fetches by COPY as well, this answer too.
    query = "SELECT 1 FROM pg_stat_progress_copy WHERE command = 'COPY FROM' AND tuples_processed > 0"
    wait_for("a COPY under way", lambda: sql(database, query))


def main() -> None:
    """Load as the arguments say, into the Postgres of the environment."""
    row, pause, times = sys.argv[1:]
    file = StagedFile.of_row(json.loads(Path(row).read_text()))
    read = StagedFile.batches

    def read_slowly(self: StagedFile, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        for batch in read(self, columns):
            yield batch
            time.sleep(float(pause))

    with patch.object(StagedFile, "batches", read_slowly):
        for _ in range(int(times)):
            replace_month(file, Settings.from_environment().postgres)


if __name__ == "__main__":
    main()
