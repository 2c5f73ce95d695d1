"""A server that cannot be reached or refuses is named in one line that says what to do, without the password."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from nyc_taxi.load.postgres.month import replace_month
from nyc_taxi.settings import PostgresSettings, Settings

from ops.ports import free_port
from ops.stack.trip_server import TripServer
from tests.conftest import sql
from tests.nyc_taxi.load.loading import judged
from tests.nyc_taxi.load.postgres.postgres_helpers import assert_loaded, loads, refused


@pytest.fixture(scope="module")
def limited(server: PostgresSettings) -> Iterator[PostgresSettings]:
    """A user who may connect and nothing else."""
    sql(server, "CREATE ROLE limited LOGIN PASSWORD 'p@ss/w:rd %41'")
    yield replace(server, user="limited", password="p@ss/w:rd %41")
    sql(server, "DROP ROLE limited")


WRONG = "the password is wrong: check POSTGRES_USER and POSTGRES_PASSWORD"
NOT_ALLOWED = "the user may not do this: grant it CREATE on the database, or the ownership of the tables"
NOBODY_THERE = "nothing listens there: start the server (taxi up), or check POSTGRES_HOST and POSTGRES_PORT"


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ({"password": "not-the-p@ssword"}, WRONG),
        # A word of the server's own message: hiding it must not hide the cause.
        ({"password": "password"}, WRONG),
        ({"password": ""}, "no password was given: set POSTGRES_PASSWORD"),
        ({"user": "nobody-known", "password": "s3cret-s3cret"}, WRONG),
        ({"dbname": "no_such_database"}, "there is no such database: check POSTGRES_DBNAME"),
        ({"host": "no-such-host.invalid"}, "there is no such host: check POSTGRES_HOST"),
        ({"port": 0}, NOBODY_THERE),
        ({"host": "[::1", "password": "not-the-p@ss/word"}, "there is no such host: check POSTGRES_HOST"),
    ],
)
def test_a_server_that_cannot_be_reached_is_named_with_what_to_do_and_without_the_password(
    settings: Settings, trips: TripServer, wrong: dict[str, Any], advice: str
) -> None:
    file = judged(settings, trips, "yellow", "2021-01", "dtc", 200)
    if wrong.get("port") == 0:
        wrong = {"port": free_port()}
    unreachable = replace(settings.postgres, **wrong)
    refused(file, unreachable, advice)
    assert sql(settings.postgres, "SELECT 1 FROM pg_namespace WHERE nspname = 'ny_taxi'") == []


def test_a_user_without_the_right_to_create_is_told_which_grant_is_missing(
    settings: Settings, trips: TripServer, limited: PostgresSettings
) -> None:
    file = judged(settings, trips, "yellow", "2021-01", "dtc", 200)
    refused(file, limited, NOT_ALLOWED)
    replace_month(file, settings.postgres)
    # The same where the schema is there but another user's.
    refused(file, limited, NOT_ALLOWED)
    assert_loaded(file, settings.postgres)
    assert loads(settings.postgres) == 1
