"""The places that publish trip files, and what each has."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import UnknownName, not_one_of
from nyc_taxi.months import Month

PACKINGS = (".csv.gz", ".csv", ".zip", ".parquet")
DELIMITERS = (",", ";", "\t", "|")
ENCODINGS = ("utf-8", "latin-1")


@dataclass(frozen=True)
class Origin:
    """One place that publishes a file per month and service, and what it publishes."""

    name: str
    base_url: str
    """What the names of its files are appended to: https://, http:// or, in a bucket, gs://."""
    mirror: str
    """The variable of the environment that names another address, laid out like it."""
    file: str
    """
    The name of a file, with {service} and {month}; as it ends, it is read: one of PACKINGS.

    With {day} there is a file for each day. With {month.year} alone, or no date at all, a file holds more than a month.
    """
    first: Mapping[str, Month]
    """Per service that it has, the first month."""
    last: Month | None = None
    """The last month it will ever have; None while it goes on."""
    late: int = 1
    """How many months after a month its file usually comes."""
    delimiter: str = ""
    """What stands between the values of its CSV; empty to take the one that the header has: one of DELIMITERS."""
    encoding: str = "utf-8"
    """That of its CSV: one of ENCODINGS."""

    def __post_init__(self) -> None:
        """Refuse with UnknownName, where the origin is declared, what no run could read."""
        try:
            name = self._name("service", Month(2021, 1), date(2021, 1, 1))
        except (LookupError, AttributeError, ValueError, TypeError) as error:
            raise UnknownName(
                f"origin {self.name}: file {self.file!r} cannot be filled in ({type(error).__name__}: {error}); "
                f"it may have {{service}}, {{month}}, {{month.year}}, {{month.number:02d}} and {{day}}"
            ) from None
        if not name.endswith(PACKINGS):
            raise UnknownName(
                f"origin {self.name}: file {self.file!r} ends with none of {', '.join(PACKINGS)}, "
                f"which are what can be read"
            )
        if self.delimiter and self.delimiter not in DELIMITERS:
            raise UnknownName(not_one_of(f"origin {self.name}: delimiter", self.delimiter, map(repr, DELIMITERS)))
        if self.encoding not in ENCODINGS:
            raise UnknownName(not_one_of(f"origin {self.name}: encoding", self.encoding, ENCODINGS))

    @property
    def suffix(self) -> str:
        """How its files are packed: one of PACKINGS, without the dot."""
        name = self._name("service", Month(2021, 1), date(2021, 1, 1))
        return next(packing for packing in PACKINGS if name.endswith(packing))[1:]

    @property
    def lateness(self) -> str:
        """The same in words, for messages."""
        return {1: "a month", 2: "two months"}.get(self.late, f"{self.late} months")

    def newest(self, day: date) -> Month:
        """The newest month that it surely has on a day, a month more than usual after the month's end."""
        return self.last or Month.of(day).shift(-self.late - 1)

    def may_have(self, service: Service, month: Month) -> bool:
        """Whether the month is none that this origin can never have."""
        first = self.first.get(service.name)
        return first is not None and month >= first and (self.last is None or month <= self.last)

    @property
    def holds_other_months(self) -> bool:
        """Whether one file has the rows of several months: those of others are left out when a month is read."""
        january, february = (self.files_of("service", Month(2021, number)) for number in (1, 2))
        return january == february

    def files_of(self, service: str, month: Month) -> list[str]:
        """The names of the month's files below the base URL, by day; mostly one."""
        days = (month.first_day + timedelta(n) for n in range((month.shift(1).first_day - month.first_day).days))
        return list(dict.fromkeys(self._name(service, month, day) for day in days))

    def _name(self, service: str, month: Month, day: date) -> str:
        return self.file.format(service=service, month=month, day=day)


ORIGINS = {
    origin.name: origin
    for origin in (
        Origin(
            name="dtc",
            base_url="https://github.com/DataTalksClub/nyc-tlc-data/releases/download",
            mirror="TLC_DTC_BASE_URL",
            file="{service}/{service}_tripdata_{month}.csv.gz",
            first=dict.fromkeys(("yellow", "green", "fhv", "fhvhv"), Month(2019, 1)),
            last=Month(2021, 7),
        ),
        Origin(
            name="tlc",
            base_url="https://d37ci6vzurychx.cloudfront.net/trip-data",
            mirror="TLC_PARQUET_BASE_URL",
            file="{service}_tripdata_{month}.parquet",
            first={
                "yellow": Month(2009, 1),
                "green": Month(2013, 8),
                "fhv": Month(2015, 1),
                "fhvhv": Month(2019, 2),
            },
            late=2,
        ),
    )
}


def origin_named(name: str) -> Origin:
    """The origin of that name; UnknownName says which there are."""
    if name not in ORIGINS:
        raise UnknownName(not_one_of("origin", name, ORIGINS))
    return ORIGINS[name]
