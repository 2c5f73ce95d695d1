"""
One step of the cloud half, timed from after the imports: `python -m bench.ours.exports STEP ...`.

`stage MONTH MANIFEST` writes the judged manifest that the others read. `lake MANIFEST` and `days MANIFEST` are what
the two exporters' blocks call; `warehouse MANIFEST` what gcs_to_bigquery does, its SQL filled in as Mage does.
The last line printed holds the seconds, whole and by step.
"""

import json
import re
import sys
import time
from itertools import pairwise
from pathlib import Path

from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.google import bigquery_client, bigquery_retry
from nyc_taxi.load.bigquery.month import check_month, drop_staging, stage_month
from nyc_taxi.load.bucket.days import replace_month as replace_days
from nyc_taxi.load.bucket.month import find_month
from nyc_taxi.load.bucket.month import replace_month as replace_object
from nyc_taxi.manifest import StagedFile
from nyc_taxi.run import run_context
from nyc_taxi.settings import Settings
from nyc_taxi.transform.rules import apply_rules

from bench.ours.variables import variables
from ops.paths import PROJECT

SQL = PROJECT / "data_exporters" / "write_taxi_to_bigquery.sql"
BLOCK_OUTPUT = re.compile(r"\{\{ block_output\('\w+', parse=lambda df, _: df\['(\w+)'\]\[0\]\) \}\}")


def stage(month: str, manifest: str) -> None:
    """Stage and judge the month that the environment points to."""
    run = run_context(variables(month))
    [file] = apply_rules(stage_trip_file(run), run.rules).files
    Path(manifest).write_text(json.dumps(file.to_row()))


def export(step: str, manifest: str) -> dict[str, float]:
    """Run one step; the seconds of its parts."""
    file = StagedFile.of_row(json.loads(Path(manifest).read_text()))
    google = Settings.from_environment().google
    started = time.perf_counter()
    if step == "lake":
        replace_object(file, google)
    elif step == "days":
        replace_days(file, google)
    else:
        return _warehouse(file)
    return {"export": time.perf_counter() - started}


def _warehouse(file: StagedFile) -> dict[str, float]:
    google = Settings.from_environment().google
    ticks = [time.perf_counter()]

    def tick() -> None:
        ticks.append(time.perf_counter())

    found = find_month(file.service, file.month, google)
    tick()
    staged = stage_month(found, google)
    tick()
    sql = BLOCK_OUTPUT.sub(lambda name: str(getattr(staged, name[1])), SQL.read_text())
    bigquery_client(google).query_and_wait(sql, retry=bigquery_retry())
    tick()
    drop_staging(staged, google)
    check_month(found, google)
    tick()
    find, load, merge, rest = (after - before for before, after in pairwise(ticks))
    return {"load": load, "merge": merge, "rest": find + rest}


def main(step: str, *arguments: str) -> None:
    """Run one step and print its seconds."""
    if step == "stage":
        stage(*arguments)
        return
    steps = export(step, *arguments)
    print(json.dumps({"seconds": sum(steps.values()), "steps": steps}))


if __name__ == "__main__":
    main(*sys.argv[1:])
