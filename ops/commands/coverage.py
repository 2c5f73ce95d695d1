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
    from nyc_taxi.report.coverage.grid import SIGNS, shown, sign_of
    from nyc_taxi.report.coverage.page import MONTHS

    said, above = list(coverage.notes), ""
    used = [sign_of(line, target) for line in coverage.lines for target in coverage.targets]
    for service, year, lines in coverage.years:
        said += ["", service] if service != above else []
        above = service
        said.append(f"{year:<{LABEL}}" + "".join(f"{name:>{CELL - 1}} " for _, name in MONTHS).rstrip())
        for target in coverage.targets:
            row = f"{target:<{LABEL}}"
            for number, _ in MONTHS:
                line = lines.get(number)
                # Numbers end in one column, and a mark stands behind it.
                behind = " " if line is None or sign_of(line, target) is None else ""
                row += f"{(shown(line, target) if line else '') + behind:>{CELL}}"
            said.append(row.rstrip())
    if not coverage.lines:
        return [*said, "Nothing is loaded: `taxi run api_to_postgres` loads a month."]
    legend = [f"{sign.mark}  {sign.meaning}" for sign in SIGNS if sign in used]
    remarks = [f"{line.service} {line.month}, {text}" for line in coverage.lines for text in line.remarks]
    look_at = [*(f"{text} missing" for text in coverage.missing), *remarks]
    said += ["", *legend] if legend else []
    said += ["", "To look at:", *look_at] if look_at else ["", "Nothing is missing."]
    return said + (["", "What loads it:", *coverage.commands] if coverage.commands else [])
