"""The work of the pipeline's blocks, timed after the imports: `python -m bench.ours.blocks MONTH [SERVICE ORIGIN]`."""

import json
import sys
import time

from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.load.postgres.month import replace_month
from nyc_taxi.run import run_context
from nyc_taxi.transform.rules import apply_rules

from bench.ours.variables import variables


def main(month: str, *of: str) -> None:
    """Load the month that the environment points to; the last line printed holds the seconds, whole and by step."""
    started = time.perf_counter()
    run = run_context(variables(month, *of))
    staged = stage_trip_file(run)
    after_staging = time.perf_counter()
    judged = apply_rules(staged, run.rules)
    after_rules = time.perf_counter()
    for file in judged.files:
        replace_month(file, run.settings.postgres)
    ended = time.perf_counter()
    steps = {"stage": after_staging - started, "rules": after_rules - after_staging, "load": ended - after_rules}
    print(json.dumps({"seconds": ended - started, "steps": steps}))


if __name__ == "__main__":
    main(*sys.argv[1:])
