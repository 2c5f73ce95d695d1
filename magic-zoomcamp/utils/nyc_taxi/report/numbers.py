"""Everything that a report tells of one month, counted in one pass over its staged rows."""

from calendar import day_name
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import CountsDisagree
from nyc_taxi.extract.zones import Zone
from nyc_taxi.manifest import StagedFile
from nyc_taxi.report.tallies import Calendar, Histogram, Quality, Sums, Values, tally

PICKUP_ZONE, DROPOFF_ZONE, PAYMENT = "PULocationID", "DOLocationID", "payment_type"
DISTANCES = (0.5, 20)
"""Width of a bin and end of the last one, in miles."""
FARES = (2.5, 100)
"""The same in USD."""
TOP_ZONES = 15


class RankedZone(NamedTuple):
    """A row of the list of busiest zones."""

    name: str
    trips: int
    borough: str
    number: int


class Busiest(NamedTuple):
    """The moment with most trips."""

    when: str
    trips: float


@dataclass(frozen=True)
class ReportNumbers:
    """Everything that a report tells of one month; what the service has no columns for is None."""

    file: StagedFile
    calendar: Calendar
    pickups: Values
    """Trips by taxi zone of the pickup."""
    dropoffs: Values
    distances: Histogram | None
    fares: Histogram | None
    payments: Values | None
    """Trips by code of payment."""
    money: Sums
    """USD by column, over all accepted trips; without columns for fhv."""
    quality: Quality

    @property
    def paid(self) -> float:
        """USD that passengers paid, cash tips apart."""
        return sum(self.money.totals[name] for name in self.file.service.paid)

    @property
    def ways_of_payment(self) -> list[tuple[str, int]]:
        """Trips by way of payment in words, most first; empty where the service has none."""
        return in_words(self.payments, self.file.service) if self.payments else []

    @property
    def outcome(self) -> list[tuple[str, int]]:
        """What became of the rows: accepted, then rejected by reason, most first."""
        return [("accepted", self.file.rows_accepted), *most_first(self.file.rejected)]

    @property
    def busiest_day(self) -> Busiest | None:
        """The day with most trips; None for a file without a trip of its month."""
        day = int(np.argmax(self.calendar.trips))
        date, trips = self.calendar.days[day], int(self.calendar.trips[day])
        return Busiest(f"{date:%A} {date.day}", trips) if trips else None

    @property
    def busiest_hour(self) -> Busiest | None:
        """The hour of the week with most trips, on average; None for a file without a trip of its month."""
        weekday, hour = divmod(int(np.argmax(self.calendar.per_hour)), 24)
        trips = float(self.calendar.per_hour[weekday, hour])
        return Busiest(f"{day_name[weekday]}s from {hour}:00 to {hour + 1}:00", trips) if trips else None


def most_first(reasons: Mapping[str, int]) -> list[tuple[str, int]]:
    """Rows by reason, most first, equals by name."""
    return sorted(reasons.items(), key=lambda each: (-each[1], each[0]))


def in_words(payments: Values, service: Service) -> list[tuple[str, int]]:
    """Trips by way of payment, most first; last those of which it is not recorded."""
    words, missing = service.words(PAYMENT), payments.counts[None]
    named = [(words.get(code, f"code {code}"), trips) for code, trips in payments.most()]
    return [*named, ("not recorded", missing)] if missing else named


def busiest_zones(counted: Values, zones: Mapping[int, Zone]) -> list[RankedZone]:
    """The zones with most trips, most first; an id that the city's list does not have is told as such."""
    top = [
        (number, trips, zones.get(number) or Zone("", f"zone {number}, not listed"))
        for number, trips in counted.most()[:TOP_ZONES]
    ]
    return [RankedZone(zone.label, trips, zone.borough, number) for number, trips, zone in top]


def count_month(file: StagedFile) -> ReportNumbers:
    """
    Every number of a month's report, in one pass over the staged file.

    Raises CountsDisagree unless as many rows are accepted as the manifest says: it is then another file's.
    """
    service, month = file.service, file.month
    numbers = ReportNumbers(
        file=file,
        calendar=Calendar(service, month),
        pickups=Values(PICKUP_ZONE),
        dropoffs=Values(DROPOFF_ZONE),
        distances=Histogram(service.distance, *DISTANCES) if service.distance else None,
        fares=Histogram(service.fare, *FARES) if service.fare else None,
        payments=Values(PAYMENT) if PAYMENT in service.schema.names else None,
        money=Sums(service.amounts),
        quality=Quality(service, month),
    )
    parts = (numbers.distances, numbers.fares, numbers.payments)
    always = (numbers.calendar, numbers.pickups, numbers.dropoffs, numbers.money)
    rows = tally(file, [*always, *(part for part in parts if part)], [numbers.quality])
    if rows != file.rows_accepted:
        raise CountsDisagree(
            f"{service.name} {month}: {rows:,} rows pass the rules, but the manifest counts {file.rows_accepted:,}: "
            f"run the pipeline again from load_api_data on"
        )
    return numbers
