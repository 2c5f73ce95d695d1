"""What tests of Postgres share: what is in the tables, loads in processes of their own, readers beside them."""

import subprocess
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import quote

import psycopg2
import pytest
from nyc_taxi.errors import TargetUnavailable
from nyc_taxi.load.postgres.month import check_month, replace_month
from nyc_taxi.manifest import StagedFile
from nyc_taxi.settings import PostgresSettings

from tests.conftest import sql
from tests.nyc_taxi.load.loading import wait_for

YELLOW = "ny_taxi.yellow_cab_data"
SLOWEST_READ_WHILE_THE_SWAP_WAITS_SECONDS = 3.5


def number(database: PostgresSettings, query: str) -> int:
    [(value,)] = sql(database, query)
    assert isinstance(value, int)
    return value


def rows(database: PostgresSettings, month: str = "", table: str = YELLOW) -> int:
    return number(database, f"SELECT count(*) FROM {table}" + (f" WHERE file_month = '{month}-01'" if month else ""))


def loads(database: PostgresSettings) -> int:
    return number(database, "SELECT count(*) FROM ny_taxi.load_audit")


def fingerprint(database: PostgresSettings, month: str, table: str = YELLOW) -> tuple[object, ...]:
    """Changes with any value of any row of the month, or with the table that holds it."""
    [row] = sql(
        database,
        f"SELECT count(*), sum(hashtextextended(t::text, 0))::text, min(tableoid)::text, min(xmin::text) "
        f"FROM {table} t WHERE file_month = '{month}-01'",
    )
    return row


def columns(database: PostgresSettings, table: str) -> dict[str, str]:
    return {
        str(name): str(kind)
        for name, kind in sql(
            database,
            "SELECT column_name::text, data_type::text FROM information_schema.columns "
            f"WHERE table_schema = 'ny_taxi' AND table_name = '{table}' ORDER BY ordinal_position",
        )
    }


def partitions(database: PostgresSettings, table: str) -> list[tuple[object, ...]]:
    return sql(
        database,
        "SELECT c.relname::text, pg_get_expr(c.relpartbound, c.oid) FROM pg_class c JOIN pg_inherits i ON "
        f"i.inhrelid = c.oid WHERE i.inhparent = 'ny_taxi.{table}'::regclass ORDER BY 1",
    )


def leftovers(database: PostgresSettings) -> list[tuple[object, ...]]:
    return sql(database, r"SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relname LIKE '%\_new%'")


def assert_loaded(file: StagedFile, database: PostgresSettings) -> None:
    """The month's count, sums and rejected rows by reason are the manifest's, and so is its last audit row."""
    table, month = f"ny_taxi.{file.service.table}", file.month_text
    assert rows(database, month, table) == file.rows_accepted
    for measure in file.service.measures:
        [(total,)] = sql(
            database,
            f"SELECT coalesce(sum({measure}), 0)::double precision FROM {table} WHERE file_month = '{month}-01'",
        )
        assert total == pytest.approx(file.sums[measure], rel=1e-9)
    by_reason = sql(
        database, f"SELECT reason, count(*) FROM {table}_rejected WHERE file_month = '{month}-01' GROUP BY reason"
    )
    assert {reason: count for reason, count in by_reason} == file.rejected  # noqa: C416  typed, unlike dict()
    [conserved] = sql(
        database,
        "SELECT rows_read, rows_accepted, rows_rejected FROM ny_taxi.load_audit "
        f"WHERE service = '{file.service_name}' AND file_month = '{month}-01' ORDER BY load_id DESC LIMIT 1",
    )
    assert conserved == (file.rows_read, file.rows_accepted, file.rows_rejected)
    assert file.rows_read == file.rows_accepted + file.rows_rejected
    check_month(file, database)


def finish(process: "subprocess.Popen[str]") -> str:
    """What a load printed; it must have gone well."""
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    return output


@contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    """A process that does not outlive a failing test."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=20)


def connect(database: PostgresSettings) -> "psycopg2.extensions.connection":
    return psycopg2.connect(
        host=database.host,
        port=database.port,
        user=database.user,
        password=database.password,
        dbname=database.dbname,
    )


class Reader(threading.Thread):
    """Asks for the same number again and again while the `with` block lasts, and keeps the answers and their times."""

    def __init__(self, database: PostgresSettings, query: str, preparation: str = "") -> None:
        super().__init__(daemon=True)
        self.database, self.query, self.preparation = database, query, preparation
        self.stopped = threading.Event()
        self.answers: list[int] = []
        self.slowest_seconds = 0.0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            with closing(connect(self.database)) as connection, connection.cursor() as cursor:
                connection.autocommit = True
                if self.preparation:
                    cursor.execute(self.preparation)
                while not self.stopped.is_set():
                    began = time.monotonic()
                    cursor.execute(self.query)
                    [(answer,)] = cursor.fetchall()
                    self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
                    self.answers.append(answer)
                    time.sleep(0.002)
        except psycopg2.Error as error:
            self.error = error

    def __enter__(self) -> "Reader":
        self.start()
        wait_for("a first answer", lambda: self.answers or self.error)
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.join(timeout=30)
        assert not self.is_alive()
        assert self.error is None


def copies(database: PostgresSettings) -> int:
    # The driver fetches by COPY as well, this number too.
    return number(database, "SELECT count(*) FROM pg_stat_progress_copy WHERE command = 'COPY FROM'")


def waiting_swaps(database: PostgresSettings) -> int:
    return number(
        database,
        "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted AND relation IS NOT NULL",
    )


def refused(file: StagedFile, database: PostgresSettings, advice: str) -> None:
    """The load fails, says where, as whom and what to do, and keeps the password to itself."""
    with pytest.raises(TargetUnavailable) as raised:
        replace_month(file, database)
    said = str(raised.value).splitlines()[0]
    assert said.startswith(
        f"Postgres at {database.host}:{database.port}/{database.dbname} as {database.user}: {advice} ["
    )
    shown = "".join(traceback.format_exception(raised.value))
    for secret in {database.password, quote(database.password, "")} - {"", "password"}:
        assert secret not in shown
