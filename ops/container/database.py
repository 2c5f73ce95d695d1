"""The database of Mage's metadata, asked until it answers: it may start later than a container, or be restarted."""

import re
import time
from collections.abc import Mapping
from pathlib import Path

import psycopg2
from psycopg2.extensions import parse_dsn
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from ops.errors import StartRefused
from ops.mage.server import metadata_url

SECONDS = 60
CONNECT_SECONDS = 10
GIVEN = "MAGE_DATABASE_CONNECTION_URL"
NO_ADDRESS = (
    f"{GIVEN} is no address such as postgresql://user:password@host:5432/mage: what is no letter or digit in its "
    "password is written as %40 for @, %25 for %"
)


def metadata(env: Mapping[str, str], *, ask: bool) -> str:
    """
    Where Mage keeps its metadata; a file beside its data when no Postgres is named.

    A database whose address is given is only asked with `ask`. StartRefused when Postgres refuses, or does not answer
    for a minute.
    """
    given = env.get(GIVEN, "")
    if not given and not env.get("POSTGRES_HOST"):
        return f"sqlite:///{env['MAGE_DATA_DIR']}/mage-ai.db"
    if given and not _is_address(given):
        raise StartRefused(NO_ADDRESS)
    if given and not (ask and given.startswith("postgresql")):
        return given
    values = {"POSTGRES_PORT": "5432", "POSTGRES_DBNAME": "mage", "POSTGRES_USER": "mage", **env}
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            if given:
                _connect(given)
            return metadata_url(values)
        except psycopg2.OperationalError as error:
            said = " ".join(str(error).split())
            if "authentication failed" in said:
                raise StartRefused(_refused(values, said)) from None
            if time.monotonic() > deadline:
                named = GIVEN if given else "POSTGRES_HOST"
                raise StartRefused(f"Postgres does not answer: {said}. Start it, or correct {named}") from None
            time.sleep(1)


def password_in(path: Path) -> str:
    """The password in the file of POSTGRES_PASSWORD_FILE; StartRefused where it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError as error:
        raise StartRefused(f"POSTGRES_PASSWORD_FILE {path} cannot be read: {error.strerror}") from None


def _connect(url: str) -> None:
    try:
        psycopg2.connect(_libpq(url), connect_timeout=CONNECT_SECONDS).close()
    except psycopg2.ProgrammingError:  # whose words may hold a part of the password
        raise StartRefused(NO_ADDRESS) from None


def _is_address(url: str) -> bool:
    try:
        return bool(make_url(url))
    except ArgumentError:
        return False


def _libpq(url: str) -> str:
    """An address of SQLAlchemy's without its driver."""
    return re.sub(r"^postgresql\+\w+://", "postgresql://", url)


def _refused(values: Mapping[str, str], said: str) -> str:
    if given := values.get(GIVEN):
        user = parse_dsn(_libpq(given)).get("user", "")
        return f"Postgres refuses user {user}: {said}. Correct the password in {GIVEN}, or change it there (ALTER USER)"
    return (
        f"Postgres refuses user {values['POSTGRES_USER']}: {said}. Its password is that of its first start: set "
        "POSTGRES_PASSWORD to that one again, or change it there (ALTER USER)"
    )
