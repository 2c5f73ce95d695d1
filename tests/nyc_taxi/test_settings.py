"""The environment is read once; what cannot be is refused."""

from pathlib import Path

import pytest
from nyc_taxi.errors import LONGEST_MESSAGE, UnknownName, shortened
from nyc_taxi.run import run_context
from nyc_taxi.settings import Settings


def test_an_empty_variable_counts_as_unset() -> None:
    names = ["POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DBNAME", "POSTGRES_SCHEMA", "POSTGRES_USER",
             "POSTGRES_PASSWORD", "TLC_DTC_BASE_URL", "TLC_PARQUET_BASE_URL", "STAGING_DIR"]  # fmt: skip
    empty = Settings.from_environment(dict.fromkeys(names, ""))
    assert empty == Settings.from_environment({})
    assert (empty.postgres.where, empty.postgres.schema) == ("127.0.0.1:5432/mage", "ny_taxi")
    assert empty.base_urls == {
        "dtc": "https://github.com/DataTalksClub/nyc-tlc-data/releases/download",
        "tlc": "https://d37ci6vzurychx.cloudfront.net/trip-data",
    }


def test_every_variable_has_its_place(tmp_path: Path) -> None:
    settings = Settings.from_environment(
        {"POSTGRES_HOST": "db.example", "POSTGRES_PORT": "6543", "POSTGRES_DBNAME": "taxi", "POSTGRES_SCHEMA": "raw",
         "POSTGRES_USER": "loader", "POSTGRES_PASSWORD": "p@ss/w:rd", "TLC_DTC_BASE_URL": "http://dtc.example/d",
         "TLC_PARQUET_BASE_URL": "http://tlc.example/t", "STAGING_DIR": str(tmp_path)}
    )  # fmt: skip
    assert (settings.postgres.user, settings.postgres.password) == ("loader", "p@ss/w:rd")
    assert settings.postgres.where == "db.example:6543/taxi"
    assert settings.postgres.schema == "raw"
    assert settings.base_urls == {"dtc": "http://dtc.example/d", "tlc": "http://tlc.example/t"}
    assert settings.staging_dir == tmp_path


def test_the_real_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_HOST", "from.environment")
    assert run_context({"month": "2021-01"}).settings.postgres.host == "from.environment"


def test_the_password_is_in_no_print() -> None:
    settings = Settings.from_environment({"POSTGRES_PASSWORD": "hunter2", "POSTGRES_USER": "loader"})
    run = run_context({"month": "2021-01"}, settings)
    printed = f"{settings!r} {settings} {settings.postgres} {settings.postgres.where} {run!r}"
    assert "loader" in printed
    assert "hunter2" not in printed
    assert settings.postgres.password == "hunter2"


@pytest.mark.parametrize(
    "schema", ['ny_taxi"; DROP SCHEMA public; --', "ny taxi", "Ny_taxi", "1taxi", "a" * 64, "ny_taxi\n", "ny-taxi"]
)
def test_a_schema_that_is_no_plain_name_is_refused(schema: str) -> None:
    with pytest.raises(UnknownName) as refused:
        Settings.from_environment({"POSTGRES_SCHEMA": schema})
    assert str(refused.value) == f"POSTGRES_SCHEMA {schema!r} is not a lower-case SQL name such as ny_taxi"


@pytest.mark.parametrize("port", ["five", "-1", "5432 ", "54.32"])
def test_a_port_that_is_no_number_is_refused(port: str) -> None:
    with pytest.raises(UnknownName) as refused:
        Settings.from_environment({"POSTGRES_PORT": port})
    assert str(refused.value) == f"POSTGRES_PORT {port!r} is not a number such as 5432"


def test_without_variables_google_is_the_real_one_and_no_bucket_is_guessed() -> None:
    google = Settings.from_environment({}).google
    assert (google.bucket, google.project, google.credentials) == ("", "", "")
    assert (google.location, google.dataset) == ("US", "ny_taxi")
    assert (google.storage_emulator, google.bigquery_emulator) == ("", "")


def test_every_variable_of_google_has_its_place() -> None:
    google = Settings.from_environment(
        {"GCS_BUCKET": "trips-of.new_york-1", "GOOGLE_CLOUD_PROJECT": "my-project", "GOOGLE_LOCATION": "europe-west1",
         "BIGQUERY_DATASET": "Taxi_2", "GOOGLE_APPLICATION_CREDENTIALS": "/keys/mage.json",
         "STORAGE_EMULATOR_HOST": "http://127.0.0.1:1", "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:2"}
    ).google  # fmt: skip
    assert (google.bucket, google.project, google.location) == ("trips-of.new_york-1", "my-project", "europe-west1")
    assert (google.dataset, google.credentials) == ("Taxi_2", "/keys/mage.json")
    assert (google.storage_emulator, google.bigquery_emulator) == ("http://127.0.0.1:1", "http://127.0.0.1:2")


def test_an_empty_variable_of_google_counts_as_unset() -> None:
    names = ["GCS_BUCKET", "GOOGLE_CLOUD_PROJECT", "GOOGLE_LOCATION", "BIGQUERY_DATASET",
             "GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST"]  # fmt: skip
    assert Settings.from_environment(dict.fromkeys(names, "")).google == Settings.from_environment({}).google


@pytest.mark.parametrize(
    "bucket",
    [
        "gs://trips",
        "trips/green",
        "trips/",
        "/trips",
        "Trips",
        "my trips",
        "ab",
        "-trips",
        "trips-",
        "trips\n",
        "t" * 223,
    ],
)
def test_a_bucket_that_is_no_plain_name_is_refused(bucket: str) -> None:
    with pytest.raises(UnknownName) as refused:
        Settings.from_environment({"GCS_BUCKET": bucket})
    assert str(refused.value) == (
        f"GCS_BUCKET {bucket!r} is no bucket's name: give it alone, without gs:// and slashes"
    )


@pytest.mark.parametrize("dataset", ["my-project.ny_taxi", "ny-taxi", "ny taxi", "ny_täxi", "ny_taxi\n", "d" * 1025])
def test_a_data_set_that_is_no_plain_name_is_refused(dataset: str) -> None:
    with pytest.raises(UnknownName) as refused:
        Settings.from_environment({"BIGQUERY_DATASET": dataset})
    message = f"BIGQUERY_DATASET {dataset!r} is no data set's name: letters, digits and _ only"
    assert str(refused.value) == shortened(message, LONGEST_MESSAGE)
