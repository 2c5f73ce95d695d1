"""The environment in which Mage runs on this machine: dev.env, then .env, then the shell, the last one winning."""

import os
from collections.abc import Mapping
from pathlib import Path

from ops.cpu import refuse_old_cpu
from ops.paths import ROOT, local_dir
from ops.stack import broker, google, stack
from ops.stack.env_file import read_env_file

OWN = ROOT / ".env"
NOT_FOR_PIPELINES = ("DEFAULT_OWNER_PASSWORD", "JWT_SECRET", "MAGE_PASSWORD")
"""How people and commands sign in to Mage: what runs a pipeline has no need of it."""


def configured(shell: Mapping[str, str] = os.environ, own: Path = OWN) -> dict[str, str]:
    """
    What dev.env, .env and the shell say; variables left empty are absent. LocalStackError for a line that cannot be.

    The files' GIT_ variables are a container's: here they would let Mage reset the work of this very folder.
    """
    merged: dict[str, str] = {}
    for layer in (read_env_file(ROOT / "dev.env"), read_env_file(own)):
        merged |= {name: value for name, value in layer.items() if value and not name.startswith("GIT_")}
    merged |= {name: value for name, value in shell.items() if value}
    return merged


def environment(trips: Path | None = None, *, streaming: bool = False, with_google: bool = True) -> dict[str, str]:
    """
    The whole environment for a program that reaches the targets.

    Starts this machine's Postgres, unless POSTGRES_HOST names another one; the emulators of Google's services, unless
    GCS_BUCKET names a real bucket or nobody needs them; and, given a folder, a server of its trip files in the place of
    the public origins. Trips from a folder are synthetic: they go to the emulators whatever GCS_BUCKET says. For
    streaming, this machine's broker too, unless NATS_URL names another one. LocalStackError says what cannot be
    started, and that this machine cannot run Mage at all.
    """
    refuse_old_cpu()
    values = {name: value for name, value in configured().items() if name not in NOT_FOR_PIPELINES}
    values["PYTHONUNBUFFERED"] = "1"
    values.setdefault("STAGING_DIR", str(local_dir() / "staging"))
    values.setdefault("REPORTS_DIR", str(local_dir() / "reports"))
    values.setdefault("MAGE_DATA_DIR", str(local_dir() / "mage"))
    values.setdefault("GOOGLE_LOCATION", google.LOCATION)
    values.setdefault("BIGQUERY_DATASET", google.DATASET)
    if "NATS_URL" not in values:
        values["NATS_URL"] = broker.start().url if streaming else broker.url()
    own_postgres = "POSTGRES_HOST" not in values
    own_google = trips is not None or (with_google and "GCS_BUCKET" not in values)
    if not (own_postgres or own_google):
        return values
    running = stack.up(trips, with_postgres=own_postgres, with_google=own_google)
    if own_postgres and running.postgres:
        server = running.postgres
        values |= {
            "POSTGRES_HOST": server.host,
            "POSTGRES_PORT": str(server.port),
            "POSTGRES_DBNAME": server.dbname,
            "POSTGRES_USER": server.user,
            "POSTGRES_PASSWORD": server.password,
        }
    if own_google and running.google:
        # All of them: a person's own project or credentials must never be touched from here.
        values |= running.google.environment()
    if trips and running.trips:
        values["TLC_DTC_BASE_URL"] = f"{running.trips.url}/dtc"
        values["TLC_PARQUET_BASE_URL"] = f"{running.trips.url}/trip-data"
    return values
