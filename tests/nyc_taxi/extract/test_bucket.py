"""Raw trip files that lie in a bucket already are an origin like any other."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from google.cloud.storage import Bucket
from nyc_taxi.errors import DownloadFailed, NotATripFile, NotPublished, UnknownName
from nyc_taxi.extract import bucket as module
from nyc_taxi.extract.download import _forget_other_version, download
from nyc_taxi.extract.http import OtherVersion
from nyc_taxi.extract.published import find_published
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.extract.zones import zone_list_url
from nyc_taxi.google import bucket_of
from nyc_taxi.load.postgres.month import measure_month, replace_month
from nyc_taxi.run import RunContext
from nyc_taxi.settings import GoogleSettings, PostgresSettings, Settings
from nyc_taxi.transform.rules import apply_rules

from ops.synthetic.generate import generate
from tests.conftest import run_of
from tests.nyc_taxi.load.bucket.bucket_helpers import refusing

NAME = {"tlc": "raw/2021/yellow_tripdata_2021-01.parquet", "dtc": "raw/2021/yellow/yellow_tripdata_2021-01.csv.gz"}


@pytest.fixture
def offline(google: GoogleSettings, tmp_path: Path) -> Settings:
    """Settings whose origins lie in a folder of the emulator's bucket."""
    urls = dict.fromkeys(("dtc", "tlc"), f"gs://{google.bucket}/raw/2021/")
    return replace(Settings.from_environment({}), google=google, base_urls=urls, staging_dir=tmp_path / "staging")


@pytest.fixture
def bucket(google: GoogleSettings) -> Bucket:
    return bucket_of(google)


def put(bucket: Bucket, origin: str, rows: int, folder: Path, seed: int = 0) -> bytes:
    """Upload a synthetic month under the name that TLC or the course gives it."""
    content = generate("yellow", "2021-01", origin, rows, folder, seed=seed).read_bytes()
    bucket.blob(NAME[origin]).upload_from_string(content)
    return content


def january(settings: Settings, origin: str = "tlc") -> RunContext:
    return run_of(settings, "yellow", "2021-01", origin)


@pytest.mark.parametrize("origin", ["tlc", "dtc"])
def test_a_raw_file_of_a_bucket_is_staged_once_per_generation(
    origin: str, offline: Settings, bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = put(bucket, origin, 3_000, tmp_path)
    [file] = stage_trip_file(january(offline, origin)).files
    blob = bucket.get_blob(NAME[origin])
    assert blob is not None
    assert (file.url, file.etag, file.bytes) == (
        f"gs://{bucket.name}/{NAME[origin]}",
        str(blob.generation),
        len(content),
    )
    assert pq.read_metadata(file.path).num_rows == file.rows_read == 3_000
    capsys.readouterr()
    assert stage_trip_file(january(offline, origin)).files == (file,)
    assert "is unchanged (ETag " in capsys.readouterr().out
    put(bucket, origin, 2_000, tmp_path, seed=1)
    assert stage_trip_file(january(offline, origin)).files[0].rows_read == 2_000


def test_a_raw_file_of_a_bucket_goes_to_postgres(
    offline: Settings, bucket: Bucket, database: PostgresSettings, tmp_path: Path
) -> None:
    put(bucket, "tlc", 1_000, tmp_path)
    run = january(offline)
    [file] = apply_rules(stage_trip_file(run), ()).files
    replace_month(file, database)
    assert measure_month(run.service, run.month, database)[0] == 1_000


def test_what_an_earlier_attempt_left_is_taken_up(
    offline: Settings, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, asked, read = put(bucket, "tlc", 3_000, tmp_path), [], module.read_object

    def noted(url: str, generation: str, start: int, settings: GoogleSettings) -> Iterator[bytes]:
        asked.append(start)
        return read(url, generation, start, settings)

    monkeypatch.setattr(module, "read_object", noted)
    monkeypatch.setattr(module, "CHUNK_BYTES", 20_000)
    run, folder = january(offline), tmp_path / "downloads"
    published, part = find_published(run), folder / "yellow_tripdata_2021-01.parquet.part"
    folder.mkdir()
    _forget_other_version(part, published)
    part.write_bytes(content[:30_000])
    assert download(run, published, folder).path.read_bytes() == content
    assert asked == [30_000]


def test_other_bytes_than_the_object_has_are_fetched_anew(
    offline: Settings, bucket: Bucket, tmp_path: Path, waits: list[float]
) -> None:
    content = put(bucket, "tlc", 3_000, tmp_path)
    run, folder = january(offline), tmp_path / "downloads"
    published, part = find_published(run), folder / "yellow_tripdata_2021-01.parquet.part"
    folder.mkdir()
    _forget_other_version(part, published)
    part.write_bytes(b"PAR1" + bytes(len(content) - 4))
    assert download(run, published, folder).path.read_bytes() == content
    assert waits == [1]


def test_an_object_replaced_while_it_is_fetched_is_told(offline: Settings, bucket: Bucket, tmp_path: Path) -> None:
    put(bucket, "tlc", 1_000, tmp_path)
    run = january(offline)
    published = find_published(run)
    put(bucket, "tlc", 1_000, tmp_path, seed=1)
    with pytest.raises(OtherVersion, match=r"2021-01.parquet was replaced while it was fetched: run again$"):
        download(run, published, tmp_path / "downloads")


def test_an_object_that_is_not_there_is_not_published(offline: Settings) -> None:
    with pytest.raises(NotPublished, match=r"^yellow 2021-01 is not published at tlc \(gs://.*/raw/2021/yellow_.*404"):
        stage_trip_file(january(offline))


def test_an_object_that_is_no_trip_file_is_refused_at_its_start(offline: Settings, bucket: Bucket) -> None:
    bucket.blob(NAME["tlc"]).upload_from_string(b"<html>not here</html>")
    with pytest.raises(NotATripFile, match=r"2021-01.parquet is no parquet file: it starts with an HTML page"):
        stage_trip_file(january(offline))


def test_an_empty_object_is_refused_by_name(offline: Settings, bucket: Bucket) -> None:
    bucket.blob(NAME["tlc"]).upload_from_string(b"")
    with pytest.raises(NotATripFile, match=r"yellow_tripdata_2021-01.parquet of yellow 2021-01 \(tlc\) is truncated"):
        stage_trip_file(january(offline))


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "may not be read: grant the account roles/storage.objectViewer on the bucket, or check GOOGLE_APPL"),
        (401, "may not be read: grant the account roles/storage.objectViewer on the bucket"),
        (400, "cannot be read now: check the network and the address, and run again"),
        (503, "cannot be read now: check the network and the address, and run again"),
    ],
)
def test_a_refusal_says_what_to_do_in_one_short_line(
    status: int, message: str, offline: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nyc_taxi.google.RETRY_SECONDS", 1.0)
    with refusing(status, "mage@p.iam.gserviceaccount.com does not have access" * 9, "forbidden") as url:
        settings = replace(offline, google=replace(offline.google, storage_emulator=url))
        with pytest.raises(DownloadFailed, match=message) as refused:
            stage_trip_file(january(settings))
    assert len(str(refused.value)) <= 300


def test_the_zones_come_from_tlc_where_the_trips_lie_in_a_bucket(offline: Settings) -> None:
    assert zone_list_url(offline) == "https://d37ci6vzurychx.cloudfront.net/misc/taxi_zone_lookup.csv"


@pytest.mark.parametrize("url", ["gs://", "gs:///raw", "gs://My_Bucket!/raw"])
def test_an_address_without_a_bucket_is_refused(url: str) -> None:
    with pytest.raises(
        UnknownName, match=r"^TLC_DTC_BASE_URL 'gs://.*' names no bucket: write it as gs://BUCKET/FOLDER"
    ):
        Settings.from_environment({"TLC_DTC_BASE_URL": url})
