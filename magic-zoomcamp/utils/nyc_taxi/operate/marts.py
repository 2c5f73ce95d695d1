"""
What has to be there before dbt builds the marts, in the target that it builds them in.

Every model reads all services, so that a month is complete; a service of which nothing was loaded has an empty table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from nyc_taxi.catalog.references import REFERENCES
from nyc_taxi.catalog.services import SERVICES
from nyc_taxi.errors import NotPublished, TargetUnavailable, UnknownName, not_one_of
from nyc_taxi.load.postgres import references as in_postgres
from nyc_taxi.load.postgres.audit import AUDIT_TABLE, is_current
from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.load.postgres.tables import ensure_tables
from nyc_taxi.months import Month
from nyc_taxi.operate.references import stage_references
from nyc_taxi.operate.sensors import EVERY, wait
from nyc_taxi.run import longest_wait, scheduled_month, text_of
from nyc_taxi.settings import GoogleSettings, Settings

POSTGRES, BIGQUERY = "postgres", "bigquery"
TARGETS = (POSTGRES, BIGQUERY)
"""Of profiles.yml."""


@dataclass(frozen=True)
class Build:
    """What a run of dbt builds."""

    month: Month | None
    """None: every month that is loaded."""
    target: str
    """One of TARGETS."""
    settings: Settings


def build_of(variables: Mapping[str, object], settings: Settings | None = None) -> Build:
    """
    What a run with these variables builds: month, else that of a trigger's execution_date moved by month_offset.

    The macro month_of_run of the dbt project says the same. Raises UnknownName for what is no month and no target.
    """
    target = text_of(variables.get("target"), POSTGRES)
    if target not in TARGETS:
        raise UnknownName(not_one_of("target", target, TARGETS))
    return Build(scheduled_month(variables), target, settings or Settings.from_environment())


def wait_until_loaded(
    variables: Mapping[str, object], settings: Settings | None = None, every: timedelta = EVERY
) -> None:
    """
    Return when the run's month, or for a run without one any month, of some service is loaded into the run's target.

    Reads month, target and wait_hours. Raises NotPublished when that has not happened in that time, UnknownName as
    build_of does, TargetUnavailable when the target does not answer.
    """
    build = build_of(variables, settings)
    look = _count_in_postgres if build.target == POSTGRES else _count_in_bigquery

    def is_loaded() -> None:
        services = look(build)
        if not services:
            raise NotPublished(
                f"{build.target} has no trips of {build.month or 'any month'}: load them first, such as "
                f"taxi run {'api_to_postgres' if build.target == POSTGRES else 'all_targets'} --service yellow"
                f"{f' --month {build.month}' if build.month else ''}"
            )
        print(f"{build.month or 'every month'}: trips of {', '.join(services)} are loaded", flush=True)

    wait(is_loaded, longest_wait(variables), every)


def prepare_marts(variables: Mapping[str, object], settings: Settings | None = None) -> None:
    """
    Make what dbt reads where it is missing: the trip tables and the reference tables.

    Raises TargetUnavailable where the user may not make the marts' schema, and what loading reference tables raises.
    """
    build = build_of(variables, settings)
    prepare: Callable[[Settings], bool] = _prepare_postgres if build.target == POSTGRES else _prepare_bigquery
    if not prepare(build.settings):
        _load_references(build)


def _load_references(build: Build) -> None:
    """Bring the reference tables of the build's target up to date; those of BigQuery by the bucket."""
    staged = stage_references(build.settings)
    if build.target == POSTGRES:
        in_postgres.replace_references(staged, build.settings.postgres)
        return
    from nyc_taxi.load.bigquery import references as in_bigquery
    from nyc_taxi.load.bucket import references as in_bucket

    in_bucket.replace_references(staged, build.settings.google)
    in_bigquery.replace_references(staged, build.settings.google)


def _prepare_postgres(settings: Settings) -> bool:
    """Whether every reference table is there, once the trip tables are."""
    schema, user = settings.postgres.schema, settings.postgres.user
    marts = f"{schema}_marts"
    with connect(settings.postgres) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT CASE WHEN to_regnamespace(%s) IS NULL THEN has_database_privilege(current_database(), 'CREATE') "
            "ELSE has_schema_privilege(%s, 'CREATE') END",
            (marts, marts),
        )
        if cursor.fetchone() != (True,):
            raise TargetUnavailable(
                f"{settings.postgres.where}: {user} may not make tables in {marts}: "
                f"CREATE SCHEMA {marts} AUTHORIZATION {user}, as an owner of the database, and run again"
            )
        ensure_tables(cursor, schema, ())
        cursor.execute(
            "SELECT count(to_regclass(name)) FROM unnest(%s) name", ([f"{schema}.{name}" for name in REFERENCES],)
        )
        found = cursor.fetchone()
        connection.commit()
    return bool(found == (len(REFERENCES),))


def _prepare_bigquery(settings: Settings) -> bool:
    from nyc_taxi.google import bigquery_client, google_errors
    from nyc_taxi.load.bigquery.tables import ensure_table

    google = settings.google
    client = bigquery_client(google)
    with google_errors(f"BigQuery {client.project}.{google.dataset}", google):
        for service in SERVICES.values():
            ensure_table(service, client, google)
    return REFERENCES.keys() <= _tables_in_bigquery(google)


def _count_in_postgres(build: Build) -> list[str]:
    """The services of which the month, or any, was loaded."""
    schema = build.settings.postgres.schema
    with connect(build.settings.postgres) as connection, connection.cursor() as cursor:
        if not is_current(cursor, schema):
            return []
        day = build.month.first_day if build.month else None
        cursor.execute(
            f"SELECT DISTINCT service FROM {schema}.{AUDIT_TABLE} WHERE rows_accepted IS NOT NULL "
            f"AND (%s::date IS NULL OR file_month = %s) ORDER BY 1",
            (day, day),
        )
        return [service for (service,) in cursor.fetchall()]


def _count_in_bigquery(build: Build) -> list[str]:
    from nyc_taxi.google import bigquery_client, bigquery_rows, google_errors

    google, there = build.settings.google, _tables_in_bigquery(build.settings.google)
    where = f"WHERE file_month = DATE '{build.month.first_day}'" if build.month else ""
    client = bigquery_client(google)
    with google_errors(f"BigQuery {client.project}.{google.dataset}", google):
        # Answered from what BigQuery knows of a partition: no byte is scanned.
        counts = {
            service.name: bigquery_rows(client, f"SELECT COUNT(*) FROM {google.dataset}.{service.table} {where}")
            for service in SERVICES.values()
            if service.table in there
        }
    return [service for service, [(rows,)] in counts.items() if rows]


def _tables_in_bigquery(google: GoogleSettings) -> set[str]:
    from nyc_taxi.google import REQUEST_SECONDS, bigquery_client, bigquery_retry, google_errors

    client = bigquery_client(google)
    with google_errors(f"BigQuery {client.project}.{google.dataset}", google):
        tables = client.list_tables(google.dataset, retry=bigquery_retry(), timeout=REQUEST_SECONDS)
        return {table.table_id for table in tables}
