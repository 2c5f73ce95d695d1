"""`taxi coverage`: which months are where, and what is to be done."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.commands.arguments import MONTH, SERVICE, examples

if TYPE_CHECKING:
    from nyc_taxi.report.coverage.grid import Coverage

TARGETS = {"postgres": "Postgres", "bucket": "bucket", "bigquery": "BigQuery"}
LABEL, CELL = 8, 6


@click.command(
    "coverage",
    epilog=examples(
        "taxi coverage",
        "taxi coverage --service green --since 2020-10 --until 2020-12 --on postgres",
        "taxi coverage --offline --html coverage.html",
    ),
)
@click.option("--service", "services", type=SERVICE, multiple=True, help="Only this service; may be given again.")
@click.option("--since", type=MONTH, help="First month; the first that is held if not given.")
@click.option("--until", type=MONTH, help="Last month; the last that is held if not given.")
@click.option("--on", "--target", "targets", type=click.Choice(tuple(TARGETS)), multiple=True, help="Only this target.")
@click.option("--offline", is_flag=True, help="Do not ask the origins whether trip files have changed.")
@click.option("--sums", is_flag=True, help="Count and sum the trips in Postgres and BigQuery: this reads them.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write it as a page to this file.")
def command(
    services: tuple[str, ...],
    since: str | None,
    until: str | None,
    targets: tuple[str, ...],
    offline: bool,
    sums: bool,
    html: Path | None,
) -> None:
    """
    Show which months of which service each target holds, with their rows, and what is to be looked at.

    Nothing is read but what load_audit and the targets' own metadata tell, and one HEAD request for each month that
    was loaded. At the end stand the commands that load what is missing.
    """
    from nyc_taxi.months import Month
    from nyc_taxi.report.coverage.lines import Choice
    from nyc_taxi.report.coverage.look import look
    from nyc_taxi.report.coverage.page import write_page
    from nyc_taxi.settings import Settings

    from ops.stack.environment import environment

    settings = Settings.from_environment(environment())
    first, last = (Month.parse(text) if text else None for text in (since, until))
    choice = Choice(services, first, last, tuple(TARGETS[name] for name in targets))
    coverage = look(settings, choice, offline=offline, sums=sums)
    click.echo("\n".join(described(coverage)))
    if html:
        write_page(coverage, html, settings.reports_dir)
        click.echo(f"\nThe page is at {html}")


def described(coverage: "Coverage") -> list[str]:
    """The grid as lines of at most 80 characters, then what is to be looked at and the commands, as they come."""
    from nyc_taxi.report.coverage.grid import MARKS, MEANINGS, shown
    from nyc_taxi.report.coverage.page import MONTHS

    said = list(coverage.notes)
    used: set[str] = set()
    above = ""
    for service, year, lines in coverage.years:
        said += ["", service] if service != above else []
        above = service
        said.append(f"{year:<{LABEL}}" + "".join(f"{name:>{CELL - 1}} " for _, name in MONTHS).rstrip())
        for target in coverage.targets:
            cells = [shown(lines[number], target) if number in lines else "" for number, _ in MONTHS]
            used |= {cell[-1] for cell in cells if cell and cell[-1] in MARKS}
            # Numbers end in one column, and a mark stands behind it.
            padded = (cell if cell[-1:] in MARKS else f"{cell} " for cell in cells)
            said.append(f"{target:<{LABEL}}{''.join(f'{cell:>{CELL}}' for cell in padded)}".rstrip())
    if not coverage.lines:
        return [*said, "Nothing is loaded: `taxi run api_to_postgres` loads a month."]
    said += ["", *(f"{mark}  {meaning}" for mark, meaning in MEANINGS.items() if mark in used)] if used else []
    remarks = [f"{line.service} {line.month}, {text}" for line in coverage.lines for text in line.remarks]
    missing = [f"{text} missing" for text in coverage.missing]
    said += ["", "To look at:", *missing, *remarks] if missing or remarks else ["", "Nothing is missing."]
    return said + (["", "What loads it:", *coverage.commands] if coverage.commands else [])
