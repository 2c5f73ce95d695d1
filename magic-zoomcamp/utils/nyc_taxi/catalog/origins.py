"""The places that publish trip files, and what each has."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import UnknownName, not_one_of
from nyc_taxi.months import Month


@dataclass(frozen=True)
class Origin:
    """One place that publishes a file per month and service, and what it publishes."""

    name: str
    base_url: str
    """What the names of its files are appended to."""
    mirror: str
    """The variable of the environment that names another address, laid out like it."""
    file: str
    """The name of a file, with {service} and {month}; as it ends, it is read: .csv.gz or .parquet."""
    first: Mapping[str, Month]
    """Per service that it has, the first month."""
    last: Month | None = None
    """The last month it will ever have; None while it goes on."""
    late: int = 1
    """How many months after a month its file usually comes."""

    @property
    def suffix(self) -> str:
        """How its files are packed: csv.gz or parquet."""
        return self.file.rsplit("/", 1)[-1].split(".", 1)[1]

    @property
    def lateness(self) -> str:
        """The same in words, for messages."""
        return {1: "a month", 2: "two months"}.get(self.late, f"{self.late} months")

    def newest(self, day: date) -> Month:
        """The newest month that it surely has on a day, a month more than usual after the month's end."""
        return self.last or Month.of(day).shift(-self.late - 1)

    def file_of(self, service: Service, month: Month) -> str:
        """The name of the month's file below the base URL."""
        return self.file.format(service=service.name, month=month)


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
