"""The commands that load what is missing, failed or disagrees: to be copied into a terminal as they are."""

from collections.abc import Iterable, Sequence

from nyc_taxi.catalog.services import SERVICES
from nyc_taxi.months import Month
from nyc_taxi.report.coverage.grid import (
    BIGQUERY,
    BUCKET,
    CHANGED,
    DIFFERS,
    FAILED,
    MISSING,
    POSTGRES,
    TARGETS,
    Line,
    spans,
)

PIPELINES = {POSTGRES: "api_to_postgres", BUCKET: "api_to_gcs", BIGQUERY: "gcs_to_bigquery"}
"""What loads into each target, in the order in which to run them: the last reads what the second has written."""
ALL = "all_targets"


def commands_for(lines: Sequence[Line], targets: Iterable[str]) -> tuple[str, ...]:
    """One `taxi backfill` for each pipeline and run of months; none when nothing is to be done."""
    wanted: dict[tuple[str, str, str, str], list[Month]] = {}
    for line in lines:
        for pipeline in _pipelines(line, set(targets)):
            rules = "" if pipeline == PIPELINES[BIGQUERY] else _rules(line)
            wanted.setdefault((pipeline, line.service, line.origin, rules), []).append(line.month)
    order = [*PIPELINES.values(), ALL]
    return tuple(
        f"taxi backfill {pipeline} --service {service} --origin {origin}{rules} --from {first} --to {last}"
        for (pipeline, service, origin, rules), months in sorted(
            wanted.items(), key=lambda each: order.index(each[0][0])
        )
        for first, last in spans(months)
    )


def _pipelines(line: Line, targets: set[str]) -> list[str]:
    """What is to be run for a month."""
    if not line.origin:
        return []
    unequal = any(cell.state == DIFFERS for cell in line.cells.values())
    again = unequal or line.trip_file == CHANGED
    needed = {
        target for target, cell in line.cells.items() if cell.state in (MISSING, FAILED) or (again and cell.is_held)
    }
    if BIGQUERY in needed and BUCKET not in targets:  # nobody knows whether the bucket has what BigQuery is to read
        needed.add(BUCKET)
    return [ALL] if needed == set(TARGETS) else [pipeline for target, pipeline in PIPELINES.items() if target in needed]


def _rules(line: Line) -> str:
    """The option that keeps the rules by which the month, or its neighbour, was loaded."""
    if line.rules is None or line.rules == SERVICES[line.service].rules:
        return ""
    return f" --rules {','.join(line.rules) or 'none'}"
