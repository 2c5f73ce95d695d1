"""A data set of one's own: what its declaration refuses by name, and that what it takes goes to every target."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pyarrow as pa
import pytest
from nyc_taxi.catalog.columns import REAL, SMALL, TEXT, TIME, WHOLE, Column
from nyc_taxi.catalog.names import BIGQUERY, POSTGRES, RESERVED
from nyc_taxi.catalog.origins import ORIGINS, Origin
from nyc_taxi.catalog.services import SERVICES, Service
from nyc_taxi.errors import UnknownName
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.google import bigquery_client
from nyc_taxi.load.bucket import days
from nyc_taxi.load.bucket import month as objects
from nyc_taxi.load.postgres import month as postgres
from nyc_taxi.months import Month
from nyc_taxi.settings import GoogleSettings, PostgresSettings, Settings
from nyc_taxi.transform.rules import apply_rules

from ops.stack.trip_server import TripServer
from tests.conftest import run_of, sql
from tests.nyc_taxi.load.bigquery.bigquery_helpers import load, name_of, query

WHEN = Column("started", TIME)


def service(*columns: Column, **more: object) -> Service:
    made: Callable[..., Service] = Service
    own = {"name": "rides", "table": "rides", "pickup": "started", "rules": (), "measures": ()}
    return made(**{**own, "columns": (WHEN, *columns), **more})


@pytest.mark.parametrize("name", ["user", "end", "order", "Select", "GROUP", "hash", "qualify", "analyse"])
def test_a_column_that_every_query_would_quote_is_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(UnknownName) as refused:
        Column(name, TEXT)
    assert str(refused.value) == (
        f"column {name!r} is a word of SQL, which every query would have to quote: give it another name, and "
        f"renames={{{name.lower()!r}: ...}} if the file calls it so"
    )


@pytest.mark.parametrize("name", ["file_month", "Reason", "source_row", "ctid", "XMIN", "_PARTITIONTIME", "_table_x"])
def test_a_column_that_tables_have_of_their_own_is_refused(name: str) -> None:
    with pytest.raises(UnknownName, match=f"column '{name}' is one that tables have of their own: give it another"):
        Column(name, TEXT)


@pytest.mark.parametrize("name", ["", "zone id", "1st", "a-b", "a.b", 'a"b', "größe", "a;drop", "a\n"])
def test_a_column_whose_name_is_no_plain_word_is_refused(name: str) -> None:
    with pytest.raises(UnknownName, match="is no plain name, of letters, digits and _, not a digit first: rename it"):
        Column(name, TEXT)


def test_a_name_that_postgres_would_cut_off_is_refused() -> None:
    assert Column("c" * 63, TEXT).name == "c" * 63
    with pytest.raises(UnknownName, match="has 64 characters, of which Postgres has room for 63"):
        Column("c" * 64, TEXT)
    assert service(table="t" * 42).table == "t" * 42
    with pytest.raises(UnknownName, match="has 43 characters, of which Postgres has room for 42"):
        service(table="t" * 43)


@pytest.mark.parametrize(
    "kind", [pa.bool_(), pa.date32(), pa.decimal128(10, 2), pa.timestamp("s"), pa.int8(), pa.list_(pa.int32())]
)
def test_a_type_that_not_every_target_has_is_refused_with_those_there_are(kind: pa.DataType) -> None:
    with pytest.raises(UnknownName) as refused:
        Column("helmet", kind)
    assert str(refused.value) == (
        f"column helmet: type {kind} is not one of TIME, TEXT, SMALL, WHOLE, REAL: a date is a TIME, a decimal REAL, "
        f"and a truth value TEXT, in the file too"
    )


@pytest.mark.parametrize(
    ("columns", "more", "said"),
    [
        ((), {"table": "order"}, "table 'order' is a word of SQL"),
        ((), {"table": "load_audit"}, "table 'load_audit' is one that there is beside the tables of services"),
        ((), {"table": "bike_rides_rejected"}, "table 'bike_rides_rejected' is one that there is beside the tables"),
        ((), {"name": "../rides"}, "service '../rides' is no plain name, of small letters, digits and _"),
        ((), {"table": "bike-rides"}, "table 'bike-rides' is no plain name"),
        ((Column("Started", TEXT),), {}, "service rides: column started is there twice; capitals make no other name"),
        ((), {"pickup": "begun"}, "service rides: pickup names begun, which is no column that it could be"),
        ((Column("km", REAL),), {"pickup": "km"}, "service rides: pickup names km, which is no column"),
        ((Column("km", REAL),), {"dropoff": "km"}, "service rides: dropoff names km, which is no column"),
        ((Column("bike", TEXT),), {"measures": ("bike",)}, "service rides: measures names bike, which is no column"),
        ((), {"identity": ("ride_id",)}, "service rides: identity names ride_id, which is no column"),
    ],
)
def test_a_data_set_that_cannot_be_loaded_is_refused_where_it_is_declared(
    columns: tuple[Column, ...], more: dict[str, object], said: str
) -> None:
    with pytest.raises(UnknownName) as refused:
        service(*columns, **more)
    assert str(refused.value).startswith(said)


def test_the_words_of_sql_are_those_of_this_postgres(server: PostgresSettings) -> None:
    reserved = {word for (word,) in sql(server, "SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')")}
    assert reserved <= set(POSTGRES.split())
    taken = {column.name.lower() for each in SERVICES.values() for column in each.columns}
    assert not taken & RESERVED
    assert {"user", "order", "end"} <= set(POSTGRES.split()) != set(BIGQUERY.split())


def test_odd_but_plain_names_and_dates_decimals_and_truth_values_go_to_every_target(
    settings: Settings, trips: TripServer, google: GoogleSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    google = replace(google, dataset=f"test_{uuid.uuid4().hex}")
    bigquery_client(google).create_dataset(google.dataset)
    own = service(
        Column("Date", TIME, "a date"),
        Column("VALUE", REAL, "a decimal", unit="USD"),
        Column("helmet", TEXT, "a truth value"),
        Column("rider", TEXT),
        Column("_type", SMALL),
        Column("count", WHOLE),
        Column("index", WHOLE),
        measures=("VALUE", "count"),
        renames={"user": "rider", "select": "_type"},
        identity=("started", "rider"),
    )
    monkeypatch.setitem(SERVICES, "rides", own)
    monkeypatch.setitem(ORIGINS, "own", Origin("own", f"{trips.url}/own", "OWN_BASE_URL", "{month}.csv",
                                               {"rides": Month(2024, 1)}))  # fmt: skip
    folder = trips.folder / "own"
    folder.mkdir(parents=True)
    (folder / "2024-05.csv").write_text(
        "started,Date,Value,helmet,user,Select,Count,INDEX\n"
        "2024-05-01 08:00:00,2024-05-01,12.34,true,ann,1,10,7\n"
        "2024-05-02 08:00:00,2024-05-02,-0.01,false,bob,2,20,\n"
        "2024-05-01 08:00:00,2024-05-01,99.00,true,ann,1,10,7\n"
        "2024-05-03 08:00:00,,,,,,,\n"
    )
    settings = replace(settings, base_urls={"own": f"{trips.url}/own"})
    run = run_of(settings, "rides", "2024-05", "own", "not_a_duplicate,plausible_fare:warn")
    [file] = apply_rules(stage_trip_file(run), run.rules).files
    assert (file.rows_accepted, file.rejected) == (3, {"duplicate": 1})
    assert file.warned == {"fare_too_low": 1, "fare_missing": 1}
    assert file.sums == {"VALUE": pytest.approx(12.33), "count": 30.0}
    postgres.replace_month(file, settings.postgres)
    postgres.check_month(file, settings.postgres)
    objects.replace_month(file, google)
    days.replace_month(file, google)
    days.check_month(file, google)
    load(objects.find_month(own, file.month, google), google)
    # As a person asks, without a quote.
    asked = "SELECT started, Date, VALUE, helmet, rider, _type, count, index FROM {} ORDER BY started"
    first, second, third = datetime(2024, 5, 1, 8), datetime(2024, 5, 2, 8), datetime(2024, 5, 3, 8)
    rows = [
        (first, datetime(2024, 5, 1), 12.34, "true", "ann", 1, 10, 7),
        (second, datetime(2024, 5, 2), -0.01, "false", "bob", 2, 20, None),
        (third, None, None, None, None, None, None, None),
    ]
    assert [tuple(row) for row in sql(settings.postgres, asked.format("ny_taxi.rides"))] == rows
    assert [tuple(row) for row in query(google, asked.format(f"`{name_of(google, own)}`"))] == rows
