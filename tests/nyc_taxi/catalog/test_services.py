"""What a column tells of itself, and what a service knows of its columns by it."""

import pyarrow as pa
import pytest
from nyc_taxi.catalog.columns import REAL, SMALL, TEXT, UNITS, WHOLE, Column
from nyc_taxi.catalog.services import FHV, FHVHV, GREEN, SERVICES, YELLOW, Service
from nyc_taxi.errors import UnknownName

COLUMNS = [(service, column) for service in SERVICES.values() for column in service.columns]


def description(service: Service, column: str) -> str:
    return service.schema.field(column).metadata[b"description"].decode()  # type: ignore[no-any-return]


def test_a_column_is_told_with_its_unit_its_codes_and_its_description() -> None:
    assert Column("km", REAL, "by the meter", unit="kilometres").full_description == "kilometres, by the meter"
    assert Column("kind", SMALL, codes={1: "city bike", 2: "e-bike"}).full_description == "1 city bike, 2 e-bike"
    assert Column("mta_tax", REAL, unit="USD").full_description == "USD"
    assert Column("station", SMALL, "where it began").full_description == "where it began"


@pytest.mark.parametrize("unit", ["kilometers", "usd", "", "mile"])
def test_a_unit_that_no_chart_knows_is_refused_with_those_that_there_are(unit: str) -> None:
    with pytest.raises(UnknownName, match=f"column km: unit '{unit}' is not one of miles, kilometres, seconds, USD"):
        Column("km", REAL, unit=unit)


@pytest.mark.parametrize(("service", "column"), COLUMNS, ids=lambda each: each.name)
def test_every_column_of_the_catalog_says_what_it_is(service: Service, column: Column) -> None:
    assert description(service, column.name) == column.full_description != ""
    assert not column.description.startswith(UNITS)
    kind = int if pa.types.is_integer(column.type) else str
    assert all(type(code) is kind for code in column.codes)
    assert column.unit is None or column.type in (WHOLE, REAL)


def test_descriptions_reach_the_arrow_schema() -> None:
    assert description(YELLOW, "trip_distance") == "miles, by the taximeter"
    assert description(YELLOW, "mta_tax") == "USD"
    assert description(GREEN, "trip_type") == "1 street hail, 2 dispatch"
    assert description(FHVHV, "hvfhs_license_num") == "HV0002 Juno, HV0003 Uber, HV0004 Via, HV0005 Lyft"
    assert description(FHVHV, "trip_time") == "seconds"
    assert description(FHV, "SR_Flag") == "1 for a trip of a shared-ride chain; other values occur"


@pytest.mark.parametrize(
    ("service", "distance", "fare", "paid"),
    [
        (YELLOW, "trip_distance", "fare_amount", ("total_amount",)),
        (GREEN, "trip_distance", "fare_amount", ("total_amount",)),
        (FHV, None, None, ()),
    ],
    ids=lambda each: getattr(each, "name", None),
)
def test_a_service_knows_its_distance_its_fare_and_what_is_paid(
    service: Service, distance: str | None, fare: str | None, paid: tuple[str, ...]
) -> None:
    assert service in SERVICES.values()
    assert (service.distance, service.fare, service.paid) == (distance, fare, paid)


def test_what_a_passenger_of_fhvhv_pays_is_everything_but_the_drivers_pay() -> None:
    assert (FHVHV.distance, FHVHV.fare) == ("trip_miles", "base_passenger_fare")
    assert set(FHVHV.amounts) - set(FHVHV.paid) == {"driver_pay"}
    assert len(FHVHV.paid) == 8


def test_the_amounts_are_the_columns_in_usd_with_their_descriptions() -> None:
    assert YELLOW.amounts == {
        "fare_amount": "time and distance",
        "extra": "rush hour and night surcharges",
        "mta_tax": "",
        "tip_amount": "card tips only",
        "tolls_amount": "",
        "improvement_surcharge": "",
        "total_amount": "without cash tips",
        "congestion_surcharge": "New York State's, since 2019",
        "airport_fee": "pickups at LaGuardia and JFK",
        "cbd_congestion_fee": "MTA congestion zone, since 2025-01",
    }
    assert next(iter(YELLOW.amounts)) == "fare_amount"
    assert len(GREEN.amounts) == 10
    assert FHV.amounts == {}


def test_codes_have_words() -> None:
    assert YELLOW.words("payment_type") == {
        0: "flex", 1: "card", 2: "cash", 3: "no charge", 4: "dispute", 5: "unknown", 6: "voided"
    }  # fmt: skip
    assert YELLOW.words("VendorID")[2] == "Curb (VeriFone)"
    assert YELLOW.words("RatecodeID")[99] == "unknown"
    assert FHVHV.words("hvfhs_license_num") == {"HV0002": "Juno", "HV0003": "Uber", "HV0004": "Via", "HV0005": "Lyft"}
    assert YELLOW.words("trip_distance") == {}
    assert FHV.words("payment_type") == {}


@pytest.mark.parametrize("service", SERVICES.values(), ids=lambda each: each.name)
def test_spellings_of_early_eras_mean_codes_that_there_are(service: Service) -> None:
    for column, spellings in service.spellings.items():
        assert set(spellings.values()) <= set(service.words(column)), column
    assert TEXT not in {service.schema.field(column).type for column in service.spellings}
