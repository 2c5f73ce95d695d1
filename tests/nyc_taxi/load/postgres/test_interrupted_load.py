"""Loads, servers and disks that fail in the middle leave the old month."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from nyc_taxi.errors import StorageFull
from nyc_taxi.load.postgres.month import replace_month
from nyc_taxi.settings import PostgresSettings, Settings

from ops.stack import postgres
from ops.stack.trip_server import TripServer
from tests.conftest import sql
from tests.nyc_taxi.load.loading import judged, start_load, wait_for, wait_for_copy
from tests.nyc_taxi.load.postgres.postgres_helpers import (
    YELLOW,
    assert_loaded,
    connect,
    copies,
    ended,
    fingerprint,
    leftovers,
    loads,
    waiting_swaps,
)


@pytest.fixture(scope="module")
def doomed_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    data = tmp_path_factory.mktemp("doomed") / "data"
    yield data
    postgres.stop(data)


@pytest.fixture
def doomed(doomed_data: Path) -> PostgresSettings:
    """A server of its own, for what would disturb the other tests."""
    running = postgres.start(doomed_data)
    database = PostgresSettings(running.host, running.port, running.dbname, "ny_taxi", running.user, running.password)
    sql(database, "DROP SCHEMA IF EXISTS ny_taxi CASCADE")
    return database


def test_a_load_killed_while_it_copies_leaves_the_old_month(settings: Settings, trips: TripServer) -> None:
    old = judged(settings, trips, "yellow", "2021-01", "dtc", 1_000)
    replace_month(old, settings.postgres)
    before = fingerprint(settings.postgres, "2021-01")
    new = judged(settings, trips, "yellow", "2021-01", "dtc", 20_000)
    with ended(start_load(new, settings.postgres, pause=60)) as load:
        wait_for_copy(settings.postgres)
        load.kill()
        assert load.wait(timeout=10) == -signal.SIGKILL
    assert fingerprint(settings.postgres, "2021-01") == before
    # The server notices that nobody sends any more.
    wait_for("the end of the COPY", lambda: copies(settings.postgres) == 0)
    assert leftovers(settings.postgres) == []
    assert_loaded(old, settings.postgres)
    assert loads(settings.postgres) == 1
    replace_month(new, settings.postgres)
    assert_loaded(new, settings.postgres)


def test_a_load_killed_while_its_swap_waits_leaves_the_old_month_and_nothing_else(
    settings: Settings, trips: TripServer
) -> None:
    old = judged(settings, trips, "yellow", "2021-01", "dtc", 1_000)
    replace_month(old, settings.postgres)
    new = judged(settings, trips, "yellow", "2021-01", "dtc", 2_000)
    with closing(connect(settings.postgres)) as reader, reader.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {YELLOW}")
        with ended(start_load(new, settings.postgres)) as load:
            wait_for("a swap that waits", lambda: waiting_swaps(settings.postgres) == 1)
            load.kill()
            assert load.wait(timeout=10) == -signal.SIGKILL
            wait_for("the end of the swap", lambda: waiting_swaps(settings.postgres) == 0)
    assert_loaded(old, settings.postgres)
    assert loads(settings.postgres) == 1
    assert leftovers(settings.postgres) == []
    again = judged(settings, trips, "yellow", "2021-01", "dtc", 1_500)
    replace_month(again, settings.postgres)
    assert_loaded(again, settings.postgres)
    assert leftovers(settings.postgres) == []


def test_a_server_killed_while_it_copies_comes_back_with_the_old_month(
    settings: Settings, trips: TripServer, doomed: PostgresSettings, doomed_data: Path
) -> None:
    old = judged(settings, trips, "yellow", "2021-01", "dtc", 1_000)
    replace_month(old, doomed)
    new = judged(settings, trips, "yellow", "2021-01", "dtc", 20_000)
    with ended(start_load(new, doomed, pause=2)) as load:
        wait_for_copy(doomed)
        os.kill(int((doomed_data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        output, _ = load.communicate(timeout=60)
    assert load.returncode == 1
    [said] = [line for line in output.splitlines() if line.startswith("nyc_taxi.errors.")]
    assert said.startswith(
        f"nyc_taxi.errors.TargetUnavailable: Postgres at {doomed.where} as {doomed.user}: "
        "the server stopped in the middle; what was not committed is undone: start it and run again"
    )
    assert doomed.password not in output
    running = postgres.start(doomed_data)
    again = replace(doomed, port=running.port)
    assert leftovers(again) == []
    assert_loaded(old, again)
    assert loads(again) == 1
    replace_month(new, again)
    assert_loaded(new, again)


def test_a_connection_that_is_cut_while_it_copies_is_said_and_leaves_the_old_month(
    settings: Settings, trips: TripServer
) -> None:
    old = judged(settings, trips, "yellow", "2021-01", "dtc", 1_000)
    replace_month(old, settings.postgres)
    new = judged(settings, trips, "yellow", "2021-01", "dtc", 20_000)
    with ended(start_load(new, settings.postgres, pause=2)) as load:
        wait_for_copy(settings.postgres)
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_progress_copy WHERE command = 'COPY FROM'"
        assert sql(settings.postgres, cut) == [(True,)]
        output, _ = load.communicate(timeout=60)
    assert load.returncode == 1
    [said] = [line for line in output.splitlines() if line.startswith("nyc_taxi.errors.")]
    # Which of the two is chance: what the server said may get through before the end of the line is noticed.
    assert "the connection was cut; what was not committed" in said or "the server stopped in the middle" in said
    assert_loaded(old, settings.postgres)
    assert leftovers(settings.postgres) == []


@pytest.fixture
def tiny_tablespace(doomed: PostgresSettings, doomed_data: Path, tmp_path: Path) -> Iterator[str]:
    """The name of a tablespace of 8 MB, in which the server makes its tables by default."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs takes root on Linux")
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"mount is not allowed here: {mounted.stderr.strip()}")
    owner = doomed_data.stat()
    os.chown(folder, owner.st_uid, owner.st_gid)
    try:
        sql(doomed, f"CREATE TABLESPACE tiny LOCATION '{folder}'")
        sql(doomed, f"ALTER ROLE {doomed.user} SET default_tablespace = tiny")
        yield "tiny"
        sql(doomed, f"ALTER ROLE {doomed.user} RESET default_tablespace")
        sql(doomed, "DROP SCHEMA IF EXISTS ny_taxi CASCADE")
        sql(doomed, "DROP TABLESPACE tiny")
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_under_the_server_is_named_and_leaves_the_old_month(
    settings: Settings, trips: TripServer, doomed: PostgresSettings, tiny_tablespace: str
) -> None:
    old = judged(settings, trips, "yellow", "2021-01", "dtc", 5_000)
    replace_month(old, doomed)
    assert sql(
        doomed, "SELECT DISTINCT tablespace FROM pg_tables WHERE schemaname = 'ny_taxi' AND tablespace <> ''"
    ) == [(tiny_tablespace,)]
    full = f"Postgres at {doomed.where} as {doomed.user}: its disk is full: make room there and run again"
    with pytest.raises(StorageFull) as raised:
        replace_month(judged(settings, trips, "yellow", "2021-01", "dtc", 150_000), doomed)
    assert str(raised.value).startswith(full)
    assert leftovers(doomed) == []
    assert_loaded(old, doomed)
    assert loads(doomed) == 1
    # The half-copied month has given its room back.
    smaller = judged(settings, trips, "yellow", "2021-01", "dtc", 6_000)
    replace_month(smaller, doomed)
    assert_loaded(smaller, doomed)
