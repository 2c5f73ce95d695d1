"""Whether stream and batch hold the same trips of a month: rows, sums, reasons, zone-minutes."""

from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor

from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import UnknownName
from nyc_taxi.live.store import PASSENGERS, ZONE
from nyc_taxi.live.tables import MINUTES, LiveTables
from nyc_taxi.load.postgres.connection import connect, is_there
from nyc_taxi.load.postgres.tables import tables_of
from nyc_taxi.months import Month
from nyc_taxi.settings import PostgresSettings

CENT = 0.005
"""Half of one: sums of the same amounts in another order differ by less."""


@dataclass(frozen=True)
class Compared:
    """One number of a month, in the stream and in the batch load."""

    what: str
    stream: float
    batch: float

    @property
    def agrees(self) -> bool:
        """Whether they are the same, to the cent."""
        return abs(self.stream - self.batch) < CENT


def compare_month(settings: PostgresSettings, service: Service, month: Month) -> list[Compared]:
    """
    The numbers of a replayed month and of its batch load; UnknownName where one of the two is not there.

    Lines that could not be parsed never were messages, and are left out. A trip without a time of pickup has no minute:
    the stream rejects it, the batch load may keep it, and here it is rejected in both.
    """
    live, (kept, rejected) = LiveTables(settings.schema, service), tables_of(service, settings.schema)
    with connect(settings) as connection, connection.cursor() as cursor:
        _refuse_absent(cursor, live.trips, f"no {service.name} stream is stored: run taxi live, and live_trips")
        _refuse_absent(
            cursor, kept.full_name, f"{service.name} {month} is not loaded: `taxi run api_to_postgres` loads a month"
        )
        of_month, pickup = f"file_month = DATE '{month.first_day}'", service.pickup.lower()
        sums = ("count(*)", *(f"coalesce(sum({name.lower()}), 0)" for name in service.measures))
        said = ("accepted trips", *(f"sum of {name}" for name in service.measures))
        both = [
            _row(cursor, f"SELECT {', '.join(sums)} FROM {name} WHERE {of_month} AND {pickup} IS NOT NULL")
            for name in (live.trips, kept.full_name)
        ]
        found = [Compared(*each) for each in zip(said, *both, strict=True)]
        by_reason = f"SELECT reason, count(*) FROM {{}} WHERE {of_month} AND {pickup} IS NOT NULL GROUP BY 1"
        ours, theirs = (_by_name(cursor, by_reason.format(name)) for name in (live.rejected, rejected.full_name))
        timeless, without = (
            f"malformed: {service.pickup}",
            f"SELECT count(*) FROM {{}} WHERE {of_month} AND {pickup} IS NULL",
        )
        ours[timeless] = sum(_row(cursor, without.format(live.rejected)))
        # Of a line that could not be parsed, it has the text.
        parsed = f"{without.format(rejected.full_name)} AND source_text IS NULL"
        theirs[timeless] = sum(_row(cursor, without.format(kept.full_name)) + _row(cursor, parsed))
        found += [
            Compared(f"rejected: {reason}", ours.get(reason, 0), theirs.get(reason, 0))
            for reason in sorted(ours.keys() | theirs.keys())
            if ours.get(reason) or theirs.get(reason)
        ]
        if not any(one.stream or one.batch for one in found):
            raise UnknownName(f"{service.name} {month} is not loaded, and no trip of it is stored from the stream")
        differ, minutes = _row(cursor, _minutes(live, kept.full_name, of_month))
        found.append(Compared("zone-minutes", minutes - differ, minutes))
        return found


def _minutes(live: LiveTables, batch: str, of_month: str) -> str:
    """How many zone-minutes differ, of how many: from the batch's trips, and what else the stream has."""
    service, names = live.service, {column.name for column in live.service.columns}
    paid = " + ".join(f"coalesce({name.lower()}, 0)" for name in service.paid) or "0"
    passengers = f"coalesce({PASSENGERS}, 0)" if PASSENGERS in names else "0"
    pickup = service.pickup.lower()
    columns = f"coalesce({ZONE.lower()}, 0) AS zone, date_trunc('minute', {pickup}) AS minute, {passengers} AS p"
    columns += f", {paid} AS r"
    return f"""
        WITH trips AS (
            SELECT {columns} FROM {batch} WHERE {of_month} AND {pickup} IS NOT NULL
            UNION ALL SELECT {columns} FROM {live.trips} WHERE ({of_month}) IS NOT TRUE
        ), expected AS (SELECT zone, minute, count(*) AS n, sum(p) AS p, sum(r) AS r FROM trips GROUP BY 1, 2),
        held AS (SELECT * FROM {live.shared(MINUTES)} WHERE service = '{service.name}')
        SELECT count(*) FILTER (WHERE n IS DISTINCT FROM trips OR p IS DISTINCT FROM passengers
            OR coalesce(abs(r - revenue), 1) > {CENT}), count(*)
        FROM expected FULL JOIN held USING (zone, minute)"""


def _row(cursor: Cursor, question: str) -> tuple[float, ...]:
    cursor.execute(question)
    return tuple(float(value) for value in cursor.fetchone() or ())


def _by_name(cursor: Cursor, question: str) -> dict[str, float]:
    cursor.execute(question)
    return dict(cursor.fetchall())


def _refuse_absent(cursor: Cursor, table: str, why: str) -> None:
    if not is_there(cursor, table):
        raise UnknownName(why)
