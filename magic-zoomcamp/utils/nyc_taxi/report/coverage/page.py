"""The grid of what is loaded as one page that needs no network and no script, and as a table for Mage's editor."""

from calendar import month_abbr
from os.path import relpath
from pathlib import Path

from nyc_taxi.errors import TaxiError
from nyc_taxi.files import replacing, writing_to
from nyc_taxi.report.coverage.grid import SIGNS, Coverage, Line, in_short, shown, sign_of
from nyc_taxi.report.coverage.lines import Choice
from nyc_taxi.report.coverage.look import look
from nyc_taxi.report.templating import template
from nyc_taxi.settings import Settings

PAGE = "coverage.html"
MONTHS = tuple(enumerate(month_abbr))[1:]


def write_page(coverage: Coverage, path: Path, reports_dir: Path) -> None:
    """Write the page, whole or not at all; it links to the reports of the months that have one. StorageFull."""

    def report_of(line: Line) -> str:
        report = reports_dir / line.service / str(line.month) / "trip_report.html"
        return Path(relpath(report, path.parent)).as_posix() if report.exists() else ""

    page = template(PAGE).render(
        coverage=coverage,
        months=MONTHS,
        in_short=in_short,
        sign_of=sign_of,
        signs=SIGNS,
        report_of=report_of,
        looked_at=[line for line in coverage.lines if any(line.remarks)],
    )
    with writing_to(path.parent, "coverage", setting="REPORTS_DIR"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, locked=False) as part:
            part.write_text(page, encoding="utf-8")


def write_beside_reports(settings: Settings) -> None:
    """The page of all that is loaded, beside the months' reports, which link to it; the origins are not asked."""
    write_page(look(settings, Choice(), offline=True), settings.reports_dir / PAGE, settings.reports_dir)


def editor_table(settings: Settings) -> tuple[list[str], list[list[str]]]:
    """Headings and rows for a table in Mage's editor, newest month first; nothing but a line where nothing is told."""
    try:
        coverage = look(settings, Choice(), offline=True)
    except TaxiError as error:
        print(error)
        return [], []
    for note in coverage.notes:
        print(note)
    rows = [
        [line.service, str(line.month), *(shown(line, target) for target in coverage.targets), "; ".join(line.remarks)]
        for line in sorted(coverage.lines, key=lambda line: line.month, reverse=True)
    ]
    print("nothing to draw yet: nothing is loaded" if not rows else _legend())
    return ["service", "month", *coverage.targets, "to look at"], rows


def _legend() -> str:
    return ", ".join(f"{sign.mark} {sign.meaning}" for sign in SIGNS)
