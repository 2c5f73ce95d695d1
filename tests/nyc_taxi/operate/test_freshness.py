"""When a month is loaded again and when it is not, on a real Postgres and a real HTTP server."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from nyc_taxi.errors import UnknownName
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.load.postgres.month import replace_month
from nyc_taxi.operate.freshness import month_is_new
from nyc_taxi.run import is_forced
from nyc_taxi.settings import PostgresSettings, Settings
from nyc_taxi.transform.rules import apply_rules

from ops.ports import free_port
from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.conftest import run_of, sql
from tests.nyc_taxi.extract.bad_server import Answer, BadServer
from tests.nyc_taxi.load.loading import judged

GREEN = {"service": "green", "month": "2020-10", "origin": "dtc"}
HEAD = ("HEAD", "/dtc/green/green_tripdata_2020-10.csv.gz", 200)
Say = Callable[[], str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Say:
    """The one line that was printed since the last time."""

    def read() -> str:
        [line] = capsys.readouterr().out.splitlines()
        return line

    return read


@pytest.fixture
def loaded(settings: Settings, trips: TripServer, capsys: pytest.CaptureFixture[str]) -> Settings:
    """Settings of a Postgres that has 500 synthetic trips of the month, and no request counted yet."""
    replace_month(judged(settings, trips, "green", "2020-10", "dtc", 500, malformed=2), settings.postgres)
    capsys.readouterr()
    trips._requests.clear()
    return settings


@pytest.mark.parametrize("given", [True, "true", "True", "1", 1, " yes "])
def test_force_is_set_by_a_switch_or_by_text(given: object) -> None:
    assert is_forced({"force": given}) is True


@pytest.mark.parametrize("given", [False, "false", "0", 0, "", None, "no"])
def test_force_is_off_by_a_switch_by_text_or_by_nothing(given: object) -> None:
    assert is_forced({"force": given}) is False
    assert is_forced({}) is False


def test_force_is_not_guessed() -> None:
    with pytest.raises(UnknownName, match="force 'perhaps' is neither true nor false"):
        is_forced({"force": "perhaps"})


def test_an_unchanged_month_is_not_new_and_costs_one_head_request(
    loaded: Settings, trips: TripServer, said: Say
) -> None:
    assert month_is_new(GREEN, loaded) is False
    assert trips.requests == [HEAD]
    line = said()
    [(rows,)] = sql(loaded.postgres, "SELECT count(*) FROM ny_taxi.green_cab_data")
    assert line.startswith(f"Nothing new: {trips.dtc_base_url}/green/green_tripdata_2020-10.csv.gz is unchanged (ETag ")
    assert line.endswith(f"), and ny_taxi.green_cab_data holds its {rows} rows; force loads it again")


def test_another_version_at_the_origin_is_new(loaded: Settings, trips: TripServer, said: Say) -> None:
    generate("green", "2020-10", "dtc", 500, trips.folder, seed=1)
    assert month_is_new(GREEN, loaded) is True
    assert "is another version than that of the last load" in said()


def test_another_origin_is_new(loaded: Settings, trips: TripServer, said: Say) -> None:
    generate("green", "2020-10", "tlc", 500, trips.folder)
    assert month_is_new(GREEN | {"origin": "tlc"}, loaded) is True
    assert said().startswith(f"Loading: {trips.tlc_base_url}/green_tripdata_2020-10.parquet is another version")


def test_other_rules_are_new(loaded: Settings, said: Say) -> None:
    assert month_is_new(GREEN | {"rules": "none"}, loaded) is True
    assert said() == "Loading: green 2020-10 (dtc), which was last loaded by the rules has_passengers"


def test_force_makes_it_new_without_a_request(loaded: Settings, trips: TripServer, said: Say) -> None:
    assert month_is_new(GREEN | {"force": "1"}, loaded) is True
    assert said() == "Loading: green 2020-10 (dtc), because force is set"
    assert trips.requests == []


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE ny_taxi.green_cab_data_2020_10",
        "DROP TABLE ny_taxi.green_cab_data_rejected_2020_10",
        "DELETE FROM ny_taxi.green_cab_data WHERE ctid IN (SELECT min(ctid) FROM ny_taxi.green_cab_data)",
        "UPDATE ny_taxi.green_cab_data SET total_amount = total_amount + 1",
    ],
)
def test_rows_that_are_gone_or_changed_are_loaded_again(loaded: Settings, said: Say, change: str) -> None:
    sql(loaded.postgres, change)
    assert month_is_new(GREEN, loaded) is True
    assert "that were loaded, or other sums" in said()


def test_a_table_that_is_gone_is_loaded_again(loaded: Settings, said: Say) -> None:
    sql(loaded.postgres, "DROP TABLE ny_taxi.green_cab_data")
    assert month_is_new(GREEN, loaded) is True
    assert 'relation "ny_taxi.green_cab_data" does not exist' in said()


def test_the_last_load_counts_not_an_earlier_one_nor_a_failure(loaded: Settings, trips: TripServer, said: Say) -> None:
    failed = "INSERT INTO ny_taxi.load_audit (status, pipeline, block, error, service, file_month) VALUES"
    sql(loaded.postgres, f"{failed} ('failed', 'api_to_postgres', 'a block', 'why', 'green', '2020-10-01')")
    assert month_is_new(GREEN, loaded) is False
    said()
    sql(loaded.postgres, "UPDATE ny_taxi.load_audit SET target = 'elsewhere.green_cab_data' WHERE status = 'loaded'")
    assert month_is_new(GREEN, loaded) is True
    assert said() == "Loading: green 2020-10 (dtc), of which ny_taxi.green_cab_data has no load"


def test_another_month_and_another_service_are_new(loaded: Settings, trips: TripServer) -> None:
    for service, month in (("green", "2020-11"), ("yellow", "2020-10")):
        assert month_is_new(GREEN | {"service": service, "month": month}, loaded) is True
    assert trips.requests == []


# --- what cannot be told is loaded, and said


def test_without_a_table_it_is_new(settings: Settings, trips: TripServer, said: Say) -> None:
    assert month_is_new(GREEN, settings) is True
    assert said() == "Loading: green 2020-10 (dtc), of which ny_taxi.green_cab_data has no load"
    assert trips.requests == []


def test_a_month_that_the_origin_has_no_more_is_left_to_the_run(loaded: Settings, trips: TripServer, said: Say) -> None:
    for file in trips.folder.rglob("*.csv.gz"):
        file.unlink()
    assert month_is_new(GREEN, loaded) is True
    assert said().startswith("Loading: nobody can tell whether it is new (NotPublished: green 2020-10 is not published")


def test_an_origin_or_a_database_out_of_reach_is_left_to_the_run(
    loaded: Settings, monkeypatch: pytest.MonkeyPatch, said: Say
) -> None:
    monkeypatch.setattr("nyc_taxi.extract.http.ATTEMPTS", 1)
    nowhere = f"http://127.0.0.1:{free_port()}"
    # An address that was never loaded from is another version already; so the known one must fall silent.
    sql(loaded.postgres, f"UPDATE ny_taxi.load_audit SET url = '{nowhere}/green/green_tripdata_2020-10.csv.gz'")
    assert month_is_new(GREEN, replace(loaded, base_urls={"dtc": nowhere, "tlc": nowhere})) is True
    assert "DownloadFailed: http" in said()
    closed = replace(loaded, postgres=replace(loaded.postgres, port=free_port()))
    assert month_is_new(GREEN, closed) is True
    assert "TargetUnavailable: Postgres at 127.0.0.1:" in said()


@pytest.mark.parametrize("wrong", [{"service": "purple"}, {"month": "2021"}, {"force": "perhaps"}, {"month": None}])
def test_variables_that_make_no_sense_are_left_to_the_run(
    loaded: Settings, said: Say, wrong: dict[str, object]
) -> None:
    assert month_is_new(GREEN | wrong, loaded) is True
    assert said().startswith("Loading: nobody can tell whether it is new (UnknownName: ")


def test_a_bug_does_not_skip_a_month_in_silence(loaded: Settings, monkeypatch: pytest.MonkeyPatch, said: Say) -> None:
    monkeypatch.setattr("nyc_taxi.operate.freshness.sums_agree", None)
    assert month_is_new(GREEN, loaded) is True
    assert said() == "Loading: nobody can tell whether it is new (TypeError: 'NoneType' object is not callable)"


def test_without_an_etag_the_checksum_decides(
    database: PostgresSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, other = (
        generate("green", "2020-10", "dtc", rows, tmp_path / str(rows)).read_bytes() for rows in (500, 400)
    )
    with BadServer([Answer(200, content)] * 3 + [Answer(200, other)], [Answer(200, announced=-1)]) as server:
        urls = {"dtc": server.url, "tlc": server.url}
        settings = replace(
            Settings.from_environment({}), postgres=database, base_urls=urls, staging_dir=tmp_path / "staging"
        )
        run = run_of(settings, "green", "2020-10", "dtc")
        [file] = apply_rules(stage_trip_file(run), run.rules).files
        replace_month(file, database)
        for new in (False, False, True):
            assert month_is_new(GREEN, settings) is new
            line = capsys.readouterr().out.splitlines()[-1]
            assert line.startswith("Loading: " if new else "Nothing new: ")
            assert ("which has no ETag: its checksum is another" if new else "is unchanged (sha256 ") in line
