"""The environment in which Mage runs on this machine: dev.env, then .env, then the shell, the last one winning."""

import os
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from local import stack
from local.paths import ROOT, local_dir


def configured(shell: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What dev.env, .env and the shell say; variables left empty are absent."""
    layers: list[Mapping[str, str | None]] = [
        dotenv_values(ROOT / name, interpolate=False) for name in ("dev.env", ".env")
    ]
    merged: dict[str, str] = {}
    for layer in (*layers, shell):
        merged |= {name: value for name, value in layer.items() if value}
    return merged


def environment(trips: Path | None = None) -> dict[str, str]:
    """
    The whole environment for a program that reaches the targets.

    Starts this machine's Postgres, unless POSTGRES_HOST names another one, and, given a folder, a server of its trip
    files in the place of the public origins.
    """
    values = configured() | {"PYTHONUNBUFFERED": "1"}
    values.setdefault("STAGING_DIR", str(local_dir() / "staging"))
    values.setdefault("MAGE_DATA_DIR", str(local_dir() / "mage"))
    own_postgres = "POSTGRES_HOST" not in values
    if own_postgres or trips:
        running = stack.up(trips, with_postgres=own_postgres)
        if own_postgres and running.postgres:
            server = running.postgres
            values |= {
                "POSTGRES_HOST": server.host,
                "POSTGRES_PORT": str(server.port),
                "POSTGRES_DBNAME": server.dbname,
            }
            values |= {"POSTGRES_USER": server.user, "POSTGRES_PASSWORD": server.password}
        if trips and running.trips:
            values["TLC_DTC_BASE_URL"] = f"{running.trips.url}/dtc"
            values["TLC_PARQUET_BASE_URL"] = f"{running.trips.url}/trip-data"
    return values
