"""The homework's cleaned trips as a Postgres table and as day partitions in a bucket; each replaced as a whole."""

from nyc_taxi.catalog.services import GREEN
from nyc_taxi.course.homework import PICKUP, PICKUP_DATE, RULES, CleanTrips
from nyc_taxi.google import bucket_of, google_errors
from nyc_taxi.load.bucket.days import added_up, half_replaced, split_by_day
from nyc_taxi.load.bucket.objects import listing, replace_set, scratch_folder
from nyc_taxi.load.postgres.binary_copy import copy_batches
from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.load.postgres.locks import advisory_lock, with_lock_timeout
from nyc_taxi.load.postgres.tables import TYPES, ensure_schema
from nyc_taxi.settings import GoogleSettings, PostgresSettings

SCHEMA, NAME = "mage", "green_taxi"
TABLE = f"{SCHEMA}.{NAME}"
PATTERN = f"green_taxi/{PICKUP_DATE}=*/green_taxi.parquet"


def replace_table(trips: CleanTrips, settings: PostgresSettings) -> None:
    """
    Replace the table with the cleaned trips, in one transaction: readers see the old one until the swap.

    Raises CountsDisagree (nothing changed) if other rows than those counted were copied, NotATripFile if the cleaned
    file is gone, TargetUnavailable or StorageFull if the server cannot be reached, refuses or is full.
    """
    with connect(settings) as connection, connection.cursor() as cursor:
        with_lock_timeout(cursor, SCHEMA, lambda: ensure_schema(cursor, SCHEMA))
        connection.commit()
        advisory_lock(cursor, TABLE)
        columns = ", ".join(f"{field.name} {TYPES[field.type]}" for field in trips.schema)
        cursor.execute(f"CREATE TABLE {TABLE}_new ({columns})")
        rows = copy_batches(cursor, f"{TABLE}_new", trips.batches())
        trips.refuse_other_numbers(f"{TABLE}_new", rows, trips.sums)
        # Sent at once: readers wait no longer than they must.
        swap = f"DROP TABLE IF EXISTS {TABLE}; ALTER TABLE {TABLE}_new RENAME TO {NAME}"
        with_lock_timeout(cursor, TABLE, lambda: cursor.execute(swap))
        connection.commit()
    print(f"{TABLE}: {rows:,} rows", flush=True)


def check_table(trips: CleanTrips, settings: PostgresSettings) -> int:
    """How many rows the table has; CountsDisagree unless they and their sums are those of the cleaned trips."""
    sums = "".join(f", coalesce(sum({name}), 0)" for name in GREEN.measures)
    with connect(settings) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*){sums} FROM {TABLE}")
        rows, *totals = cursor.fetchone() or ()
    trips.refuse_other_numbers(TABLE, rows, dict(zip(GREEN.measures, totals, strict=True)))
    return int(rows)


def replace_days(trips: CleanTrips, google: GoogleSettings) -> None:
    """
    Replace the objects, one per day of pickup; days that have no trips any more go.

    Raises CountsDisagree if rows are lost on the way (nothing changed) or another run keeps writing the same objects,
    NotATripFile if the cleaned file is gone, TargetUnavailable if the bucket cannot be reached or refuses, UnknownName
    if none is set.
    """
    bucket = bucket_of(google)
    where = f"gs://{bucket.name}/{PATTERN}"
    # The date is in the folder's name only: readers of Hive partitions refuse a column that is there twice.
    schema = trips.schema.remove(trips.schema.get_field_index(PICKUP_DATE))
    about = {"service": GREEN.name, "months": ",".join(trips.rows_read), "origin": "dtc", "rules": ",".join(RULES)}
    with google_errors(where, google), scratch_folder(trips.file) as folder:
        days = split_by_day(trips.batches(schema.names), folder, schema, PICKUP, GREEN.measures)
        trips.refuse_other_numbers(str(folder), sum(day.rows for day in days), added_up(day.sums for day in days))
        news = [day.as_object(PATTERN.replace("*", day.text), about) for day in days]
        replace_set(bucket, news, PATTERN, trips.version, placing=half_replaced(where, google))
    print(f"{where}: {trips.total_kept:,} rows in {len(days)} days", flush=True)


def check_days(trips: CleanTrips, google: GoogleSettings) -> int:
    """How many day partitions there are; CountsDisagree unless they add up to the cleaned trips."""
    bucket = bucket_of(google)
    where = f"gs://{bucket.name}/{PATTERN}"
    with google_errors(where, google):
        found = [blob.metadata or {} for blob in listing(bucket, PATTERN).values()]
    rows = sum(int(about.get("rows", 0)) for about in found)
    sums = {name: sum(float(about.get(f"sum_{name}", 0)) for about in found) for name in GREEN.measures}
    trips.refuse_other_numbers(where, rows, sums)
    return len(found)
