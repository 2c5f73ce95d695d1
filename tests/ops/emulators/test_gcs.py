"""The Cloud Storage emulator, through Google's own client, pyarrow's, and sockets that break off."""

import base64
import hashlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import google_crc32c
import psutil
import pyarrow.fs as pafs
import pytest
from google.api_core.exceptions import BadRequest, NotFound, PreconditionFailed
from google.cloud import storage

from ops.stack import google
from ops.stack.google import GoogleServer
from ops.wait import wait_until

MB = 1 << 20


@pytest.fixture
def bucket(google_server: GoogleServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[storage.Bucket]:
    for name, value in google_server.environment().items():
        monkeypatch.setenv(name, value)
    found = storage.Client().bucket(google_server.bucket)
    yield found
    for blob in found.list_blobs():
        blob.delete()


def names(bucket: storage.Bucket, **options: object) -> list[str]:
    return [blob.name for blob in bucket.list_blobs(**options)]


def crc32c(content: bytes) -> str:
    return base64.b64encode(google_crc32c.Checksum(content).digest()).decode()


def ask(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    answer = response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    connection.close()
    return answer


@pytest.mark.parametrize("size", [0, 1, 3_000_000, 9_000_000], ids=["empty", "a byte", "one request", "resumable"])
def test_what_is_uploaded_is_what_is_downloaded(bucket: storage.Bucket, size: int) -> None:
    # With line ends, and what looks like the boundary of a multipart upload.
    content = (os.urandom(1000) + b"\r\n--===============\r\n\r\n" * 10)[: size or 1] * (size // 1000 + 1)
    content = content[:size]
    blob = bucket.blob("folder/a name, with = & ü?#.bin")
    blob.metadata = {"sha256": "abc", "service": "yellow"}
    blob.upload_from_string(content, content_type="text/x-trips")
    found = bucket.get_blob(blob.name)
    assert found.download_as_bytes() == content
    assert (found.size, found.content_type, found.metageneration) == (size, "text/x-trips", 1)
    assert found.metadata == {"sha256": "abc", "service": "yellow"}
    assert found.crc32c == crc32c(content)
    assert found.md5_hash == base64.b64encode(hashlib.md5(content).digest()).decode()  # noqa: S324
    assert found.generation == blob.generation


def test_resumable_uploads_in_chunks_from_a_file(bucket: storage.Bucket, tmp_path: Path) -> None:
    content = os.urandom(MB) * 5 + b"end"
    (tmp_path / "file").write_bytes(content)
    blob = bucket.blob("chunks", chunk_size=MB)
    blob.upload_from_filename(tmp_path / "file", checksum="crc32c")
    assert blob.download_as_bytes(checksum="crc32c") == content


def test_a_300_mb_upload_takes_seconds_and_little_memory(
    bucket: storage.Bucket, google_server: GoogleServer, tmp_path: Path
) -> None:
    block = os.urandom(MB)
    with (tmp_path / "big").open("wb") as file:
        for _ in range(300):
            file.write(block)
    began = time.monotonic()
    bucket.blob("big").upload_from_filename(tmp_path / "big")
    assert time.monotonic() - began < 20
    assert psutil.Process(google_server.gcs_pid).memory_info().rss < 150 * MB
    with pafs.GcsFileSystem().open_input_file(f"{bucket.name}/big") as file:
        assert file.read_at(100, 299 * MB) == block[:100]


@pytest.mark.parametrize(
    ("start", "end", "expected"), [(0, 0, b"0"), (3, 5, b"345"), (7, None, b"789"), (8, 99, b"89"), (-3, None, b"789")]
)
def test_ranges(bucket: storage.Bucket, start: int, end: int | None, expected: bytes) -> None:
    blob = bucket.blob("digits")
    blob.upload_from_string(b"0123456789")
    assert blob.download_as_bytes(start=start, end=end) == expected


def test_a_range_behind_the_end_is_416(bucket: storage.Bucket, google_server: GoogleServer) -> None:
    bucket.blob("digits").upload_from_string(b"0123456789")
    path = f"/storage/v1/b/{bucket.name}/o/digits?alt=media"
    status, headers, _ = ask(google_server.gcs_port, "GET", path, Range="bytes=10-12")
    assert (status, headers["content-range"]) == (416, "bytes */10")


def test_preconditions_hold_for_every_change(bucket: storage.Bucket) -> None:
    blob = bucket.blob("guarded")
    blob.upload_from_string(b"first", if_generation_match=0)
    first = blob.generation
    with pytest.raises(PreconditionFailed):
        bucket.blob("guarded").upload_from_string(b"second", if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        bucket.blob("guarded").upload_from_string(b"x" * 9_000_000, if_generation_match=first + 1)
    with pytest.raises(PreconditionFailed):
        blob.delete(if_generation_match=first + 1)
    with pytest.raises(PreconditionFailed):
        bucket.copy_blob(blob, bucket, "copy", if_source_generation_match=first + 1)
    with pytest.raises(PreconditionFailed):
        blob.patch(if_metageneration_match=7)
    assert blob.download_as_bytes(if_generation_match=first) == b"first"
    assert names(bucket) == ["guarded"]
    bucket.blob("guarded").upload_from_string(b"third", if_generation_match=first)
    with pytest.raises(NotFound):
        bucket.blob("guarded", generation=first).download_as_bytes()
    latest = bucket.get_blob("guarded")
    assert latest.generation > first
    latest.delete(if_generation_match=latest.generation)
    assert not bucket.blob("guarded").exists()


def test_of_writers_at_once_one_wins(bucket: storage.Bucket) -> None:
    def write(number: int) -> bool:
        try:
            bucket.blob("race").upload_from_string(str(number) * 100_000, if_generation_match=0)
        except PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(8)))
    assert won.count(True) == 1
    assert bucket.blob("race").download_as_bytes() == str(won.index(True)).encode() * 100_000


def test_lists_by_prefix_delimiter_glob_and_page(bucket: storage.Bucket) -> None:
    for name in ("a/1.parquet", "a/2.parquet", "a/b/3.parquet", "a/b/c/4.csv", "d.parquet"):
        bucket.blob(name).upload_from_string(b"")
    assert names(bucket, prefix="a/") == ["a/1.parquet", "a/2.parquet", "a/b/3.parquet", "a/b/c/4.csv"]
    assert names(bucket, match_glob="a/*.parquet") == ["a/1.parquet", "a/2.parquet"]
    assert names(bucket, match_glob="**/*.parquet") == ["a/1.parquet", "a/2.parquet", "a/b/3.parquet", "d.parquet"]
    assert names(bucket, start_offset="a/2", end_offset="a/b/c") == ["a/2.parquet", "a/b/3.parquet"]
    assert names(bucket, max_results=2) == ["a/1.parquet", "a/2.parquet"]
    listed = bucket.list_blobs(prefix="a/", delimiter="/", page_size=2)
    pages = [[blob.name for blob in page] for page in listed.pages]
    assert pages == [["a/1.parquet", "a/2.parquet"], []]
    assert listed.prefixes == {"a/b/"}


def test_copies_keep_content_and_what_is_said_of_it(bucket: storage.Bucket) -> None:
    blob = bucket.blob("from")
    blob.metadata = {"k": "v"}
    blob.upload_from_string(b"content", content_type="text/x")
    copied = bucket.copy_blob(blob, bucket, "folder/copied")
    rewritten = bucket.blob("folder/rewritten")
    assert rewritten.rewrite(blob) == (None, 7, 7)
    composed = bucket.blob("composed")
    composed.compose([blob, copied])
    assert composed.download_as_bytes() == b"contentcontent"
    for other in (copied, rewritten):
        other.reload()
        assert other.download_as_bytes() == b"content"
        assert (other.metadata, other.content_type, other.crc32c) == ({"k": "v"}, "text/x", blob.crc32c)
        assert other.generation > blob.generation
    bucket.rename_blob(copied, "renamed")
    assert names(bucket) == ["composed", "folder/rewritten", "from", "renamed"]


def test_a_patch_changes_only_what_it_names(bucket: storage.Bucket) -> None:
    blob = bucket.blob("patched")
    blob.metadata = {"a": "1", "b": "2"}
    blob.upload_from_string(b"content")
    generation = blob.generation
    blob.metadata = {"a": None, "c": "3"}
    blob.cache_control = "no-store"
    blob.patch()
    blob.reload()
    assert (blob.metadata, blob.cache_control) == ({"b": "2", "c": "3"}, "no-store")
    assert (blob.generation, blob.metageneration) == (generation, 2)


def test_a_batch_deletes(bucket: storage.Bucket) -> None:
    for name in ("a", "b", "c"):
        bucket.blob(name).upload_from_string(b"")
    with bucket.client.batch():
        bucket.blob("a").delete()
        bucket.blob("b").delete()
    assert names(bucket) == ["c"]


def test_markers_folders_and_odd_names_are_objects_like_others(bucket: storage.Bucket) -> None:
    odd = ["dir/", "dir/file", "dir//double", "/slash", "a/../b", "x" * 300]
    for name in odd:
        bucket.blob(name).upload_from_string(name.encode())
    assert sorted(names(bucket)) == sorted(odd)
    assert [bucket.blob(name).download_as_bytes() for name in odd] == [name.encode() for name in odd]
    bucket.blob("gone/deep/file").upload_from_string(b"")
    bucket.blob("gone/deep/file").delete()
    bucket.blob("gone").upload_from_string(b"now an object")
    with pytest.raises(BadRequest):
        bucket.blob("gone/deep").upload_from_string(b"an object cannot be a folder too")


def test_what_is_missing_is_404_and_nonsense_400(bucket: storage.Bucket, google_server: GoogleServer) -> None:
    with pytest.raises(NotFound, match="No such object"):
        bucket.blob("absent").download_as_bytes()
    with pytest.raises(NotFound):
        bucket.blob("absent").delete()
    with pytest.raises(NotFound, match="bucket does not exist"):
        bucket.client.bucket("absent").blob("x").upload_from_string(b"x")
    with pytest.raises(NotFound):
        list(bucket.client.list_blobs("absent"))
    assert not bucket.client.bucket("absent").exists()
    upload = f"/upload/storage/v1/b/{bucket.name}/o?uploadType="
    asked = [
        ("POST", f"{upload}media", b"content"),  # without a name
        ("POST", f"{upload}telepathy&name=x", b"content"),
        ("POST", f"{upload}multipart&name=x", b"no parts"),
        ("POST", "/storage/v1/b", b"{no json"),
        ("GET", f"/storage/v1/b/{bucket.name}/o?maxResults=many", b""),
    ]
    assert [ask(google_server.gcs_port, *request)[0] for request in asked] == [400] * len(asked)


def test_content_that_is_not_what_was_announced_is_refused(bucket: storage.Bucket, google_server: GoogleServer) -> None:
    bucket.blob("checked").upload_from_string(b"old")
    path = f"/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name=checked"
    status, _, body = ask(google_server.gcs_port, "POST", path, b"new", X_Goog_Hash=f"crc32c={crc32c(b'other')}")
    assert status == 400
    assert b"announced" in body
    assert bucket.blob("checked").download_as_bytes() == b"old"


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_cut_in_the_middle_leaves_the_old_object(
    bucket: storage.Bucket, google_server: GoogleServer, chunked: bool
) -> None:
    bucket.blob("cut").upload_from_string(b"old")
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 2000000"
    start = b"100000\r\n" if chunked else b""
    path = f"/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name=cut".encode()
    with socket.create_connection(("127.0.0.1", google_server.gcs_port)) as connection:
        connection.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n\r\n" + start + b"n" * MB)
    time.sleep(0.2)
    assert bucket.blob("cut").download_as_bytes() == b"old"
    assert names(bucket) == ["cut"]


def test_a_resumable_upload_goes_on_where_it_was_cut(bucket: storage.Bucket, google_server: GoogleServer) -> None:
    port, content = google_server.gcs_port, os.urandom(2 * MB)
    begin = f"/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable&name=resumed"
    status, headers, _ = ask(port, "POST", begin, b"{}")
    assert status == 200
    path = headers["location"].split(str(port), 1)[1]
    status, headers, _ = ask(port, "PUT", path, Content_Range="bytes */*")
    assert (status, "range" in headers) == (308, False)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        span = f"Content-Length: {2 * MB}\r\nContent-Range: bytes 0-{2 * MB - 1}/{2 * MB}"
        head = f"PUT {path} HTTP/1.1\r\nHost: x\r\n{span}\r\n\r\n"
        connection.sendall(head.encode() + content[:MB])
    for _ in range(100):
        status, headers, _ = ask(port, "PUT", path, Content_Range=f"bytes */{2 * MB}")
        if "range" in headers:
            break
    assert status == 308
    came = int(headers["range"].split("-")[1]) + 1
    assert 0 < came <= MB
    assert not bucket.blob("resumed").exists()
    again = came - 1000  # what the server has already is sent once more
    span = f"bytes {again}-{2 * MB - 1}/{2 * MB}"
    assert ask(port, "PUT", path, content[again:], Content_Range=span)[0] == 200
    assert bucket.blob("resumed").download_as_bytes() == content


def test_a_cancelled_upload_is_over(bucket: storage.Bucket, google_server: GoogleServer) -> None:
    begin = f"/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable&name=never"
    _, headers, _ = ask(google_server.gcs_port, "POST", begin, b"{}")
    path = headers["location"].split(str(google_server.gcs_port), 1)[1]
    assert ask(google_server.gcs_port, "DELETE", path)[0] == 499
    assert ask(google_server.gcs_port, "PUT", path, b"late", Content_Range="bytes 0-3/4")[0] == 404


def test_a_slow_upload_keeps_nobody_waiting(bucket: storage.Bucket, google_server: GoogleServer) -> None:
    path = f"/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name=slow".encode()
    with socket.create_connection(("127.0.0.1", google_server.gcs_port)) as connection:
        connection.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        began = time.monotonic()
        bucket.blob("fast").upload_from_string(b"done")
        assert bucket.blob("fast").download_as_bytes() == b"done"
        assert time.monotonic() - began < 2
        connection.sendall(b"67890")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    assert bucket.blob("slow").download_as_bytes() == b"1234567890"


def test_pyarrow_writes_lists_reads_and_deletes(bucket: storage.Bucket) -> None:
    files, root = pafs.GcsFileSystem(), f"{bucket.name}/arrow"
    content = os.urandom(MB) * 20
    with files.open_output_stream(f"{root}/big") as stream:
        stream.write(content)
    with files.open_output_stream(f"{root}/empty"):
        pass
    assert bucket.blob("arrow/big").download_as_bytes() == content
    found = {info.base_name: info.size for info in files.get_file_info(pafs.FileSelector(root))}
    assert found == {"big": 20 * MB, "empty": 0}
    with files.open_input_file(f"{root}/big") as file, ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda number: file.read_at(1000, number * MB), range(20)))
    assert parts == [content[:1000]] * 20
    files.delete_file(f"{root}/empty")
    files.copy_file(f"{root}/big", f"{root}/copy")
    assert names(bucket) == ["arrow/big", "arrow/copy"]


def test_a_year_of_objects_makes_no_change_slow(tmp_path: Path) -> None:
    """Thousands of objects, put there as the journal has them: a write must not rewrite them all."""
    data = tmp_path / "gcs"
    server = google.start(tmp_path)
    try:
        first = {"name": "seed", "generation": "1", "metageneration": "1", "size": "0", "etag": "x"}
        google.stop(tmp_path)
        folder = data / ".cloudstorage" / server.bucket / "many"
        folder.mkdir()
        with (data / "objects.jsonl").open("a") as journal:
            for number in range(3_000):
                file = folder / str(number)
                file.touch()
                os.utime(file, ns=(1000, 1000))
                journal.write(json.dumps([server.bucket, f"many/{number}", first | {"name": f"many/{number}"}]) + "\n")
        began = time.monotonic()
        server = google.start(tmp_path)
        assert time.monotonic() - began < 15
        port, upload = server.gcs_port, f"/upload/storage/v1/b/{server.bucket}/o?uploadType=media&name="
        status, _, body = ask(port, "GET", f"/storage/v1/b/{server.bucket}/o")
        assert (status, len(json.loads(body)["items"])) == (200, 1000)
        began = time.monotonic()
        for number in range(20):
            assert ask(port, "POST", f"{upload}{number}", b"x")[0] == 200
        assert time.monotonic() - began < 2
    finally:
        google.stop(tmp_path)


def test_sigkill_in_the_middle_of_uploads_leaves_every_object_whole(tmp_path: Path) -> None:
    server = google.start(tmp_path)
    upload = f"/upload/storage/v1/b/{server.bucket}/o?uploadType=media&name="
    stopped = threading.Event()
    answered: dict[str, int] = {}

    def write(name: str) -> None:
        for number in range(10_000):
            if stopped.is_set():
                return
            try:
                assert ask(server.gcs_port, "POST", upload + quote(name), bytes([number % 250]) * MB)[0] == 200
            except (OSError, http.client.HTTPException):
                return
            answered[name] = number

    try:
        with ThreadPoolExecutor(4) as pool:
            writers = [pool.submit(write, name) for name in "abcd"]
            assert wait_until(lambda: len(answered) == 4 and min(answered.values()) >= 3, 60)
            os.kill(server.gcs_pid, signal.SIGKILL)
            for writer in writers:
                writer.result()
            stopped.set()
        server = google.start(tmp_path)
        assert list((tmp_path / "gcs" / "arriving").iterdir()) == []
        for name, number in answered.items():
            _, _, said = ask(server.gcs_port, "GET", f"/storage/v1/b/{server.bucket}/o/{name}")
            _, _, content = ask(server.gcs_port, "GET", f"/storage/v1/b/{server.bucket}/o/{name}?alt=media")
            assert content in (bytes([number % 250]) * MB, bytes([(number + 1) % 250]) * MB)
            assert json.loads(said)["crc32c"] == crc32c(content)
    finally:
        stopped.set()
        google.stop(tmp_path)
