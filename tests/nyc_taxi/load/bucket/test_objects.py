"""Objects in a bucket: whole or not at all, sets replaced as sets, and a scratch_folder that is swept."""

import errno
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from google.api_core.exceptions import BadRequest, RetryError, Unauthorized
from google.cloud.storage import Bucket
from google.cloud.storage import blob as google_blob
from nyc_taxi.errors import CountsDisagree, StorageFull, TargetUnavailable
from nyc_taxi.load.bucket import objects
from nyc_taxi.load.bucket.objects import NewObject, listing, replace_set, scratch_folder, tail, upload
from nyc_taxi.load.bucket.runs import is_dead, own_name
from nyc_taxi.settings import GoogleSettings

from tests.nyc_taxi.load.bucket.bucket_helpers import Line, bucket_of, generations, get, metadata_of, objects_in, put

PATTERN = "sets/a=*/part.parquet"
PIECE = 256 << 10
OURS = {"service": "yellow"}
"""What every object of this project tells."""


def files(folder: Path, **contents: bytes) -> list[NewObject]:
    """New objects of a set, one per day, with these contents."""
    folder.mkdir(exist_ok=True)
    for day, content in contents.items():
        (folder / day).write_bytes(content)
    return [NewObject(folder / day, f"sets/a={day}/part.parquet", {"day": day, **OURS}) for day in contents]


def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads in pieces of 256 KiB, the least that the service allows, whatever the size of the whole."""
    monkeypatch.setattr(objects, "CHUNK_BYTES", PIECE)
    monkeypatch.setattr(google_blob, "_MAX_MULTIPART_SIZE", 0)


# --- One object


def test_an_upload_has_content_type_and_metadata_and_replaces_what_was_there(
    google: GoogleSettings, tmp_path: Path
) -> None:
    [new] = files(tmp_path, one=b"new content")
    put(google, new.name, b"old", {"was": "there"})
    upload(bucket_of(google), new)
    assert get(google, new.name) == b"new content"
    assert metadata_of(google, new.name) == {"day": "one", **OURS}
    blob = bucket_of(google).get_blob(new.name)
    assert (blob.content_type, blob.size) == ("application/vnd.apache.parquet", 11)


@pytest.mark.parametrize("pieces", [False, True], ids=["at once", "in pieces"])
def test_bytes_that_change_on_their_way_never_become_the_object(
    google: GoogleSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: bool
) -> None:
    if pieces:
        in_pieces(monkeypatch)
    content = os.urandom(3 * PIECE // 2) + b"a word that will be spoilt" + os.urandom(PIECE)
    [new] = files(tmp_path, one=content)
    put(google, new.name, b"old")
    with (
        Line(google.storage_emulator, spoilt=b"a word that will be spoilt") as line,
        pytest.raises(BadRequest, match=r"crc32c is .*, not the .* that was announced"),
    ):
        upload(bucket_of(line.of(google)), new)
    assert line.spoilt == b""
    assert get(google, new.name) == b"old"
    upload(bucket_of(google), new)
    assert get(google, new.name) == content


def test_an_upload_in_pieces_is_not_there_before_its_last_piece(
    google: GoogleSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_pieces(monkeypatch)
    content = os.urandom(4 * PIECE)
    [new] = files(tmp_path, one=content)
    put(google, new.name, b"old")
    seen: list[bytes] = []
    take = google_blob.ResumableUpload.transmit_next_chunk

    def look_and_take(self: object, *args: object, **kwargs: object) -> object:
        seen.append(get(google, new.name))
        return take(self, *args, **kwargs)

    monkeypatch.setattr(google_blob.ResumableUpload, "transmit_next_chunk", look_and_take)
    upload(bucket_of(google), new)
    assert seen == [b"old"] * 4
    assert get(google, new.name) == content


@pytest.mark.parametrize(("size", "end"), [(4, b"efgh"), (8, b"abcdefgh"), (100, b"abcdefgh"), (1, b"h")])
def test_the_tail_is_the_last_bytes_or_all_there_are(google: GoogleSettings, size: int, end: bytes) -> None:
    put(google, "x", b"abcdefgh")
    assert tail(bucket_of(google).get_blob("x"), size) == end


def test_the_tail_of_nothing_is_nothing_and_is_not_asked_for(google: GoogleSettings) -> None:
    put(google, "x", b"")
    with Line(google.storage_emulator) as line:
        blob = bucket_of(line.of(google)).get_blob("x")
        before = line.up
        assert tail(blob, 100) == b""  # Cloud Storage answers 416 to any range of it
        assert line.up == before


# --- Listing


def test_a_star_stands_for_anything_but_a_slash(google: GoogleSettings) -> None:
    inside = ["sets/a=1/part.parquet", "sets/a=/part.parquet", "sets/a=2021-01-01/part.parquet"]
    outside = [
        "sets/a=1/b=2/part.parquet",
        "sets/a=1/part.parquet.bak",
        "sets/a=1/part-0.parquet",
        "sets/b=1/part.parquet",
        "xsets/a=1/part.parquet",
        "_incoming/sets/a=_/part.parquet/0",
        "_incoming/sets/a=1/part.parquet",
    ]
    for name in (*inside, *outside):
        put(google, name, name.encode())
    assert set(listing(bucket_of(google), PATTERN)) == set(inside)


def test_a_service_whose_name_begins_like_another_s_is_not_listed_with_it(google: GoogleSettings) -> None:
    for service in ("fhv", "fhvhv"):
        put(google, f"trips_by_day/{service}/pickup_date=2021-01-01/{service}_tripdata_2021-01.parquet", b"x")
    found = listing(bucket_of(google), "trips_by_day/fhv/pickup_date=*/fhv_tripdata_2021-01.parquet")
    assert list(found) == ["trips_by_day/fhv/pickup_date=2021-01-01/fhv_tripdata_2021-01.parquet"]


def test_a_listing_goes_on_over_pages(google: GoogleSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = bucket_of(google)
    for number in range(7):
        put(google, f"sets/a={number}/part.parquet", b"x")
    ask = Bucket.list_blobs

    def in_pages_of_two(self: Bucket, **kwargs: object) -> object:
        return ask(self, page_size=2, **kwargs)

    monkeypatch.setattr(Bucket, "list_blobs", in_pages_of_two)
    with Line(google.storage_emulator) as line:
        assert len(listing(bucket_of(line.of(google)), PATTERN)) == 7
        assert line.asked.count(b"pageToken=") == 3
    assert len(listing(bucket, PATTERN)) == 7


# --- A set


def test_a_set_becomes_exactly_the_new_one(google: GoogleSettings, tmp_path: Path) -> None:
    bucket = bucket_of(google)
    replace_set(bucket, files(tmp_path / "1", one=b"1", two=b"2", three=b"3"), PATTERN, "v1")
    beside = ["sets/a=one/other.parquet", "sets/b=one/part.parquet"]
    for name in beside:
        put(google, name, b"beside")
    kept = generations(google)
    replace_set(bucket, files(tmp_path / "2", two=b"22", four=b"4"), PATTERN, "v2")
    assert set(objects_in(google)) == {"sets/a=two/part.parquet", "sets/a=four/part.parquet", *beside}
    assert get(google, "sets/a=two/part.parquet") == b"22"
    assert {name: generations(google)[name] for name in beside} == {name: kept[name] for name in beside}


def test_every_object_of_a_set_tells_its_version_and_what_it_was_given(google: GoogleSettings, tmp_path: Path) -> None:
    with Line(google.storage_emulator) as line:
        replace_set(bucket_of(line.of(google)), files(tmp_path, one=b"1", two=b"2"), PATTERN, "v1")
    assert metadata_of(google, "sets/a=one/part.parquet") == {"day": "one", "version": "v1", **OURS}
    assert metadata_of(google, "sets/a=two/part.parquet") == {"day": "two", "version": "v1", **OURS}
    kinds = {blob.content_type for blob in bucket_of(google).list_blobs()}
    assert kinds == {"application/vnd.apache.parquet"}
    # Google's client sends a resource with every copy, and Cloud Storage then takes over nothing from the source;
    # an emulator may be kinder, so that only the request shows that the copy says it all again.
    copies = re.findall(rb"POST \S+/rewriteTo/\S+ HTTP/1.1\r\n(?:\S.*\r\n)+\r\n(\{[ -~]*\})", line.asked)
    said = [json.JSONDecoder().raw_decode(body.decode())[0] for body in copies]
    assert sorted(each["metadata"]["day"] for each in said) == ["one", "two"]
    assert {(each["contentType"], each["metadata"]["version"]) for each in said} == {
        ("application/vnd.apache.parquet", "v1")
    }


def test_a_set_that_cannot_be_uploaded_whole_leaves_the_old_one_and_nothing_aside(
    google: GoogleSettings, tmp_path: Path
) -> None:
    bucket = bucket_of(google)
    replace_set(bucket, files(tmp_path / "1", one=b"1", two=b"2"), PATTERN, "v1")
    before = generations(google)
    news = files(tmp_path / "2", **{f"d{number}": b"x" for number in range(20)})
    news[13].path.unlink()
    with pytest.raises(FileNotFoundError, match="d13"):
        replace_set(bucket, news, PATTERN, "v2")
    assert generations(google) == before


def test_after_one_failure_no_further_object_is_begun(
    google: GoogleSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def fail_late_and_early(bucket: Bucket, new: NewObject) -> None:
        begun.append(new.path.name)
        if new.path.name == "d000":
            time.sleep(0.5)
        if new.path.name in {"d000", "d001"}:
            raise ConnectionError(new.path.name)
        time.sleep(0.01)

    monkeypatch.setattr(objects, "upload", fail_late_and_early)
    news = files(tmp_path, **{f"d{number:03}": b"x" for number in range(200)})
    with pytest.raises(ConnectionError, match="d000"):
        replace_set(bucket_of(google), news, PATTERN, "v1")
    assert {"d000", "d001"} <= set(begun)
    assert len(begun) < 20


def test_an_object_that_another_run_put_into_the_set_meanwhile_is_replaced_again(
    google: GoogleSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nyc_taxi.load.bucket.objects.sleep", lambda seconds: None)
    ask = objects.listing
    asked: list[str] = []

    def meddled_once(bucket: Bucket, pattern: str) -> dict[str, google_blob.Blob]:
        if len(asked) == 1:
            put(google, "sets/a=one/part.parquet", b"theirs", {"version": "v9", **OURS})
        asked.append(pattern)
        return ask(bucket, pattern)

    monkeypatch.setattr(objects, "listing", meddled_once)
    replace_set(bucket_of(google), files(tmp_path, one=b"1", two=b"2"), PATTERN, "v1")
    assert len(asked) == 1 + 4
    assert get(google, "sets/a=one/part.parquet") == b"1"
    assert metadata_of(google, "sets/a=one/part.parquet")["version"] == "v1"


def test_a_set_that_another_run_writes_again_and_again_is_given_up(
    google: GoogleSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "ATTEMPTS", 3)
    monkeypatch.setattr("nyc_taxi.load.bucket.objects.sleep", lambda seconds: None)
    bucket = bucket_of(google)
    ask, asked = objects.listing, []

    def meddled(bucket: Bucket, pattern: str) -> dict[str, object]:
        put(google, "sets/a=theirs/part.parquet", b"theirs", {"version": "v9", **OURS})
        asked.append(pattern)
        return ask(bucket, pattern)

    monkeypatch.setattr(objects, "listing", meddled)
    with pytest.raises(CountsDisagree) as refused:
        replace_set(bucket, files(tmp_path, one=b"1"), PATTERN, "v1")
    assert str(refused.value) == (
        f"gs://{google.bucket}/{PATTERN} is written by another run again and again: end one of the two"
    )
    assert len(asked) == 1 + 2 * 3
    assert [name for name in objects_in(google) if name.startswith("_incoming/")] == []


def test_an_object_that_another_run_wrote_since_it_was_listed_is_not_deleted(
    google: GoogleSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = bucket_of(google)
    put(google, "sets/a=stale/part.parquet", b"stale", OURS)
    remove = objects.remove
    seen: list[bytes] = []

    def meddled(bucket: Bucket, blobs: Iterable[google_blob.Blob], *, once: bool = False) -> None:
        listed = list(blobs)
        if [blob.name for blob in listed] == ["sets/a=stale/part.parquet"] and not seen:
            put(google, "sets/a=stale/part.parquet", b"written since", OURS)
            remove(bucket, listed, once=once)
            seen.append(get(google, "sets/a=stale/part.parquet"))
        else:
            remove(bucket, listed, once=once)

    monkeypatch.setattr(objects, "remove", meddled)
    replace_set(bucket, files(tmp_path, one=b"1"), PATTERN, "v1")
    assert seen == [b"written since"]
    assert set(objects_in(google)) == {"sets/a=one/part.parquet"}  # at the second look


def test_cleaning_up_after_a_dead_line_is_tried_once(
    google: GoogleSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nyc_taxi.google.RETRY_SECONDS", 1.0)
    news = files(tmp_path, **{f"d{number}": b"x" for number in range(40)})
    with Line(google.storage_emulator) as line:
        bucket = bucket_of(line.of(google))
        put_one = objects.upload

        def break_at_the_tenth(bucket: Bucket, new: NewObject) -> None:
            if new.path.name == "d10":
                line.break_off()
            put_one(bucket, new)

        monkeypatch.setattr(objects, "upload", break_at_the_tenth)
        remove, asked_once = objects.remove, []

        def note_and_remove(bucket: Bucket, blobs: Iterable[google_blob.Blob], *, once: bool = False) -> None:
            if line.broken:
                asked_once.append(once)
            remove(bucket, blobs, once=once)

        monkeypatch.setattr(objects, "remove", note_and_remove)
        began = time.monotonic()
        with pytest.raises(RetryError, match=r"Timeout of 1\.0s exceeded"):
            replace_set(bucket, news, PATTERN, "v1")
        assert time.monotonic() - began < 2
        assert set(asked_once) == {True}
    assert listing(bucket_of(google), PATTERN) == {}


# --- The scratch_folder


def test_the_scratch_folder_is_beside_the_staged_file_and_gone_at_the_end(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "staged.parquet") as folder:
        assert folder.parent == tmp_path / "exports"
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_bytes(b"x")
    assert list((tmp_path / "exports").iterdir()) == []


def test_the_scratch_folder_is_gone_after_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), scratch_folder(tmp_path / "staged.parquet") as folder:
        (folder / "missing").rename(folder / "file")
    assert list((tmp_path / "exports").iterdir()) == []


def test_what_a_killed_run_left_goes_after_a_day_and_what_a_running_one_has_stays(tmp_path: Path) -> None:
    exports = tmp_path / "exports"
    for name, age in (("left", 90_000), ("running", 80_000)):
        (exports / name).mkdir(parents=True)
        (exports / name / "month.parquet").write_bytes(b"x" * 100)
        os.utime(exports / name, (time.time() - age,) * 2)
    with scratch_folder(tmp_path / "staged.parquet") as one, scratch_folder(tmp_path / "staged.parquet") as other:
        assert one != other
        assert {path.name for path in exports.iterdir()} == {"running", one.name, other.name}
    assert {path.name for path in exports.iterdir()} == {"running"}


def test_what_a_process_of_this_machine_left_goes_as_soon_as_it_is_gone(tmp_path: Path) -> None:
    exports = tmp_path / "exports"
    script = "from nyc_taxi.load.bucket.runs import own_name; print(own_name())"
    gone = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    elsewhere, own = gone.replace(gone[:12], "0" * 12), own_name()
    for name in (gone, elsewhere, own):
        (exports / name).mkdir(parents=True)
    with scratch_folder(tmp_path / "staged.parquet") as folder:
        assert set(os.listdir(exports)) == {elsewhere, own, folder.name}
    for name in (elsewhere, own):  # or a clock that jumps
        os.utime(exports / name, (time.time() - 90_000,) * 2)
    with scratch_folder(tmp_path / "staged.parquet") as folder:
        assert set(os.listdir(exports)) == {own, folder.name}, "whoever is seen to run is no older for it"


@pytest.mark.parametrize("name", ["old", "", "1-2-3", "x" * 50])
def test_by_nobody_else_s_name_can_one_tell(name: str) -> None:
    assert [is_dead(name, old=old) for old in (False, True)] == [False, True]
    assert not is_dead(own_name(), old=True)


def test_a_clean_up_that_fails_at_the_end_does_not_undo_what_is_in_place(
    google: GoogleSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    delete = Bucket.delete_blob

    def refuse_incoming(self: Bucket, name: str, **given: object) -> None:
        if name.startswith("_incoming/"):
            raise Unauthorized("not now")  # type: ignore[no-untyped-call]
        delete(self, name, **given)

    monkeypatch.setattr(Bucket, "delete_blob", refuse_incoming)
    replace_set(bucket_of(google), files(tmp_path, one=b"1"), PATTERN, "v1")
    assert get(google, "sets/a=one/part.parquet") == b"1"
    assert "left there, for the next run to remove [401 not now]" in capsys.readouterr().out


def test_a_disk_that_is_full_under_the_scratch_folder_is_named_and_a_server_s_error_is_not(tmp_path: Path) -> None:
    with pytest.raises(StorageFull) as full, scratch_folder(tmp_path / "staged.parquet"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(full.value) == (
        f"cannot write to {tmp_path}/exports (No space left on device): make room there or set STAGING_DIR"
    )
    with pytest.raises(ConnectionError), scratch_folder(tmp_path / "staged.parquet"):
        raise ConnectionError("reset by peer")
    assert list((tmp_path / "exports").iterdir()) == []


def test_an_object_of_another_program_is_never_replaced_or_removed(google: GoogleSettings, tmp_path: Path) -> None:
    for name in ("sets/a=one/part.parquet", "sets/a=gone/part.parquet"):
        put(google, name, b"theirs")
        with pytest.raises(TargetUnavailable) as refused:
            replace_set(bucket_of(google), files(tmp_path, one=b"1"), PATTERN, "v1")
        assert str(refused.value) == (
            f"gs://{google.bucket}/{name} was written by another program, and nothing was changed: move it, or set "
            f"GCS_BUCKET to another bucket, and run again"
        )
        assert {each: get(google, each) for each in objects_in(google)} == {name: b"theirs"}
        bucket_of(google).delete_blob(name)
