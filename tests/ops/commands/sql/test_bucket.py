"""`taxi sql --on bucket`: DuckDB over the emulator's objects: the right rows, few bytes, and nothing but reading."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nyc_taxi.errors import TargetUnavailable
from nyc_taxi.load.bucket.month import replace_month
from nyc_taxi.settings import GoogleSettings, Settings

from ops.commands.sql import bucket
from ops.errors import CommandFailed
from ops.ports import free_port
from ops.stack.google import GoogleServer
from ops.stack.trip_server import TripServer
from tests.conftest import process_environment, settings_for
from tests.nyc_taxi.load.bucket.bucket_helpers import bucket_of
from tests.nyc_taxi.load.loading import judged
from tests.ops.commands.conftest import run_taxi

MONTHS = ("2021-01", "2021-02", "2021-03")


@pytest.fixture
def loaded(google: GoogleSettings, trips: TripServer, tmp_path: Path) -> dict[str, int]:
    """Accepted rows of three months of yellow that are in the bucket."""
    settings = settings_for(Settings.from_environment({}).postgres, trips, tmp_path)
    rows = {}
    for number, month in enumerate(MONTHS):
        file = judged(settings, trips, "yellow", month, "dtc", 1_000 + 100 * number)
        replace_month(file, google)
        rows[month] = file.rows_accepted
    return rows


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the objects of which bytes were fetched."""
    names: list[str] = []
    real = bucket._Objects.fetch

    def remembered(self: bucket._Objects, name: str, start: int, end: int) -> bytes:
        names.append(name)
        return real(self, name, start, end)

    monkeypatch.setattr(bucket._Objects, "fetch", remembered)
    return names


def name_of(month: str) -> str:
    return f"trips/yellow/yellow_tripdata_{month}.parquet"


def test_the_tables_are_the_services_with_the_month_as_text_and_as_a_date(
    google: GoogleSettings, loaded: dict[str, int]
) -> None:
    sql = "select month, file_month, count(*) as trips from yellow_trips group by all order by 1"
    columns, rows = bucket.ask(sql, google)
    assert columns == ["month", "file_month", "trips"]
    assert rows == [[month, f"{month}-01", str(loaded[month])] for month in MONTHS]


@pytest.mark.parametrize(
    "where",
    ["month = '2021-01'", "file_month = '2021-01-01'", "month in ('2021-01', '2020-01')", "month like '%1-01'"],
)
def test_only_the_objects_of_the_months_that_are_asked_for_are_read(
    where: str, google: GoogleSettings, loaded: dict[str, int], fetched: list[str]
) -> None:
    _, rows = bucket.ask(f"select count(*), round(sum(total_amount)) > 0 from yellow_trips where {where}", google)
    assert rows == [[str(loaded["2021-01"]), "true"]]
    assert set(fetched) == {name_of("2021-03"), name_of("2021-01")}
    assert fetched.count(name_of("2021-03")) == 2, "of the newest its footer, and that one's length, for the columns"


def test_a_service_without_a_month_is_an_empty_table_and_a_line(
    google: GoogleSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bucket.ask("select count(*), max(month) from FHV_trips where DOLocationID = 1", google)[1] == [["0", ""]]
    assert capsys.readouterr().err == (
        f"gs://{google.bucket}/trips/fhv/fhv_tripdata_*.parquet: no month of fhv; api_to_gcs brings one\n"
    )


def test_months_of_before_a_column_was_added_have_it_empty(google: GoogleSettings, loaded: dict[str, int]) -> None:
    older = pa.BufferOutputStream()
    pq.write_table(pa.table({"VendorID": pa.array([1, 2], pa.int32())}), older)
    bucket_of(google).blob(name_of("2009-01")).upload_from_string(older.getvalue().to_pybytes())
    asked = "select month, count(*), count(total_amount) > 0 from yellow_trips"
    sql = f"{asked} where month < '2021-02' group by 1 order by 1"
    assert bucket.ask(sql, google)[1] == [["2009-01", "2", "false"], ["2021-01", str(loaded["2021-01"]), "true"]]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select nope from yellow_trips", 'Referenced column "nope" not found'),
        ("selec 1", 'syntax error at or near "selec"'),
        ("copy (select 1) to '{}/written.csv'", "disabled by configuration"),
        ("select * from read_csv('/etc/passwd')", "disabled by configuration"),
        ("copy (select 1) to 'bucket://trips/yellow/yellow_tripdata_2021-01.parquet'", "only read here"),
        ("install httpfs", "disabled by configuration"),
        ("set enable_external_access = true", "configuration has been locked"),
    ],
)
def test_what_is_wrong_or_more_than_reading_is_refused_in_one_line(
    sql: str, said: str, google: GoogleSettings, loaded: dict[str, int], tmp_path: Path
) -> None:
    with pytest.raises(CommandFailed, match=said) as refused:
        bucket.ask(sql.format(tmp_path), google)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "written.csv").exists()
    assert bucket.ask("select count(*) from yellow_trips where month = '2021-01'", google)[1] == [
        [str(loaded["2021-01"])]
    ]


def test_an_object_that_is_replaced_while_it_is_read_is_an_error_and_no_mixture(
    google: GoogleSettings, loaded: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = bucket._Objects.months

    def replaced(self: bucket._Objects, service: object) -> list[str]:
        names = real(self, service)  # type: ignore[arg-type]
        blob = bucket_of(google).blob(name_of("2021-03"))
        blob.upload_from_string(blob.download_as_bytes())
        return names

    monkeypatch.setattr(bucket._Objects, "months", replaced)
    with pytest.raises(
        TargetUnavailable, match=r"gs://test-\w+/trips/yellow/yellow_tripdata_2021-03.parquet: "
    ) as error:
        bucket.ask("select count(*) from yellow_trips", google)
    assert "\n" not in str(error.value)


def test_a_bucket_that_is_not_there_or_silent_is_one_line(
    google: GoogleSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TargetUnavailable, match=r"^gs://nobodys: "):
        bucket.ask("select 1 from yellow_trips", replace(google, bucket="nobodys"))
    monkeypatch.setattr("nyc_taxi.google.RETRY_SECONDS", 1.0)
    silent = replace(google, storage_emulator=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TargetUnavailable, match="it does not answer"):
        bucket.ask("select 1 from yellow_trips", silent)


def test_the_command_line_prints_it_as_it_prints_any_answer(
    google: GoogleSettings, google_server: GoogleServer, loaded: dict[str, int], tmp_path: Path
) -> None:
    env = {**process_environment(), **google_server.environment(), "GCS_BUCKET": google.bucket}
    env |= {"NYC_TAXI_LOCAL_DIR": str(tmp_path), "POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": "1"}
    sql = "select count(*) as trips, null as nothing from yellow_trips where month = '2021-02'"
    answer = run_taxi(env, "sql", "--on", "bucket", sql)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert list(csv.reader(io.StringIO(answer.stdout))) == [["trips", "nothing"], [str(loaded["2021-02"]), ""]]
    refused = run_taxi(env, "sql", "--on", "bucket", "select nope")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    assert refused.stderr.startswith("FAILED  DuckDB: Binder Error: ")
