"""Marts by dbt: nothing is lost up to the last table, on Postgres and BigQuery alike, whatever is loaded again."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from nyc_taxi.google import bigquery_client
from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.load.postgres.month import replace_month
from nyc_taxi.settings import PostgresSettings, Settings

from ops.commands import run
from ops.commands.dbt.sources import SOURCES, sources_yml
from ops.paths import PROJECT, ROOT
from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate, generate_zones
from tests.conftest import sql
from tests.nyc_taxi.load.loading import judged

pytestmark = pytest.mark.mage
REVENUE = (
    "SELECT service, file_month, sum(trips), round(cast(sum(fares) AS numeric), 2), "
    "round(cast(sum(revenue) AS numeric), 2) FROM {} GROUP BY 1, 2 ORDER BY 1, 2"
)
MARTS = "ny_taxi_marts.fct_monthly_zone_revenue"
OF_MONTH = "SELECT count(*) FROM ny_taxi_marts.fct_trips WHERE file_month = '{}'"


@pytest.fixture
def env(env: dict[str, str], trips: TripServer, database: PostgresSettings) -> dict[str, str]:
    """The environment of a run, the zones published, no marts, and no trips that an earlier test left in BigQuery."""
    generate_zones(trips.folder)
    sql(database, "DROP SCHEMA IF EXISTS ny_taxi_marts CASCADE")
    google = Settings.from_environment(env).google
    client = bigquery_client(google)
    client.delete_dataset("ny_taxi_marts", delete_contents=True, not_found_ok=True)
    for table in client.list_tables(google.dataset):
        client.delete_table(table)
    return env


def taxi(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The command line with the run's environment."""
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )


def build(env: dict[str, str], *arguments: str) -> str:
    """`taxi dbt build`, which must end well; what it said."""
    done = taxi("dbt", "build", *arguments, env=env)
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-1_000:]
    assert "Warning" not in done.stderr
    return done.stdout


def load(settings: Settings, trips: TripServer, service: str, month: str, rows: int = 5_000) -> None:
    """A month into Postgres, by the library itself."""
    replace_month(judged(settings, trips, service, month, "dtc", rows), settings.postgres)


def in_bigquery(env: dict[str, str]) -> list[tuple[object, ...]]:
    """Trips, fares and revenue by service and month in BigQuery's marts."""
    google = Settings.from_environment(env).google
    return [tuple(row) for row in bigquery_client(google).query(REVENUE.format(f"`{MARTS}`")).result()]


def test_what_dbt_knows_of_the_tables_is_what_the_catalog_says() -> None:
    assert SOURCES.read_text() == sources_yml(), "python -m ops.commands.dbt.sources"


def test_a_month_is_the_same_in_the_marts_of_both_targets_after_it_was_loaded_again(
    env: dict[str, str], trips: TripServer, database: PostgresSettings
) -> None:
    before = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True)
    for month in ("2020-10", "2020-11"):
        generate("green", month, "dtc", 5_000, trips.folder)
        run.run_pipeline("all_targets", {"service": "green", "month": month}, env)
    for target in ("postgres", "bigquery"):
        run.run_pipeline("trips_to_marts", {"target": target}, env)
    first = sql(database, REVENUE.format(MARTS))
    assert in_bigquery(env) == first
    assert [row[2] for row in first] == [
        rows for (rows,) in sql(database, "SELECT rows_accepted FROM ny_taxi.load_audit ORDER BY load_id")
    ]
    run.run_pipeline("all_targets", {"service": "green", "month": "2020-10", "rules": "none"}, env)
    for target in ("postgres", "bigquery"):
        run.run_pipeline("trips_to_marts", {"month": "2020-10", "target": target}, env)
    again = sql(database, REVENUE.format(MARTS))
    assert in_bigquery(env) == again
    assert again[0][2] == 5_000
    assert again[1] == first[1]
    audit = "SELECT sums ->> 'total_amount' FROM ny_taxi.load_audit ORDER BY load_id DESC LIMIT 1"
    assert float(str(sql(database, audit)[0][0])) == pytest.approx(float(str(again[0][4])), abs=0.005)
    # The checkout is as it was, and no password is on the disk.
    after = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert after.stdout == before.stdout
    written = [path for path in (Path(env["MAGE_DATA_DIR"]) / "dbt").rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if env["POSTGRES_PASSWORD"].encode() in path.read_bytes()]


def test_a_run_builds_its_month_only_and_a_month_that_became_empty_becomes_empty(
    env: dict[str, str], settings: Settings, trips: TripServer, database: PostgresSettings
) -> None:
    load(settings, trips, "yellow", "2021-01")
    load(settings, trips, "yellow", "2021-02", 2_000)
    build(env)
    january, february = (sql(database, OF_MONTH.format(day)) for day in ("2021-01-01", "2021-02-01"))
    sql(database, "DELETE FROM ny_taxi.yellow_cab_data")
    assert "INSERT 0 0" in build(env, "--month", "2021-01")
    assert sql(database, OF_MONTH.format("2021-01-01")) == [(0,)] != january
    assert sql(database, OF_MONTH.format("2021-02-01")) == february
    load(settings, trips, "yellow", "2021-01")
    sql(database, "DELETE FROM ny_taxi.yellow_cab_data WHERE pulocationid < 100")
    lost = r"Exception: revenue_is_what_was_loaded: Got 1 result.* \(the rows: taxi dbt show --select revenue_is_what"
    with pytest.raises(run.PipelineFailed, match=lost):
        run.run_pipeline("trips_to_marts", {"month": "2021-01"}, env)
    load(settings, trips, "yellow", "2021-01")
    run.run_pipeline("trips_to_marts", {"month": "2021-01"}, env)
    assert sql(database, OF_MONTH.format("2021-01-01")) == january


def test_what_people_put_on_the_marts_stays_and_their_own_tables_are_left_alone(
    env: dict[str, str], settings: Settings, trips: TripServer, database: PostgresSettings
) -> None:
    load(settings, trips, "yellow", "2021-01", 1_000)
    sql(database, "CREATE SCHEMA ny_taxi_marts; CREATE TABLE ny_taxi_marts.fct_tips (mine int, file_month date)")
    sql(database, "INSERT INTO ny_taxi_marts.fct_tips VALUES (1, '2021-01-01')")
    refused = taxi("dbt", "build", env=env)
    assert refused.returncode != 0
    assert "ny_taxi_marts.fct_tips was not made by this project, and nothing was changed" in refused.stdout
    with pytest.raises(run.PipelineFailed, match=r"ny_taxi_marts\.fct_tips was not made by this project"):
        run.run_pipeline("trips_to_marts", {"month": "2021-01"}, env)
    assert sql(database, "SELECT relname FROM pg_class WHERE relnamespace = 'ny_taxi_marts'::regnamespace") == [
        ("fct_tips",)
    ]
    sql(database, "DROP TABLE ny_taxi_marts.fct_tips")
    build(env)
    sql(
        database, "CREATE VIEW ny_taxi.mine AS SELECT zone, t.* FROM ny_taxi_marts.fct_trips t, ny_taxi_marts.dim_zones"
    )
    sql(database, "GRANT SELECT ON ny_taxi_marts.fct_trips, ny_taxi_marts.dim_zones TO PUBLIC")
    sql(database, "CREATE INDEX mine_too ON ny_taxi_marts.fct_trips (operator)")
    build(env)
    build(env, "--month", "2021-01")
    [(rows,)] = sql(database, "SELECT rows_accepted FROM ny_taxi.load_audit")
    assert sql(
        database, "SELECT count(DISTINCT (zone, trip_id)) > 0, to_regclass('ny_taxi_marts.mine_too') FROM ny_taxi.mine"
    ) == [(True, "ny_taxi_marts.mine_too")]
    assert sql(database, OF_MONTH.format("2021-01-01")) == [(rows,)]
    assert sql(database, "SELECT has_table_privilege('public', 'ny_taxi_marts.dim_zones', 'SELECT')") == [(True,)]


def test_duplicates_and_reversals_are_marked_and_not_dropped(
    env: dict[str, str], settings: Settings, trips: TripServer, database: PostgresSettings
) -> None:
    load(settings, trips, "green", "2020-10", 1_000)
    with connect(database) as connection, connection.cursor() as cursor:
        # A ride like no other: twice the same, and once taken back; and another, three times.
        cursor.execute(
            "CREATE TEMP TABLE ride AS SELECT * FROM ny_taxi.green_cab_data "
            "WHERE total_amount > 0 ORDER BY lpep_pickup_datetime LIMIT 1"
        )
        for fare in (1234.5, 1234.5, -1234.5, 77.7, 77.7, 77.7):
            cursor.execute("UPDATE ride SET fare_amount = %s", (fare,))
            cursor.execute("INSERT INTO ny_taxi.green_cab_data SELECT * FROM ride")
        cursor.execute("UPDATE ny_taxi.load_audit SET rows_read = rows_read + 6, rows_accepted = rows_accepted + 6")
        cursor.execute("UPDATE ny_taxi.load_audit SET sums = sums - 'total_amount' - 'trip_distance'")
        connection.commit()
    build(env, "--month", "2020-10")
    marked = (
        "SELECT fare_amount, is_duplicate, is_reversal FROM {} WHERE abs(fare_amount) IN (1234.5, 77.7) "
        "ORDER BY 1, 2, 3"
    )
    wanted = [
        (-1234.5, False, True),
        (77.7, False, False),
        (77.7, True, False),
        (77.7, True, False),
        (1234.5, False, False),
        (1234.5, False, True),
    ]
    for table in ("ny_taxi_marts.fct_trips", "ny_taxi_marts.stg_green_trips"):
        assert sql(database, marked.format(table)) == wanted


def test_app_trips_that_differ_in_what_does_not_identify_them_are_duplicates_and_no_failure(
    env: dict[str, str], settings: Settings, trips: TripServer, database: PostgresSettings
) -> None:
    replace_month(judged(settings, trips, "fhvhv", "2021-01", "tlc", 100), settings.postgres)
    amounts = ("tolls", "bcf", "sales_tax", "congestion_surcharge", "airport_fee", "cbd_congestion_fee")
    with connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE ride AS SELECT * FROM ny_taxi.fhvhv_trip_data LIMIT 1")
        for amount in amounts:
            cursor.execute("CREATE TEMP TABLE other AS SELECT * FROM ride")
            cursor.execute(f"UPDATE other SET {amount} = coalesce({amount}, 0) + 1")
            cursor.execute("INSERT INTO ny_taxi.fhvhv_trip_data SELECT * FROM other; DROP TABLE other")
        connection.commit()
    build(env, "--month", "2021-01", "--select", "dim_zones fct_trips")
    counted = "SELECT count(DISTINCT trip_id), count(*) FILTER (WHERE is_duplicate) FROM ny_taxi_marts.fct_trips"
    assert sql(database, counted) == [(100, len(amounts))]


def test_two_runs_at_once_are_one_after_the_other(
    env: dict[str, str], settings: Settings, trips: TripServer, database: PostgresSettings, tmp_path: Path
) -> None:
    load(settings, trips, "yellow", "2021-01")
    build(env)
    before = sql(database, REVENUE.format(MARTS))
    with ThreadPoolExecutor(2) as both:
        said = [*both.map(lambda _: build(env, "--month", "2021-01"), range(2))]
    assert sum("another run of dbt is at work" in text for text in said) == 1
    # Of two machines, which know nothing of each other, the table itself keeps the second one waiting.
    apart = [env | {"DBT_TARGET_PATH": str(tmp_path / name), "DBT_LOG_PATH": str(tmp_path / name)} for name in "ab"]
    facts = ("--month", "2021-01", "--select", "fct_trips fct_monthly_zone_revenue")
    with ThreadPoolExecutor(2) as both:
        [*both.map(lambda of_one: build(of_one, *facts), apart)]
    assert sql(database, REVENUE.format(MARTS)) == before
    assert sql(database, OF_MONTH.format("2021-01-01")) == [(before[0][2],)]


def test_a_question_for_a_month_reads_that_month_only(
    env: dict[str, str], settings: Settings, trips: TripServer, database: PostgresSettings
) -> None:
    load(settings, trips, "yellow", "2021-01")
    load(settings, trips, "yellow", "2021-02", 2_000)
    build(env)
    build(env, "--month", "2021-01")
    asked = "SELECT count(*) FROM ny_taxi_marts.stg_yellow_trips WHERE is_duplicate AND file_month = '2021-01-01'"
    plan = "\n".join(str(line) for (line,) in sql(database, f"EXPLAIN {asked}"))
    assert "yellow_cab_data_2021_01" in plan
    assert "yellow_cab_data_2021_02" not in plan
    compiled = Path(env["MAGE_DATA_DIR"]) / "dbt" / "target" / "compiled" / "nyc_taxi" / "models" / "marts"
    for model in (compiled / "fct_trips.sql", compiled / "fct_monthly_zone_revenue.sql"):
        assert "where file_month = date '2021-01-01'" in model.read_text()


def test_a_model_that_fails_names_itself_and_the_tables_stay(
    env: dict[str, str], settings: Settings, trips: TripServer, database: PostgresSettings
) -> None:
    load(settings, trips, "yellow", "2021-01")
    build(env)
    before = sql(database, REVENUE.format(MARTS))
    sql(database, "CREATE FUNCTION ny_taxi.no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no room'; END$$")
    sql(
        database,
        "CREATE TRIGGER no BEFORE INSERT ON ny_taxi_marts.fct_monthly_zone_revenue EXECUTE FUNCTION ny_taxi.no()",
    )
    with pytest.raises(run.PipelineFailed, match=r"Exception: fct_monthly_zone_revenue: Database Error .* no room"):
        run.run_pipeline("trips_to_marts", {"month": "2021-01"}, env)
    assert sql(database, REVENUE.format(MARTS)) == before
    sql(database, "DROP FUNCTION ny_taxi.no CASCADE")
    run.run_pipeline("trips_to_marts", {"month": "2021-01"}, env)
    assert sql(database, REVENUE.format(MARTS)) == before


def test_what_cannot_be_built_is_said_in_one_line(
    env: dict[str, str], settings: Settings, trips: TripServer, database: PostgresSettings
) -> None:
    nothing = "postgres has no trips of 2021-01: load them first, such as taxi run api_to_postgres --service yellow"
    refused = taxi("dbt", "build", "--month", "2021-01", env=env)
    assert (refused.returncode, refused.stderr) == (1, f"FAILED  {nothing} --month 2021-01\n")
    load(settings, trips, "yellow", "2021-01", 1_000)
    with pytest.raises(run.PipelineFailed, match=r"NotPublished: bigquery has no trips of 2021-01: load them first"):
        run.run_pipeline("trips_to_marts", {"month": "2021-01", "target": "bigquery"}, env)
    with pytest.raises(run.PipelineFailed, match="UnknownName: target 'postgre' is not one of postgres, bigquery; did"):
        run.run_pipeline("trips_to_marts", {"month": "2021-01", "target": "postgre"}, env)
    sql(database, "CREATE ROLE marts_reader LOGIN PASSWORD 'reads-only'")
    reader = env | {"POSTGRES_USER": "marts_reader", "POSTGRES_PASSWORD": "reads-only"}
    sql(database, "GRANT USAGE ON SCHEMA ny_taxi TO marts_reader")
    sql(database, "GRANT SELECT ON ALL TABLES IN SCHEMA ny_taxi TO marts_reader")
    refused = taxi("dbt", "build", "--month", "2021-01", env=reader)
    sql(database, "DROP OWNED BY marts_reader; DROP ROLE marts_reader")
    assert refused.returncode == 1
    assert "marts_reader may not make tables in ny_taxi_marts: CREATE SCHEMA" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_the_pages_describe_every_column(env: dict[str, str], settings: Settings, trips: TripServer) -> None:
    load(settings, trips, "yellow", "2021-01", 1_000)
    build(env)
    assert taxi("dbt", "docs", "generate", env=env).returncode == 0
    catalog = json.loads((Path(env["MAGE_DATA_DIR"]) / "dbt" / "target" / "catalog.json").read_text())
    comments = {
        name: column["comment"] for name, column in catalog["nodes"]["model.nyc_taxi.fct_trips"]["columns"].items()
    }
    assert comments["trip_distance"] == "miles; none for fhv"
    assert taxi("dbt", "source", "freshness", env=env).returncode == 0
    assert (PROJECT / "dbt" / "nyc_taxi" / "target").exists() is False
