"""What a person or a webhook writes into a variable reaches no path, address or statement unless it is one of ours."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from nyc_taxi.errors import UnknownName
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.load.bucket.slice import slice_object
from nyc_taxi.operate.many_months import choose_months
from nyc_taxi.run import execution_day, run_context, service_and_month
from nyc_taxi.settings import Settings

from tests.nyc_taxi.extract.bad_server import Answer, BadServer

HOSTILE = [
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "/etc/passwd",
    "yellow/../../x",
    "yellow'; DROP TABLE ny_taxi.load_audit; --",
    "2021-01' OR '1'='1",
    "2021-01; DELETE FROM ny_taxi.yellow_cab_data",
    "has_passengers'); DROP SCHEMA ny_taxi CASCADE; --",
    "http://169.254.169.254/latest",
    "{{ env_var('POSTGRES_PASSWORD') }}",
    "$(touch /tmp/x)",
    "yellow\n2021-01",
    "yellow\0",
    "2021-01\r\nHost: example.org",
]
GOOD: Mapping[str, object] = {"service": "yellow", "month": "2021-01", "origin": "dtc", "rules": "none"}


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", ["service", "month", "origin", "rules", "malformed_share"])
def test_a_run_is_refused_before_anything_is_fetched(name: str, text: str, tmp_path: Path) -> None:
    with BadServer([Answer()]) as server:
        settings = replace(
            Settings.from_environment({}),
            base_urls=dict.fromkeys(("dtc", "tlc"), server.url),
            staging_dir=tmp_path / "staging",
        )
        with pytest.raises(UnknownName) as refused:
            stage_trip_file(run_context({**GOOD, name: text}, settings))
        assert server.asked == []
    assert not (tmp_path / "staging").exists()
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", ["execution_date", "default_date", "month_offset"])
def test_a_date_is_a_date_and_an_offset_a_number(name: str, text: str) -> None:
    variables = {"execution_date": "2021-01-05", name: text}
    if name == "default_date":
        del variables["execution_date"]
    with pytest.raises(UnknownName, match=name):
        service_and_month(variables)
    if name != "month_offset":
        with pytest.raises(UnknownName, match=name):
            execution_day(variables)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", ["services", "from", "to", "origin", "rules"])
def test_a_matrix_of_months_is_refused_as_a_whole(name: str, text: str) -> None:
    good: dict[str, object] = {"services": "yellow,green", "from": "2021-01", "to": "2021-02", "origin": "dtc"}
    with pytest.raises(UnknownName):
        choose_months({**good, name: text})


@pytest.mark.parametrize("text", [text for text in HOSTILE if text != "/etc/passwd"])
def test_a_prefix_is_a_folder_of_the_bucket_and_nothing_else(text: str) -> None:
    with pytest.raises(UnknownName, match="is no folder such as green"):
        slice_object(date(2021, 1, 5), text)
    # Without its slash it is a folder like any other: a bucket has no root to break out to.
    assert slice_object(date(2021, 1, 5), "/etc/passwd") == "etc/passwd/2021/01/05/daily-trips.parquet"


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    ("variable", "named"), [("POSTGRES_SCHEMA", "SQL name"), ("GCS_BUCKET", "bucket"), ("BIGQUERY_DATASET", "data set")]
)
def test_a_setting_that_becomes_a_name_in_a_statement_is_one(variable: str, named: str, text: str) -> None:
    with pytest.raises(UnknownName, match=named):
        Settings.from_environment({variable: text})
