"""
The four trip record services: canonical columns, the names of every era, default rules.

Columns, units and codes are those of TLC's data dictionaries
(https://www.nyc.gov/site/tlc/about/tlc-trip-record-data.page). Times are NYC wall clock without a zone,
distances miles, amounts USD, places the taxi zones 1 to 265.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from nyc_taxi.catalog.columns import FLAG, LICENCE, REAL, SMALL, TEXT, TIME, WHOLE, Codes, Column
from nyc_taxi.catalog.legacy import LEGACY_DROPPED, LEGACY_NAMES, LEGACY_SPELLINGS
from nyc_taxi.catalog.names import check_service, check_table
from nyc_taxi.errors import UnknownName, not_one_of

VENDORS: Codes = {1: "Creative Mobile", 2: "Curb (VeriFone)", 3: "DDS", 6: "Myle", 7: "Helix"}
RATES: Codes = {
    1: "standard",
    2: "JFK",
    3: "Newark",
    4: "Nassau/Westchester",
    5: "negotiated",
    6: "group",
    99: "unknown",
}
PAYMENTS: Codes = {0: "flex", 1: "card", 2: "cash", 3: "no charge", 4: "dispute", 5: "unknown", 6: "voided"}
LICENCES: Codes = {"HV0002": "Juno", "HV0003": "Uber", "HV0004": "Via", "HV0005": "Lyft"}
TOTAL, DRIVER_PAY = "total_amount", "driver_pay"
"""Amounts that are no part of what a passenger pays: the sum of the parts, and what the driver gets of it."""


@dataclass(frozen=True)
class Service:
    """What is particular to one service; everything else in the library is common to the four."""

    name: str
    table: str
    columns: tuple[Column, ...]
    pickup: str
    rules: tuple[str, ...]
    measures: tuple[str, ...]
    """Columns whose sums are compared between targets."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """Names of other eras, in lower case, to canonical ones. A mere change of case needs no entry."""
    dropped: Mapping[str, str] = field(default_factory=dict)
    """Columns of other eras, in lower case, that have no canonical place, with the reason."""
    absent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Per origin: the measures that none of its files ever had. Without any other measure, a month is refused."""
    dropoff: str = ""
    """The column that says when it ended; empty where none does."""
    identity: tuple[str, ...] = ()
    """The columns in which no two of its rows are equal, unless one is there twice; empty for all of them."""
    spellings: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Per canonical integer column: the words, trimmed and in lower case, that early eras wrote for its codes."""

    def __post_init__(self) -> None:
        """Raise UnknownName for a table that SQL must quote, columns of one name, and roles that no column can have."""
        check_service(self.name)
        check_table(self.table)
        types = {column.name: column.type for column in self.columns}
        for name, times in Counter(column.name.lower() for column in self.columns).items():
            if times > 1:
                raise UnknownName(f"service {self.name}: column {name} is there twice; capitals make no other name")
        roles = {"pickup": [self.pickup], "dropoff": filter(None, [self.dropoff]), "measures": self.measures}
        allowed = {"pickup": (TIME,), "dropoff": (TIME,), "measures": (SMALL, WHOLE, REAL)}
        for role, names in (roles | {"identity": self.identity}).items():
            for name in names:
                if types.get(name) not in allowed.get(role, types.values()):
                    raise UnknownName(f"service {self.name}: {role} names {name}, which is no column that it could be")

    @property
    def about(self) -> str:
        """What its table holds, as the table itself says it."""
        return f"Accepted {self.name} trips by month of trip file; times are NYC wall clock, amounts USD"

    @property
    def schema(self) -> pa.Schema:
        """The canonical Arrow schema, every column nullable."""
        return pa.schema([column.arrow_field for column in self.columns])

    @property
    def distance(self) -> str | None:
        """The column of the trip's length in miles; None where the service has none (fhv)."""
        return next((column.name for column in self.columns if column.unit == "miles"), None)

    @property
    def amounts(self) -> dict[str, str]:
        """The columns in USD, the fare first, with their descriptions; empty where the service has none (fhv)."""
        return {column.name: column.description for column in self.columns if column.unit == "USD"}

    @property
    def fare(self) -> str | None:
        """The column of the fare in USD, without fees, taxes and tips; None where the service has none."""
        return next(iter(self.amounts), None)

    @property
    def paid(self) -> tuple[str, ...]:
        """The columns whose sum, in USD, is what a passenger paid, as far as it is recorded."""
        return (TOTAL,) if TOTAL in self.amounts else tuple(name for name in self.amounts if name != DRIVER_PAY)

    def words(self, column: str) -> Codes:
        """The meaning of each code of a column; empty without the column."""
        return next((each.codes for each in self.columns if each.name == column), {})


def _metered(prefix: str, *more: Column) -> tuple[Column, ...]:
    """The columns that a taxi meter reports; prefix is that of the meter's vendor programme."""
    return (
        Column("VendorID", SMALL, codes=VENDORS),
        Column(f"{prefix}_pickup_datetime", TIME, "meter engaged, NYC wall clock"),
        Column(f"{prefix}_dropoff_datetime", TIME, "meter disengaged, NYC wall clock"),
        Column("passenger_count", WHOLE, "entered by the driver", unit="passengers"),
        Column("trip_distance", REAL, "by the taximeter", unit="miles"),
        Column("RatecodeID", WHOLE, codes=RATES),
        Column("store_and_fwd_flag", TEXT, "Y when the record was held in the vehicle before it was sent", form=FLAG),
        Column("PULocationID", SMALL, "taxi zone of the pickup, 1 to 265"),
        Column("DOLocationID", SMALL, "taxi zone of the drop-off, 1 to 265"),
        Column("payment_type", WHOLE, codes=PAYMENTS),
        Column("fare_amount", REAL, "time and distance", unit="USD"),
        Column("extra", REAL, "rush hour and night surcharges", unit="USD"),
        Column("mta_tax", REAL, unit="USD"),
        Column("tip_amount", REAL, "card tips only", unit="USD"),
        Column("tolls_amount", REAL, unit="USD"),
        Column("improvement_surcharge", REAL, unit="USD"),
        Column("total_amount", REAL, "without cash tips", unit="USD"),
        Column("congestion_surcharge", REAL, "New York State's, since 2019", unit="USD"),
        *more,
        Column("cbd_congestion_fee", REAL, "MTA congestion zone, since 2025-01", unit="USD"),
        Column("request_source", TEXT, "how the trip was requested, since 2026-06"),
    )


def _trip(prefix: str) -> tuple[str, ...]:
    """What identifies a trip with a meter: who drove when, from where to where, how far, and for how much."""
    times = (f"{prefix}_pickup_datetime", f"{prefix}_dropoff_datetime")
    return ("VendorID", *times, "PULocationID", "DOLocationID", "trip_distance", "fare_amount")


YELLOW = Service(
    name="yellow",
    table="yellow_cab_data",
    columns=_metered("tpep", Column("airport_fee", REAL, "pickups at LaGuardia and JFK", unit="USD")),
    pickup="tpep_pickup_datetime",
    dropoff="tpep_dropoff_datetime",
    identity=_trip("tpep"),
    rules=("has_passengers",),
    measures=("trip_distance", "total_amount"),
    renames=LEGACY_NAMES,
    dropped=LEGACY_DROPPED,
    spellings=LEGACY_SPELLINGS,
)

GREEN = Service(
    name="green",
    table="green_cab_data",
    columns=_metered(
        "lpep",
        Column("ehail_fee", REAL, unit="USD"),
        Column("trip_type", WHOLE, codes={1: "street hail", 2: "dispatch"}),
    ),
    pickup="lpep_pickup_datetime",
    dropoff="lpep_dropoff_datetime",
    identity=_trip("lpep"),
    rules=("has_passengers",),
    measures=("trip_distance", "total_amount"),
)

FHV = Service(
    name="fhv",
    table="fhv_trip_data",
    columns=(
        Column("dispatching_base_num", TEXT, "licence of the base that sent the car", form=LICENCE),
        Column("pickup_datetime", TIME, "pickup, NYC wall clock"),
        Column("dropoff_datetime", TIME, "drop-off, NYC wall clock"),
        Column("PULocationID", SMALL, "taxi zone of the pickup, 1 to 265"),
        Column("DOLocationID", SMALL, "taxi zone of the drop-off, 1 to 265"),
        Column("SR_Flag", TEXT, "1 for a trip of a shared-ride chain; other values occur"),
        Column("Affiliated_base_number", TEXT, "licence of the base the car is affiliated with", form=LICENCE),
    ),
    pickup="pickup_datetime",
    dropoff="dropoff_datetime",
    rules=(),
    measures=("PULocationID",),
)

FHVHV = Service(
    name="fhvhv",
    table="fhvhv_trip_data",
    columns=(
        Column("hvfhs_license_num", TEXT, codes=LICENCES, form=LICENCE),
        Column("dispatching_base_num", TEXT, "licence of the base that sent the car", form=LICENCE),
        Column("originating_base_num", TEXT, "licence of the base that took the request", form=LICENCE),
        Column("request_datetime", TIME, "request, NYC wall clock"),
        Column("on_scene_datetime", TIME, "driver arrived (accessible vehicles), NYC wall clock"),
        Column("pickup_datetime", TIME, "pickup, NYC wall clock"),
        Column("dropoff_datetime", TIME, "drop-off, NYC wall clock"),
        Column("PULocationID", SMALL, "taxi zone of the pickup, 1 to 265"),
        Column("DOLocationID", SMALL, "taxi zone of the drop-off, 1 to 265"),
        Column("trip_miles", REAL, unit="miles"),
        Column("trip_time", WHOLE, unit="seconds"),
        Column("base_passenger_fare", REAL, "before tolls, tips, taxes and fees", unit="USD"),
        Column("tolls", REAL, unit="USD"),
        Column("bcf", REAL, "Black Car Fund", unit="USD"),
        Column("sales_tax", REAL, unit="USD"),
        Column("congestion_surcharge", REAL, "New York State's", unit="USD"),
        Column("airport_fee", REAL, unit="USD"),
        Column("tips", REAL, unit="USD"),
        Column("driver_pay", REAL, "without tolls, tips and taxes", unit="USD"),
        Column("shared_request_flag", TEXT, "Y when a shared ride was asked for", form=FLAG),
        Column("shared_match_flag", TEXT, "Y when the ride was shared", form=FLAG),
        Column("access_a_ride_flag", TEXT, "Y for the MTA's Access-A-Ride", form=FLAG),
        Column("wav_request_flag", TEXT, "Y when a wheelchair-accessible vehicle was asked for", form=FLAG),
        Column("wav_match_flag", TEXT, "Y when the vehicle was wheelchair-accessible", form=FLAG),
        Column("SR_Flag", TEXT, "shared ride, CSV origin only"),
        Column("Affiliated_base_number", TEXT, "affiliated base, CSV origin from 2021-06", form=LICENCE),
        Column("cbd_congestion_fee", REAL, "MTA congestion zone, since 2025-01", unit="USD"),
    ),
    pickup="pickup_datetime",
    dropoff="dropoff_datetime",
    identity=(
        "hvfhs_license_num",
        "dispatching_base_num",
        "request_datetime",
        "pickup_datetime",
        "dropoff_datetime",
        "PULocationID",
        "DOLocationID",
        "trip_miles",
        "base_passenger_fare",
    ),
    rules=(),
    measures=("trip_miles", "base_passenger_fare"),
    absent={"dtc": ("trip_miles", "base_passenger_fare")},
)

SERVICES = {service.name: service for service in (YELLOW, GREEN, FHV, FHVHV)}


def service_named(name: str) -> Service:
    """The service of that name; UnknownName says which there are."""
    if name not in SERVICES:
        raise UnknownName(not_one_of("service", name, SERVICES))
    return SERVICES[name]
