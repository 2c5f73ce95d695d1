"""What tests of coverage share: months in all three targets, and settings that reach them."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from nyc_taxi.google import bigquery_client
from nyc_taxi.load.bucket import days
from nyc_taxi.load.bucket import month as objects
from nyc_taxi.load.postgres import month as postgres
from nyc_taxi.settings import GoogleSettings, Settings

from ops.stack.trip_server import TripServer
from tests.nyc_taxi.load.bigquery.bigquery_helpers import load
from tests.nyc_taxi.load.loading import judged

ALL = ("Postgres", "bucket", "BigQuery")
Load = Callable[..., None]


@pytest.fixture
def everywhere(settings: Settings, google: GoogleSettings, tmp_path: Path) -> Settings:
    """Settings of a server, a bucket and a data set that are empty."""
    google = replace(google, dataset=f"test_{uuid.uuid4().hex}")
    bigquery_client(google).create_dataset(google.dataset)
    return replace(settings, google=google, reports_dir=tmp_path / "reports")


@pytest.fixture(name="load")
def load_month(everywhere: Settings, trips: TripServer) -> Load:
    """Publish a synthetic month, and load it into targets as the pipelines do."""

    def load_into(service: str, month: str, origin: str, rows: int, into: tuple[str, ...] = ALL) -> None:
        file = judged(everywhere, trips, service, month, origin, rows)
        if "Postgres" in into:
            postgres.replace_month(file, everywhere.postgres)
        if "bucket" in into:
            objects.replace_month(file, everywhere.google)
            days.replace_month(file, everywhere.google)
        if "BigQuery" in into:
            load(objects.find_month(file.service, file.month, everywhere.google), everywhere.google)

    return load_into
