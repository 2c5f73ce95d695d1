"""A month is fetched and conformed once, appears whole or not at all, and a bad file leaves the good one in place."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from nyc_taxi.errors import DownloadFailed, NotATripFile, NotPublished, StorageFull, TaxiError, TooManyMalformed
from nyc_taxi.extract import published, staged_file, staging
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.manifest import StagedFile
from nyc_taxi.run import RunContext
from nyc_taxi.settings import Settings

from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate, trip_path
from ops.wait import wait_until
from tests.conftest import REAL_FILES, run_of, settings_for
from tests.nyc_taxi.extract.bad_server import Answer, BadServer

STAGE_ONE_MONTH = """
import sys
from pathlib import Path
from typing import Any
from nyc_taxi.run import run_context
from nyc_taxi.settings import Settings
from nyc_taxi.extract.staging import stage_trip_file
settings = Settings.from_environment({"TLC_DTC_BASE_URL": sys.argv[1], "STAGING_DIR": sys.argv[2]})
run = run_context({"service": "yellow", "month": "2021-01", "origin": "dtc"}, settings)
print(stage_trip_file(run).files[0].rows_read)
"""


@pytest.fixture
def offline(trips: TripServer, tmp_path: Path) -> Settings:
    """Settings that need no database."""
    return settings_for(Settings.from_environment({}).postgres, trips, tmp_path)


def stage(run: RunContext) -> StagedFile:
    [file] = stage_trip_file(run).files
    return file


def asked(trips: TripServer) -> list[str]:
    return [method for method, _, _ in trips.requests]


def folder_of(run: RunContext) -> Path:
    return run.settings.staging_dir / run.origin.name / run.service.name


def staged_names(run: RunContext) -> set[str]:
    """Everything in the staging folder that is neither a lock nor the folder for downloads."""
    return {path.name for path in folder_of(run).iterdir() if path.is_file() and not path.name.endswith(".lock")}


# --- what is staged


@pytest.mark.parametrize(
    ("service", "month", "origin"),
    [("yellow", "2021-01", "dtc"), ("green", "2023-02", "tlc"), ("fhv", "2020-04", "dtc")],
)
def test_a_staged_file_has_all_rows_in_canonical_columns_and_its_numbers(
    service: str, month: str, origin: str, offline: Settings, trips: TripServer
) -> None:
    path = generate(service, month, origin, 4_000, trips.folder)
    run = run_of(offline, service, month, origin)
    file = stage(run)
    table = pq.read_table(file.path)
    assert table.schema.equals(run.service.schema)
    assert (table.num_rows, file.rows_read, file.rows_staged) == (4_000, 4_000, 4_000)
    assert (file.malformed, file.malformed_path, file.columns_dropped) == ({}, "", ())
    assert (file.bytes, file.url) == (path.stat().st_size, published.trip_file_url(run))
    assert sum(len(batch) for batch in file.batches([run.service.pickup])) == 4_000
    assert set(table.column_names) - set(file.columns) == {
        name for name in table.column_names if table[name].null_count == 4_000 and name not in file.columns
    }
    assert staged_names(run) == {f"{month}.json", f"{month}-{file.sha256[:12]}-v{staging.FORMAT}.parquet"}
    assert list((folder_of(run) / "downloads").iterdir()) == []


def test_malformed_rows_lie_beside_the_staged_file(offline: Settings, trips: TripServer) -> None:
    generate("yellow", "2021-01", "dtc", 4_000, trips.folder, malformed=6)
    file = stage(run_of(offline, "yellow", "2021-01", "dtc"))
    malformed = pq.read_table(file.malformed_path).to_pylist()
    assert [row["row"] for row in malformed] == [(2 * i + 1) * 4_000 // 12 + 1 for i in range(6)]
    assert file.malformed == {
        "malformed: number of fields": 2,
        "malformed: fare_amount": 2,
        "malformed: tpep_pickup_datetime": 2,
    }
    assert {row["reason"] for row in malformed} == set(file.malformed)
    assert "n/a" in malformed[1]["text"]
    assert (file.rows_read, file.rows_staged) == (4_000, 3_994)


def test_small_pieces_do_not_make_small_row_groups(
    offline: Settings, trips: TripServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staged_file, "ROW_GROUP", 1_000)
    monkeypatch.setattr("nyc_taxi.extract.unpack.BLOCK_BYTES", 8_192)  # some 80 rows
    generate("yellow", "2021-01", "dtc", 5_000, trips.folder)
    metadata = pq.read_metadata(stage(run_of(offline, "yellow", "2021-01", "dtc")).path)
    sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert sum(sizes) == 5_000
    assert max(sizes) == 1_000
    assert len(sizes) <= 10


def test_most_pickups_in_another_month_are_told_but_not_refused(
    offline: Settings, trips: TripServer, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(
        generate("green", "2020-11", "dtc", 1_000, trips.folder), trip_path("green", "2020-10", "dtc", trips.folder)
    )
    assert stage(run_of(offline, "green", "2020-10", "dtc")).rows_read == 1_000
    said = capsys.readouterr().out
    assert "WARNING" in said
    assert "of 1,000 pickups lie in 2020-10" in said
    stage(run_of(offline, "green", "2020-11", "dtc"))
    assert "WARNING" not in capsys.readouterr().out


# --- rows without a value, months without times, files without columns

GREEN_HEADER = "lpep_pickup_datetime,passenger_count,trip_distance,total_amount"
GREEN_TRIP = "2020-10-01 00:00:00,1,2.5,10"


def publish(trips: TripServer, service: str, *lines: str) -> None:
    """A csv.gz of October 2020 with these lines, the header the first."""
    path = trip_path(service, "2020-10", "dtc", trips.folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("\r\n".join([*lines, ""]).encode()))


def test_rows_without_any_value_are_skipped_and_told(
    offline: Settings, trips: TripServer, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(trips, "green", GREEN_HEADER, GREEN_TRIP, ",,,", GREEN_TRIP, " ,,,")
    file = stage(run_of(offline, "green", "2020-10", "dtc"))
    assert (file.rows_read, file.rows_staged, file.rows_blank, file.malformed) == (2, 2, 2, {})
    assert f"{file.url}: 2 rows without any value are no trips: skipped\n" in capsys.readouterr().out


@pytest.mark.parametrize("blank", ["", "  ", ",,,"], ids=["blank lines", "lines of blanks", "lines of commas"])
def test_rows_without_any_value_do_not_hide_malformed_ones(blank: str, offline: Settings, trips: TripServer) -> None:
    publish(trips, "green", GREEN_HEADER, *[GREEN_TRIP] * 2, *["broken"] * 4, *[blank] * 600)
    with pytest.raises(TooManyMalformed, match=r"at least \d rows cannot be parsed") as refused:
        stage(run_of(offline, "green", "2020-10", "dtc"))
    assert len(str(refused.value)) <= 300
    publish(trips, "green", GREEN_HEADER, *[GREEN_TRIP] * 99, "broken", *[blank] * 600)
    assert stage(run_of(offline, "green", "2020-10", "dtc")).rows_read == 100


def test_the_first_malformed_row_is_cut_to_what_a_line_bears(offline: Settings, trips: TripServer) -> None:
    publish(trips, "green", GREEN_HEADER, f"{GREEN_TRIP},{'long ' * 99}", f"x{GREEN_TRIP}", "2020-10-01,x,,")
    with pytest.raises(TooManyMalformed) as refused:
        stage(run_of(offline, "green", "2020-10", "dtc"))
    assert len(str(refused.value)) <= 300
    assert "the first: '2020-10-01 00:00:..." in str(refused.value)


@pytest.mark.parametrize("line", [",1,2.5,10", "NULL,1,2.5,10", " ,1,,"])
def test_a_month_without_a_single_pickup_time_is_refused(line: str, offline: Settings, trips: TripServer) -> None:
    publish(trips, "green", GREEN_HEADER, *[line] * 3)
    with pytest.raises(NotATripFile, match="none of 3 rows has a lpep_pickup_datetime: a month without times is never"):
        stage(run_of(offline, "green", "2020-10", "dtc"))
    publish(trips, "green", GREEN_HEADER, line, GREEN_TRIP)
    assert stage(run_of(offline, "green", "2020-10", "dtc")).rows_read == 2


def test_a_month_of_nothing_but_blank_rows_is_empty(offline: Settings, trips: TripServer) -> None:
    publish(trips, "green", GREEN_HEADER, *[",,,"] * 3)
    with pytest.raises(NotATripFile, match="has no rows: an empty month is never loaded over a full one"):
        stage(run_of(offline, "green", "2020-10", "dtc"))


def test_columns_that_the_file_lacks_are_told(
    offline: Settings, trips: TripServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """All columns of fhv are fhvhv's too, so that its file is one of fhvhv's that lacks most of them."""
    publish(trips, "fhvhv", "dispatching_base_num,pickup_datetime,dropoff_datetime", "B00001,2020-10-01 00:00:00,")
    file = stage(run_of(offline, "fhvhv", "2020-10", "dtc"))
    assert len(file.columns_missing) == 24
    assert set(file.columns_missing) | set(file.columns) == set(file.service.schema.names)
    assert StagedFile.of_row(file.to_row()).columns_missing == file.columns_missing
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == (
        f"{file.url} lacks 24 of 27 columns of fhvhv, which are null: hvfhs_license_num, originating_base_num, "
        f"request_datetime, on_scene_datetime, PULocationID and 19 more"
    )


# --- once


def test_an_unchanged_file_costs_one_head_request(
    offline: Settings, trips: TripServer, capsys: pytest.CaptureFixture[str]
) -> None:
    generate("green", "2020-10", "dtc", 1_000, trips.folder, malformed=3)
    run = run_of(offline, "green", "2020-10", "dtc")
    first = stage(run)
    assert asked(trips) == ["HEAD", "GET"]
    capsys.readouterr()
    assert stage(run) == first
    assert asked(trips) == ["HEAD", "GET", "HEAD"]
    assert capsys.readouterr().out == f"{first.url} is unchanged (ETag {first.etag}): 1,000 rows are staged already\n"


def test_a_changed_file_is_staged_anew_and_the_older_one_stays_for_a_day(offline: Settings, trips: TripServer) -> None:
    generate("green", "2020-10", "dtc", 1_000, trips.folder)
    run = run_of(offline, "green", "2020-10", "dtc")
    first = stage(run)
    generate("green", "2020-10", "dtc", 1_100, trips.folder, seed=1)
    second = stage(run)
    assert asked(trips) == ["HEAD", "GET", "HEAD", "GET"]
    assert (first.rows_read, second.rows_read) == (1_000, 1_100)
    assert first.sha256 != second.sha256
    assert first.etag != second.etag
    assert sum(map(len, first.batches())) == 1_000

    two_days_ago = time.time() - 2 * 86_400
    os.utime(first.path, (two_days_ago, two_days_ago))
    os.utime(second.path, (two_days_ago, two_days_ago))
    generate("green", "2020-10", "dtc", 1_200, trips.folder, seed=2)
    third = stage(run)
    assert not Path(first.path).exists()
    assert not Path(second.path).exists()
    assert staged_names(run) == {"2020-10.json", Path(third.path).name}


@pytest.mark.parametrize("version", ["", "ETag"])
def test_the_same_bytes_are_not_staged_again_though_no_version_says_so(
    version: str, offline: Settings, body: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without an ETag, nothing but the checksum can tell; and a file may be published again as it was."""
    first, again = ({version: f'"{number}"'} if version else {} for number in (1, 2))
    changed = gzip.compress(gzip.decompress(body)[:-200].rpartition(b"\n")[0])
    answers = [Answer(200, body, first), Answer(200, body, again), Answer(200, changed)]
    with BadServer(answers, answers) as server:
        run = run_of(replace(offline, base_urls={"dtc": server.url, "tlc": server.url}), "yellow", "2021-01", "dtc")
        staged = stage(run)
        made = Path(staged.path).stat().st_mtime_ns
        capsys.readouterr()
        assert stage(run) == replace(staged, etag=again.get("ETag", ""))
        assert Path(staged.path).stat().st_mtime_ns == made
        said = capsys.readouterr().out
        assert " s, 5,000 rows are staged already: its bytes are the same\n" in said
        told = f"{staged.url} has no ETag: only its checksum tells whether it changed, so it is fetched\n"
        assert said.startswith(told) == (not version)
        assert stage(run).rows_read < 5_000


@pytest.mark.parametrize("after", [1, 2])
def test_another_version_than_was_named_is_asked_for_again(
    after: int, offline: Settings, body: bytes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(staging, "sleep", pauses.append)
    old, new = (Answer(200, body, {"ETag": f'"{name}"'}) for name in ("old", "new"))
    with BadServer([*[new] * after, old], [old]) as server:  # a file that was replaced, and then taken back
        run = run_of(replace(offline, base_urls={"dtc": server.url}), "yellow", "2021-01", "dtc")
        assert stage(run).etag == '"old"'
        assert (server.count("HEAD"), server.count("GET"), pauses) == (after + 1, after + 1, [1, 2][:after])
    assert f": run again: asking again which version there is, {after + 1} of 3\n" in capsys.readouterr().out


def test_an_origin_that_names_one_version_and_sends_another_is_given_up(
    offline: Settings, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "sleep", lambda _: None)
    old, new = (Answer(200, body, {"ETag": f'"{name}"'}) for name in ("old", "new"))
    with BadServer([old], [new]) as server:
        run = run_of(replace(offline, base_urls={"dtc": server.url}), "yellow", "2021-01", "dtc")
        with pytest.raises(
            DownloadFailed, match=r'was replaced while it was fetched \(version "old", not "new"\): run again$'
        ):
            stage(run)
        assert (server.count("HEAD"), staged_names(run)) == (3, set())


def test_what_came_without_its_version_is_fetched_again(
    offline: Settings, body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    named = Answer(200, body, {"ETag": '"new"'})
    older = gzip.compress(gzip.decompress(body)[:-200].rpartition(b"\n")[0])
    with BadServer([Answer(200, older), named], [replace(named, announced=-1)]) as server:
        run = run_of(replace(offline, base_urls={"dtc": server.url}), "yellow", "2021-01", "dtc")
        first = stage(run)
        assert (first.etag, first.rows_read < 5_000) == ("", True)
        assert f"{first.url} came without its ETag: the next run fetches it again\n" in capsys.readouterr().out
        second = stage(run)
        assert (second.etag, second.rows_read) == ('"new"', 5_000)


def test_cleaning_up_one_month_leaves_the_others_alone(offline: Settings, trips: TripServer) -> None:
    other = run_of(offline, "green", "2020-11", "dtc")
    generate("green", "2020-11", "dtc", 500, trips.folder)
    kept = stage(other)
    os.utime(kept.path, (0, 0))
    generate("green", "2020-10", "dtc", 500, trips.folder)
    stage(run_of(offline, "green", "2020-10", "dtc"))
    assert Path(kept.path).exists()


def test_a_staged_file_that_was_deleted_is_made_anew(offline: Settings, trips: TripServer) -> None:
    generate("green", "2020-10", "dtc", 1_000, trips.folder, malformed=3)
    run = run_of(offline, "green", "2020-10", "dtc")
    first = stage(run)
    for missing in (first.path, first.malformed_path):
        Path(missing).unlink()
        assert stage(run) == first
        assert Path(first.path).exists()
        assert Path(first.malformed_path).exists()
    assert asked(trips) == ["HEAD", "GET"] * 3


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 2}', '{"format": 2, "file": {"a": 1}}', '{"format": 0, "file": {}}']
)
def test_a_note_that_cannot_be_read_is_no_note(content: str, offline: Settings, trips: TripServer) -> None:
    generate("green", "2020-10", "dtc", 500, trips.folder)
    run = run_of(offline, "green", "2020-10", "dtc")
    first = stage(run)
    (folder_of(run) / "2020-10.json").write_text(content)
    assert stage(run) == first
    assert asked(trips) == ["HEAD", "GET", "HEAD", "GET"]


def test_another_format_is_staged_anew(offline: Settings, trips: TripServer, monkeypatch: pytest.MonkeyPatch) -> None:
    generate("green", "2020-10", "dtc", 500, trips.folder)
    run = run_of(offline, "green", "2020-10", "dtc")
    first = stage(run)
    monkeypatch.setattr(staging, "FORMAT", 99)
    second = stage(run)
    assert (Path(first.path).exists(), second.path.endswith("-v99.parquet")) == (True, True)
    assert json.loads((folder_of(run) / "2020-10.json").read_text())["format"][0] == 99


@pytest.mark.parametrize("change", [{"encoding": "latin-1"}, {"delimiter": ","}])
def test_a_month_is_staged_anew_when_its_origin_is_read_otherwise(
    offline: Settings, trips: TripServer, change: dict[str, Any]
) -> None:
    generate("green", "2020-10", "dtc", 500, trips.folder)
    run = run_of(offline, "green", "2020-10", "dtc")
    before = Path(stage(run).path).stat().st_mtime_ns
    assert Path(stage(run).path).stat().st_mtime_ns == before
    other = replace(run, origin=replace(run.origin, **change))
    assert Path(stage(other).path).stat().st_mtime_ns > before


def test_threads_that_stage_the_same_month_at_once_fetch_it_once(offline: Settings, trips: TripServer) -> None:
    generate("yellow", "2021-01", "dtc", 20_000, trips.folder)
    run = run_of(offline, "yellow", "2021-01", "dtc")
    found: list[StagedFile] = []
    threads = [threading.Thread(target=lambda: found.append(stage(run))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked(trips).count("GET") == 1
    assert asked(trips).count("HEAD") == 4
    assert found == [found[0]] * 4


def start_staging(trips: TripServer, settings: Settings) -> subprocess.Popen[str]:
    """Stage yellow 2021-01 in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", STAGE_ONE_MONTH, trips.dtc_base_url, str(settings.staging_dir)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_stage_the_same_month_at_once_fetch_it_once(offline: Settings, trips: TripServer) -> None:
    generate("yellow", "2021-01", "dtc", 100_000, trips.folder)
    processes = [start_staging(trips, offline) for _ in range(2)]
    printed = [process.communicate(timeout=60)[0] for process in processes]
    assert [text.splitlines()[-1] for text in printed] == ["100000", "100000"]
    assert sum("is unchanged" in text for text in printed) == 1
    assert asked(trips).count("GET") == 1


def test_a_process_killed_in_the_middle_leaves_nothing_visible_and_the_next_run_heals(
    offline: Settings, trips: TripServer
) -> None:
    generate("yellow", "2021-01", "dtc", 400_000, trips.folder)
    run = run_of(offline, "yellow", "2021-01", "dtc")
    process = start_staging(trips, offline)
    parts = folder_of(run)
    assert wait_until(lambda: any(part.stat().st_size for part in parts.glob("2021-01-*.part")), 60, 0.001)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not list(folder_of(run).glob("*.parquet"))
    assert not (folder_of(run) / "2021-01.json").exists()
    assert {Path(name).suffix for name in staged_names(run)} == {".part", ".room"}

    file = stage(run)
    assert (file.rows_read, file.rows_staged) == (400_000, 400_000)
    assert staged_names(run) == {"2021-01.json", Path(file.path).name}


# --- refused, with the older version left in place


def test_a_file_without_rows_is_refused_and_the_full_one_stays(offline: Settings, trips: TripServer) -> None:
    run = run_of(offline, "green", "2020-10", "dtc")
    generate("green", "2020-10", "dtc", 300, trips.folder)
    full = stage(run)
    generate("green", "2020-10", "dtc", 0, trips.folder)
    with pytest.raises(NotATripFile) as refused:
        stage(run)
    assert str(refused.value) == (
        f"{full.url} of green 2020-10 (dtc) has no rows: an empty month is never loaded over a full one"
    )
    assert sum(map(len, full.batches())) == 300
    assert staged_names(run) == {"2020-10.json", Path(full.path).name}


def test_a_parquet_file_without_rows_is_refused(offline: Settings, trips: TripServer) -> None:
    generate("green", "2023-02", "tlc", 0, trips.folder)
    with pytest.raises(NotATripFile, match=r"of green 2023-02 \(tlc\) has no rows"):
        stage(run_of(offline, "green", "2023-02", "tlc"))


def test_a_file_taken_down_is_not_published_and_the_staged_one_stays(offline: Settings, trips: TripServer) -> None:
    run = run_of(offline, "green", "2020-10", "dtc")
    path = generate("green", "2020-10", "dtc", 300, trips.folder)
    full = stage(run)
    path.unlink()
    with pytest.raises(NotPublished, match="green 2020-10 is not published at dtc"):
        stage(run)
    assert sum(map(len, full.batches())) == 300


REFUSED: list[tuple[str, str, type[TaxiError], str]] = [
    ("html-instead-of-gzip.csv.gz", "dtc", NotATripFile, r"is no csv.gz file: it starts with an HTML page \(b'<"),
    ("xml-403-instead-of-parquet.parquet", "tlc", NotATripFile, r"is no parquet file: it starts with an XML message"),
    (
        "truncated-gzip.csv.gz",
        "dtc",
        NotATripFile,
        r"2021-01.csv.gz is truncated or damaged \(.+\): run again to fetch",
    ),
    (
        "excel-dates.csv",
        "dtc",
        TooManyMalformed,
        r"rows cannot be parsed, more than 0.01 of the file \([\d,]+ x malformed: tpep_pickup_datetime\); "
        r"the first: '1,01/01/2021 0:30\.\.\.",
    ),
]


def serve_broken(name: str, origin: str, service: str, folder: Path) -> None:
    """Put a broken file where yellow or green 2021-01 belongs; a plain CSV file is packed."""
    broken, target = REAL_FILES / "broken" / name, trip_path(service, "2021-01", origin, folder)
    if not broken.exists():
        pytest.skip("the city's real files are not beside this checkout")
    content = broken.read_bytes()
    target.write_bytes(gzip.compress(content) if name.endswith(".csv") else content)


def service_of(name: str) -> str:
    """Whose header the truncated file has."""
    return "green" if name == "truncated-gzip.csv.gz" else "yellow"


@pytest.mark.parametrize(("name", "origin", "kind", "message"), REFUSED, ids=[case[0] for case in REFUSED])
def test_a_real_broken_file_is_refused_and_the_good_one_stays(
    name: str, origin: str, kind: type[TaxiError], message: str, offline: Settings, trips: TripServer
) -> None:
    service = service_of(name)
    run = run_of(offline, service, "2021-01", origin)
    generate(service, "2021-01", origin, 400, trips.folder)
    good = stage(run)
    note = (folder_of(run) / "2021-01.json").read_text()
    serve_broken(name, origin, service, trips.folder)
    with pytest.raises(kind, match=message):
        stage(run)
    assert sum(map(len, good.batches())) == 400
    assert (folder_of(run) / "2021-01.json").read_text() == note
    assert staged_names(run) == {"2021-01.json", Path(good.path).name}


def test_a_real_file_cut_in_its_last_line_loses_that_line_only(offline: Settings, trips: TripServer) -> None:
    generate("yellow", "2021-01", "dtc", 400, trips.folder)
    serve_broken("truncated-last-line.csv", "dtc", "yellow", trips.folder)
    file = stage(run_of(offline, "yellow", "2021-01", "dtc"))
    assert (file.rows_read, file.rows_staged) == (400, 399)
    assert file.malformed == {"malformed: number of fields": 1}
    assert pq.read_table(file.malformed_path).to_pylist() == [
        {"row": 400, "text": "1,2021-0", "reason": "malformed: number of fields"}
    ]


# --- disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    if os.name != "posix" or os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root can mount a small disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(("rows", "while_doing"), [(100_000, "fetching"), (60_000, "staging")])
def test_a_full_disk_is_named_with_what_to_do(
    rows: int, while_doing: str, small_disk: Path, trips: TripServer, tmp_path: Path
) -> None:
    size = generate("yellow", "2021-01", "dtc", rows, trips.folder).stat().st_size
    # The packed file alone is too large, or it fits and the staged one does not.
    assert (size > 2 << 20) == (while_doing == "fetching")
    settings = settings_for(Settings.from_environment({}).postgres, trips, small_disk)
    run = run_of(settings, "yellow", "2021-01", "dtc")
    with pytest.raises(StorageFull) as full:
        stage(run)
    assert str(full.value) == (
        f"yellow 2021-01 (dtc): cannot write to {folder_of(run)} (No space left on device): "
        "make room there or set STAGING_DIR"
    )
    assert staged_names(run) == set()

    generate("yellow", "2021-01", "dtc", 500, trips.folder)
    assert stage(run).rows_read == 500


def test_a_folder_that_is_a_file_is_named(trips: TripServer, tmp_path: Path) -> None:
    generate("yellow", "2021-01", "dtc", 100, trips.folder)
    (tmp_path / "staging").write_text("a file")
    run = run_of(settings_for(Settings.from_environment({}).postgres, trips, tmp_path), "yellow", "2021-01", "dtc")
    with pytest.raises(StorageFull, match=r"yellow 2021-01 \(dtc\): cannot write to .*staging/dtc/yellow \(Not a dir"):
        stage(run)
