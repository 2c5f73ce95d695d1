"""One page about a month of trips, in one file: numbers, charts, and what became of the rows."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import pandas as pd

from nyc_taxi.catalog.services import DRIVER_PAY, TOTAL
from nyc_taxi.errors import CountsDisagree, UnknownName
from nyc_taxi.extract.zones import Zone, taxi_zones, zone_list_url
from nyc_taxi.files import replacing, writing_to
from nyc_taxi.manifest import Manifest, StagedFile
from nyc_taxi.report.charts import ACCENTS, WEEKDAYS
from nyc_taxi.report.coverage.page import PAGE as COVERAGE
from nyc_taxi.report.coverage.page import write_beside_reports
from nyc_taxi.report.numbers import ReportNumbers, busiest_zones, count_month, most_first
from nyc_taxi.report.pictures import Picture, pictures
from nyc_taxi.report.shelf import address, keep
from nyc_taxi.report.templating import template
from nyc_taxi.settings import Settings

TITLES = {
    "yellow": "Yellow taxi trips",
    "green": "Green taxi trips",
    "fhv": "For-hire vehicle trips",
    "fhvhv": "High-volume for-hire trips",
}
PAGE = "trip_report.html"
COUNT = re.compile(r'<data id="(rows_\w+)" value="(\d+)">')
"""How the page marks a number of rows that the manifest counts too."""


@dataclass(frozen=True)
class Report:
    """A page on disk, and the manifest's numbers of rows, which it must tell too."""

    service: str
    month: str
    rows_read: int
    rows_accepted: int
    rows_rejected: int
    path: str
    bytes: int
    address: str = ""
    """Where it can be opened: in the web UI, where its address is known."""


def write_reports(manifest: Manifest, settings: Settings) -> pd.DataFrame:
    """
    Write a page for each file of the manifest and say where it is; one row per page, the fields of `Report`.

    Raises what `taxi_zones` and `count_month` raise, UnknownName for a service that is no taxi's, and StorageFull; an
    earlier page then stays as it was.
    """
    for name in {file.service_name for file in manifest.files} - set(TITLES):
        raise UnknownName(f"trip_report tells of taxi zones: service {name!r} is not one of {', '.join(TITLES)}")
    zones, written = taxi_zones(settings), []
    for file in manifest.files:
        report = write_report(file, zones, zone_list_url(settings), settings.reports_dir)
        name = f"{file.service_name}/{file.month}/{PAGE}"
        written.append(replace(report, address=address(name, settings)))
        print(f"{file.service_name} {file.month}: the report is at {written[-1].address}", flush=True)
        keep(name, settings)
    write_beside_reports(settings)
    keep(COVERAGE, settings)
    return pd.DataFrame(map(asdict, written), columns=[field.name for field in fields(Report)])


def write_report(file: StagedFile, zones: Mapping[int, Zone], zones_url: str, reports_dir: Path) -> Report:
    """Write `<service>/<month>/trip_report.html`, its charts as PNG beside it; each appears whole, the page last."""
    numbers = count_month(file)
    charts = pictures(numbers, zones)
    page = _render(numbers, charts, zones, zones_url).encode()
    folder = reports_dir / file.service_name / str(file.month)
    with writing_to(folder, f"{file.service_name} {file.month}", setting="REPORTS_DIR"):
        folder.mkdir(parents=True, exist_ok=True)
        for chart in charts.values():
            with replacing(folder / f"{chart.name}.png", locked=False) as part:
                part.write_bytes(chart.png)
        with replacing(folder / PAGE, locked=False) as part:
            part.write_bytes(page)
    counts = (file.rows_read, file.rows_accepted, file.rows_rejected)
    return Report(file.service_name, str(file.month), *counts, path=str(folder / PAGE), bytes=len(page))


def check_reports(written: pd.DataFrame) -> None:
    """Raise CountsDisagree unless every page is there and tells the manifest's numbers of rows."""
    for row in written.to_dict("records"):
        page = Path(row["path"])
        told = {name: int(value) for name, value in COUNT.findall(page.read_text())} if page.exists() else {}
        counted = {str(name): int(value) for name, value in row.items() if str(name).startswith("rows_")}
        if told != counted:
            raise CountsDisagree(f"{page} tells {told or 'nothing'}, the manifest counts {counted}: run again")


def _render(numbers: ReportNumbers, charts: Mapping[str, Picture], zones: Mapping[int, Zone], zones_url: str) -> str:
    file = numbers.file
    return template(PAGE).render(
        coverage=f"../../{COVERAGE}",
        title=f"{TITLES[file.service_name]}, {file.month.first_day:%B %Y}",
        accent=ACCENTS[file.service_name],
        weekdays=WEEKDAYS,
        TOTAL=TOTAL,
        DRIVER_PAY=DRIVER_PAY,
        file=file,
        numbers=numbers,
        calendar=numbers.calendar,
        quality=numbers.quality,
        accepted=numbers.outcome[0][1],
        rejected=numbers.outcome[1:],
        warned=most_first(file.warned),
        charts=charts,
        zones={"Pickups": busiest_zones(numbers.pickups, zones), "Drop-offs": busiest_zones(numbers.dropoffs, zones)},
        zones_url=zones_url,
        share=_share,
    )


def _share(rows: int, of: int) -> str:
    """A part of all in percent; a small one is told as such, not as nothing."""
    part = rows / max(of, 1)
    return "< 0.1%" if 0 < part < 0.001 else f"{part:.1%}"
