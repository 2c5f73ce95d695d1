"""What a user has in the database: it survives a month's replacement, or the load says what goes, or is refused."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from nyc_taxi.errors import TargetUnavailable
from nyc_taxi.load.postgres import month as month_loads
from nyc_taxi.load.postgres.binary_copy import copy_batches
from nyc_taxi.load.postgres.month import replace_month
from nyc_taxi.manifest import StagedFile
from nyc_taxi.settings import PostgresSettings, Settings

from ops.paths import ROOT
from ops.stack.trip_server import TripServer
from tests.conftest import sql
from tests.nyc_taxi.load.loading import judged
from tests.nyc_taxi.load.postgres.postgres_helpers import YELLOW, assert_loaded, columns, fingerprint, leftovers, number

PART = f"{YELLOW}_2021_01"
READER = "CREATE ROLE reader"
ZONES = "CREATE TABLE ny_taxi.zones (id int PRIMARY KEY); INSERT INTO ny_taxi.zones SELECT generate_series(1, 265)"

# What a user did to the table or beside it, and a question whose answer is true as long as that is there.
KEPT = {
    "a column": ("ALTER TABLE {t} ADD COLUMN note text", "SELECT count(note) = 0 FROM {t}"),
    "a column with a default": (
        "ALTER TABLE {t} ADD COLUMN note text DEFAULT 'x'",
        "SELECT bool_and(note = 'x') FROM {t}",
    ),
    "a column with a capital letter": (
        'ALTER TABLE {t} ADD "My Note" int DEFAULT 1',
        'SELECT sum("My Note") > 0 FROM {t}',
    ),
    "a generated column": (
        "ALTER TABLE {t} ADD tip real GENERATED ALWAYS AS (tip_amount * 100) STORED",
        "SELECT bool_and(tip = (tip_amount * 100)::real) FROM {t}",
    ),
    "a serial column": (
        "ALTER TABLE {t} ADD id bigserial",
        "SELECT count(DISTINCT id) = count(*) FROM {t}",
    ),
    "NOT NULL": (
        "ALTER TABLE {t} ALTER tpep_pickup_datetime SET NOT NULL",
        "SELECT bool_and(attnotnull) FROM pg_attribute WHERE attname = 'tpep_pickup_datetime' AND attrelid IN "
        "('{t}'::regclass, '{p}'::regclass)",
    ),
    "a default": (
        "ALTER TABLE {t} ALTER passenger_count SET DEFAULT 1",
        "SELECT count(*) = 2 FROM pg_attrdef WHERE adrelid IN ('{t}'::regclass, '{p}'::regclass) AND "
        "pg_get_expr(adbin, adrelid) = '1'",
    ),
    "a CHECK": (
        "ALTER TABLE {t} ADD CONSTRAINT sane CHECK (trip_distance < 1e9)",
        "SELECT count(*) = 2 FROM pg_constraint WHERE conname = 'sane'",
    ),
    "an index": (
        "CREATE INDEX ON {t} (pulocationid) WHERE pulocationid > 0",
        "SELECT count(*) = 1 FROM pg_indexes WHERE tablename = 'yellow_cab_data_2021_01' AND indexdef LIKE '%btree%'",
    ),
    "a primary key": (
        "ALTER TABLE {t} ADD id bigserial; ALTER TABLE {t} ADD PRIMARY KEY (file_month, id)",
        "SELECT count(*) = 2 FROM pg_constraint WHERE contype = 'p' AND conrelid IN ('{t}'::regclass, '{p}'::regclass)",
    ),
    "a foreign key": (
        f"{ZONES}; ALTER TABLE {{t}} ADD FOREIGN KEY (pulocationid) REFERENCES ny_taxi.zones",
        "SELECT count(*) = 2 FROM pg_constraint WHERE contype = 'f' AND conrelid IN ('{t}'::regclass, '{p}'::regclass)",
    ),
    "a comment": ("COMMENT ON TABLE {t} IS 'ours'", "SELECT obj_description('{t}'::regclass) = 'ours'"),
    "a grant": (f"{READER}; GRANT SELECT ON {{t}} TO reader", "SELECT has_table_privilege('reader', '{t}', 'SELECT')"),
    "a view": ("CREATE VIEW ny_taxi.of_us AS SELECT * FROM {t}", "SELECT count(*) > 0 FROM ny_taxi.of_us"),
    "a materialized view": (
        "CREATE MATERIALIZED VIEW ny_taxi.of_us AS SELECT * FROM {t}",
        "SELECT count(*) > 0 FROM ny_taxi.of_us",
    ),
    "a statistics target": (
        "ALTER TABLE {t} ALTER pulocationid SET STATISTICS 500",
        "SELECT attstattarget = 500 FROM pg_attribute WHERE attrelid = '{t}'::regclass AND attname = 'pulocationid'",
    ),
    "a policy": (
        "CREATE POLICY mine ON {t} USING (true); ALTER TABLE {t} ENABLE ROW LEVEL SECURITY",
        "SELECT count(*) = 1 FROM pg_policy WHERE polrelid = '{t}'::regclass",
    ),
    "a trigger": (
        "CREATE FUNCTION ny_taxi.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
        "CREATE TRIGGER mine AFTER UPDATE ON {t} FOR EACH ROW EXECUTE FUNCTION ny_taxi.nothing()",
        "SELECT count(*) = 2 FROM pg_trigger WHERE tgname = 'mine'",
    ),
    "a publication": (
        "CREATE PUBLICATION trips FOR TABLE {t} WITH (publish_via_partition_root)",
        "SELECT count(*) = 1 FROM pg_publication_tables WHERE pubname = 'trips'",
    ),
    "the partition's own name": ("ALTER TABLE {p} RENAME TO january", "SELECT to_regclass('ny_taxi.january') IS NULL"),
    "the partition's own schema": (
        "CREATE SCHEMA archive; ALTER TABLE {p} SET SCHEMA archive",
        "SELECT to_regclass('archive.yellow_cab_data_2021_01') IS NULL",
    ),
}

# What a user put on the partition itself, and how the load calls it.
LOST = {
    "a grant": (f"{READER}; GRANT SELECT ON {{p}} TO reader", "grants"),
    "an index": (
        "CREATE INDEX i1 ON {p} (extra); CREATE INDEX i2 ON {p} (extra); CREATE INDEX i3 ON {p} (extra); "
        "CREATE INDEX i4 ON {p} (extra)",
        "index i1, index i2, index i3 and 1 more",
    ),
    "storage settings": ("ALTER TABLE {p} SET (autovacuum_enabled = off)", "storage settings"),
    "a comment": ("COMMENT ON TABLE {p} IS 'ours'", "its comment"),
    "a policy": ("CREATE POLICY mine ON {p} USING (true)", "policy mine"),
}

# What is in the way of the month, and what is said before anything is copied.
REFUSED = {
    "the month, detached to keep it": (
        "ALTER TABLE {t} DETACH PARTITION {p}",
        "{p} is a table of yours and no partition of {t}: nothing was changed; rename it and run again",
    ),
    "a table of the user's with the partition's name": (
        "DROP TABLE {p}; CREATE TABLE {p} AS SELECT 42 AS precious",
        "{p} is a table of yours",
    ),
    "a view with the partition's name": (
        "DROP TABLE {p}; CREATE VIEW {p} AS SELECT 42 AS x",
        "{p} is a table of yours",
    ),
    "a table with the new table's name": ("CREATE TABLE {p}_new AS SELECT 1 AS x", "{p}_new is a table of yours"),
    "a view on the partition": (
        "CREATE VIEW ny_taxi.old AS SELECT * FROM {p}; CREATE VIEW ny_taxi.other AS SELECT vendorid FROM {p}",
        "{p} is used by view ny_taxi.old, view ny_taxi.other, and goes when the month is replaced",
    ),
    "more months in the partition": (
        "ALTER TABLE {t} DETACH PARTITION {p}; ALTER TABLE {p} DROP CONSTRAINT one_month; "
        "ALTER TABLE {t} ATTACH PARTITION {p} FOR VALUES IN ('2021-01-01', '2021-02-01')",
        "{p} holds more months than 2021-01: split it and run again",
    ),
    "rows of the month in a default partition": (
        "ALTER TABLE {t} DETACH PARTITION {p}; ALTER TABLE {p} DROP CONSTRAINT one_month; "
        "ALTER TABLE {t} ATTACH PARTITION {p} DEFAULT",
        "{p}, a default partition, holds rows of the month",
    ),
    "a column that must have a value": (
        "DELETE FROM {t}; ALTER TABLE {t} ADD note text NOT NULL",
        "column note of {t} is NOT NULL without a default",
    ),
    "a column of another type": (
        "ALTER TABLE {t} ALTER extra TYPE numeric",
        "column extra of {t} is numeric, not double",
    ),
    "a table that is not partitioned": ("DROP TABLE {t}; CREATE TABLE {t} (vendorid bigint)", "{t} is a plain table"),
    "a table partitioned otherwise": (
        "DROP TABLE {t}; CREATE TABLE {t} (vendorid bigint) PARTITION BY HASH (vendorid)",
        "{t} is a table partitioned otherwise",
    ),
    "a view with the table's name": ("DROP TABLE {t}; CREATE VIEW {t} AS SELECT 1 AS x", "{t} is a view"),
}


@pytest.fixture
def loaded(settings: Settings, trips: TripServer) -> Iterator[StagedFile]:
    """A month that is in the database; what a test adds goes afterwards."""
    file = judged(settings, trips, "yellow", "2021-01", "dtc", 300)
    replace_month(file, settings.postgres)
    yield file
    sql(settings.postgres, f"BEGIN READ WRITE; ALTER ROLE {settings.postgres.user} RESET ALL; COMMIT")
    sql(settings.postgres, "DROP SCHEMA ny_taxi CASCADE; DROP SCHEMA IF EXISTS archive CASCADE")
    sql(settings.postgres, "DROP PUBLICATION IF EXISTS trips; DROP ROLE IF EXISTS reader; DROP ROLE IF EXISTS loader")


def does(database: PostgresSettings, statements: str) -> None:
    """Run a user's statements."""
    sql(database, statements.format(t=YELLOW, p=PART))


@pytest.mark.parametrize("what", KEPT)
def test_what_is_on_the_table_is_there_after_the_month_was_replaced(
    settings: Settings, loaded: StagedFile, what: str
) -> None:
    act, question = KEPT[what]
    does(settings.postgres, act)
    for _ in range(2):
        before = fingerprint(settings.postgres, "2021-01")
        replace_month(loaded, settings.postgres)
        assert sql(settings.postgres, question.format(t=YELLOW, p=PART)) == [(True,)]
        assert_loaded(loaded, settings.postgres)
        assert fingerprint(settings.postgres, "2021-01") != before
    assert leftovers(settings.postgres) == []


@pytest.mark.parametrize("what", LOST)
def test_what_is_on_the_partition_goes_with_it_and_is_named(
    settings: Settings, loaded: StagedFile, capfd: pytest.CaptureFixture[str], what: str
) -> None:
    act, name = LOST[what]
    replace_month(loaded, settings.postgres)
    assert "is replaced, and with it goes" not in capfd.readouterr().out
    does(settings.postgres, act)
    replace_month(loaded, settings.postgres)
    said = f"{PART} is replaced, and with it goes {name}: {YELLOW} is the place for it"
    assert said in capfd.readouterr().out
    assert_loaded(loaded, settings.postgres)


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_in_the_way_is_named_before_anything_is_copied_or_changed(
    settings: Settings, loaded: StagedFile, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    act, message = REFUSED[what]
    does(settings.postgres, act)
    before = everything(settings.postgres)
    monkeypatch.setattr(month_loads, "copy_batches", never)
    with pytest.raises(TargetUnavailable) as refused:
        replace_month(loaded, settings.postgres)
    assert message.format(t=YELLOW, p=PART) in str(refused.value)
    assert len(str(refused.value)) <= 300
    assert everything(settings.postgres) == before


def never(*_: object) -> int:
    """What must not be called."""
    raise AssertionError("copied")


def everything(database: PostgresSettings) -> list[tuple[object, ...]]:
    """The tables, views and indexes of the schema with their columns, and how many loads there were."""
    found = sql(
        database,
        "SELECT c.relname::text, c.relkind::text, a.attname::text, c.oid::int FROM pg_class c JOIN pg_attribute a ON "
        "attrelid = c.oid WHERE relnamespace = 'ny_taxi'::regnamespace AND attnum > 0 ORDER BY 1, 3",
    )
    return [*found, *sql(database, "SELECT count(*) FROM ny_taxi.load_audit")]


def test_the_page_has_a_row_for_each() -> None:
    page = (ROOT / "docs" / "your-database.md").read_text()
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")]
    assert [row for row in rows if row != "what"] == [*KEPT, *LOST, *REFUSED]


def test_the_courses_own_table_does_not_stop_other_services(settings: Settings, trips: TripServer) -> None:
    sql(settings.postgres, "CREATE SCHEMA ny_taxi")
    sql(settings.postgres, f"CREATE TABLE {YELLOW} (vendorid bigint, tpep_pickup_datetime timestamp)")
    green = judged(settings, trips, "green", "2020-10", "dtc", 100)
    replace_month(green, settings.postgres)
    assert_loaded(green, settings.postgres)
    assert list(columns(settings.postgres, "yellow_cab_data")) == ["vendorid", "tpep_pickup_datetime"]
    with pytest.raises(TargetUnavailable, match=f"{YELLOW} is a plain table, which this project did not make: rename"):
        replace_month(judged(settings, trips, "yellow", "2021-01", "dtc", 100), settings.postgres)
    assert list(columns(settings.postgres, "yellow_cab_data")) == ["vendorid", "tpep_pickup_datetime"]


def test_a_load_history_that_somebody_else_made_is_left_alone(settings: Settings, trips: TripServer) -> None:
    sql(settings.postgres, "CREATE SCHEMA ny_taxi; CREATE TABLE ny_taxi.load_audit (id int, note text)")
    with pytest.raises(TargetUnavailable, match=r"ny_taxi\.load_audit was not made by this project: rename it, or set"):
        replace_month(judged(settings, trips, "green", "2020-10", "dtc", 100), settings.postgres)
    assert list(columns(settings.postgres, "load_audit")) == ["id", "note"]


def test_a_detached_month_that_was_renamed_stays_beside_the_new_one(settings: Settings, loaded: StagedFile) -> None:
    does(settings.postgres, "ALTER TABLE {t} DETACH PARTITION {p}; ALTER TABLE {p} RENAME TO kept_january")
    replace_month(loaded, settings.postgres)
    assert_loaded(loaded, settings.postgres)
    assert number(settings.postgres, "SELECT count(*) FROM ny_taxi.kept_january") == loaded.rows_accepted


def test_every_index_is_there_before_readers_are_shut_out(
    settings: Settings, loaded: StagedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    does(settings.postgres, f"{ZONES}; ALTER TABLE {{t}} ADD FOREIGN KEY (pulocationid) REFERENCES ny_taxi.zones")
    does(settings.postgres, "CREATE INDEX ON {t} (pulocationid); CREATE INDEX ON {t} (tpep_pickup_datetime, extra)")
    built: list[tuple[object, ...]] = []
    swap: Callable[..., None] = month_loads._swap

    def look_and_swap(cursor: object, *given: object) -> None:
        cursor.execute(  # type: ignore[attr-defined]
            f"SELECT (SELECT count(*) FROM pg_index WHERE indrelid = '{PART}_new'::regclass), "
            f"(SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid = '{PART}_new'::regclass)"
        )
        built.extend(cursor.fetchall())  # type: ignore[attr-defined]
        swap(cursor, *given)

    monkeypatch.setattr(month_loads, "_swap", look_and_swap)
    replace_month(loaded, settings.postgres)
    assert built == [(3, 1)]
    assert number(settings.postgres, f"SELECT count(*) FROM pg_index WHERE indrelid = '{PART}'::regclass") == 3


def test_a_user_who_is_not_the_owner_is_told_before_the_copy(
    settings: Settings, loaded: StagedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    does(settings.postgres, "CREATE ROLE loader LOGIN PASSWORD 'x'; GRANT ALL ON SCHEMA ny_taxi TO loader")
    does(settings.postgres, "GRANT ALL ON ALL TABLES IN SCHEMA ny_taxi TO loader")
    monkeypatch.setattr(month_loads, "copy_batches", never)
    loader = replace(settings.postgres, user="loader", password="x")
    with pytest.raises(
        TargetUnavailable, match=f"{YELLOW} belongs to {settings.postgres.user}, and only its owner may"
    ):
        replace_month(loaded, loader)


@pytest.mark.parametrize("limit", ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"])
def test_limits_of_the_role_do_not_end_a_load(
    settings: Settings, loaded: StagedFile, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    copy = copy_batches

    def copy_after_a_pause(cursor: Any, *given: Any) -> int:
        time.sleep(0.3)
        cursor.execute("SELECT pg_sleep(0.3)")
        return copy(cursor, *given)

    monkeypatch.setattr(month_loads, "copy_batches", copy_after_a_pause)
    does(settings.postgres, f"ALTER ROLE {settings.postgres.user} SET {limit} = 100")
    replace_month(loaded, settings.postgres)
    does(settings.postgres, f"ALTER ROLE {settings.postgres.user} RESET ALL")
    assert_loaded(loaded, settings.postgres)


def test_a_user_that_may_only_read_is_told_so(settings: Settings, loaded: StagedFile) -> None:
    does(settings.postgres, f"ALTER ROLE {settings.postgres.user} SET default_transaction_read_only = on")
    with pytest.raises(TargetUnavailable, match="a replica, or a user that may only read: check POSTGRES_HOST"):
        replace_month(loaded, settings.postgres)
