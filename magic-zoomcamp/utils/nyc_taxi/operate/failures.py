"""A block that failed, told to those who must know: a line that begins with what it was about, and an audit row."""

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor

from nyc_taxi.catalog.origins import origin_named
from nyc_taxi.errors import TaxiError, UnknownName
from nyc_taxi.load.postgres import audit
from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.load.postgres.locks import with_lock_timeout
from nyc_taxi.load.postgres.tables import ensure_schema
from nyc_taxi.months import Month
from nyc_taxi.run import service_and_month
from nyc_taxi.settings import PostgresSettings, without_secrets

LONGEST_ERROR = 1_500
"""Characters: Slack refuses a message of more than 3,000, and the rest of it takes its room too."""


@dataclass(frozen=True)
class Failure:
    """One failed block of one pipeline run."""

    row: audit.FailedRun
    about: str
    """Service, month and origin, as a run names itself; the variables as they are where they make no sense."""
    error: str
    """One line: the kind of error and its message."""

    def __str__(self) -> str:
        """One line for a message: what it was about, the block, the kind of error and its message."""
        return f"{self.about} {self.row.block}: {self.error}".strip()


def describe(error: BaseException, block: str, variables: Mapping[str, object]) -> Failure:
    """
    Make one line of an error, without line breaks and secrets, and find out which month it was about.

    Reads the run's variables as run_context does, and Mage's own: pipeline_uuid and pipeline_run_id. A block that is
    there once per month has service and month in its name, as in load_month:green_2020-10. Variables that make no sense
    are no error here: they are told as they are.
    """
    variables = {**variables, **_named_by(block)}
    text = " ".join(without_secrets(f"{type(error).__name__}: {error}").split())
    text = text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]}..."
    service, month, origin = _named(variables)
    if month:
        about = f"{service} {month}" + (f" ({origin})" if origin else "")
    else:
        about = " ".join(f"{name}={variables[name]}" for name in ("service", "month", "origin") if name in variables)
    row = audit.FailedRun(
        pipeline=str(variables["pipeline_uuid"]),
        block=block,
        run_id=str(variables["pipeline_run_id"]),
        error=text if month or not about else f"{text} [{about}]",
        service=service,
        month=month.first_day if month else None,
        origin=origin,
    )
    return Failure(row, about, text)


def record(failure: Failure, settings: PostgresSettings) -> bool:
    """
    Write the failure's audit row, the table too where it is missing; print it, and return whether that went well.

    A server that cannot be reached or refuses is told in one line, and is no error: it may be what failed.
    """
    table = f"{settings.schema}.{audit.AUDIT_TABLE}"
    try:
        with connect(settings) as connection, connection.cursor() as cursor:
            if not audit.is_current(cursor, settings.schema):
                with_lock_timeout(cursor, table, lambda: _ensure(cursor, settings.schema))
            audit.record_failure(cursor, settings.schema, failure.row)
            connection.commit()
    except TaxiError as error:
        print(f"The failure is not in {table}: {error}", flush=True)
        return False
    print(f"The failure is in {table}: {failure}", flush=True)
    return True


def _named_by(block: str) -> dict[str, str]:
    service, _, month = block.partition(":")[2].partition("_")
    return {"service": service, "month": month} if month else {}


def _named(variables: Mapping[str, object]) -> tuple[str | None, Month | None, str | None]:
    """Service, month and origin that the variables name; none of them where one makes no sense."""
    if "service" not in variables:
        return None, None, None
    try:
        service, month = service_and_month(variables)
        origin = origin_named(str(variables["origin"])).name if variables.get("origin") else None
    except UnknownName:
        return None, None, None
    return service.name, month, origin


def _ensure(cursor: Cursor, schema: str) -> None:
    ensure_schema(cursor, schema)
    audit.ensure(cursor, schema)
