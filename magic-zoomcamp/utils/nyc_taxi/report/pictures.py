"""A month's numbers as pictures, each with what it says in words for whoever cannot see it."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from nyc_taxi.extract.zones import Zone
from nyc_taxi.report import charts
from nyc_taxi.report.charts import ACCENTS, WIDE
from nyc_taxi.report.numbers import ReportNumbers, busiest_zones
from nyc_taxi.report.tallies import Histogram


@dataclass(frozen=True)
class Picture:
    """A chart."""

    name: str
    """Of its file, without `.png`."""
    alt: str
    png: bytes

    @property
    def uri(self) -> str:
        """The picture itself as an address: the page asks no server for it."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


def pictures(numbers: ReportNumbers, zones: Mapping[int, Zone]) -> dict[str, Picture]:
    """Every chart that the service has columns for, by name."""
    groups = (_when(numbers), _where(numbers, zones), _how_far_and_how_much(numbers), _rows(numbers))
    return {name: Picture(name, alt, charts.png(figure)) for group in groups for name, alt, figure in group}


Drawn = Iterator[tuple[str, str, Figure]]
"""Name, words, figure."""


def _when(numbers: ReportNumbers) -> Drawn:
    calendar, accent = numbers.calendar, ACCENTS[numbers.file.service_name]
    figure = charts.days(calendar, calendar.trips, "Trips per day", "trips", accent)
    yield "trips_per_day", f"Trips per day: {_range_of(calendar.trips)}.", figure
    busiest = numbers.busiest_hour
    most = f"most trips on {busiest.when}" if busiest else "no trips"
    yield "trips_by_hour", f"Trips by weekday and hour: {most}.", charts.week(calendar, accent)
    if numbers.money.columns:
        figure = charts.days(calendar, calendar.paid, "Paid by passengers per day", "USD", accent)
        yield "paid_per_day", f"USD paid by passengers per day: {_range_of(calendar.paid)}.", figure


def _where(numbers: ReportNumbers, zones: Mapping[int, Zone]) -> Drawn:
    both = (("pickup_zones", "Most pickups", numbers.pickups), ("dropoff_zones", "Most drop-offs", numbers.dropoffs))
    for name, title, counted in both:
        ranked = [(zone.name, zone.trips) for zone in busiest_zones(counted, zones)]
        yield name, *_ranked(ranked, title, numbers)


def _how_far_and_how_much(numbers: ReportNumbers) -> Drawn:
    if numbers.distances:
        yield "distances", *_histogram(numbers.distances, "Length of trips", "miles", numbers)
    if numbers.fares:
        yield "fares", *_histogram(numbers.fares, "Fares", "USD", numbers)
    if numbers.ways_of_payment:
        yield "payment_types", *_ranked(numbers.ways_of_payment, "Ways of payment", numbers)


def _rows(numbers: ReportNumbers) -> Drawn:
    yield "rows", *_ranked(numbers.outcome, "Rows of the trip file", numbers, WIDE)


def _histogram(values: Histogram, title: str, unit: str, numbers: ReportNumbers) -> tuple[str, Figure]:
    alt = f"{title}: half of the trips below {values.half:g} {unit}." if values.half else f"{title}, in {unit}."
    return alt, charts.histogram(values, title, unit, ACCENTS[numbers.file.service_name])


def _ranked(
    ranked: Sequence[tuple[str, int]], title: str, numbers: ReportNumbers, width: float = charts.HALF
) -> tuple[str, Figure]:
    first = ", ".join(f"{name} {value:,}" for name, value in ranked[:3]) or "none"
    return f"{title}: {first}.", charts.ranked(ranked, title, ACCENTS[numbers.file.service_name], width)


def _range_of(values: charts.Amounts) -> str:
    return f"from {values.min():,.0f} to {values.max():,.0f}, {values.mean():,.0f} on average"
