"""What a crash of the machine leaves in the staging folder is noticed, said in a line, and made anew."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nyc_taxi.errors import DownloadFailed, NotATripFile
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.manifest import Manifest, StagedFile
from nyc_taxi.run import RunContext
from nyc_taxi.settings import Settings
from nyc_taxi.transform.rules import apply_rules, malformed

from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.conftest import run_of, settings_for
from tests.nyc_taxi.extract.bad_server import Answer, BadServer
from tests.nyc_taxi.extract.downloading import ETAG, fetch, run_at

ROWS, MALFORMED = 4_000, 6


@pytest.fixture
def run(trips: TripServer, tmp_path: Path) -> RunContext:
    """A run of a month that has malformed rows."""
    generate("yellow", "2021-01", "dtc", ROWS, trips.folder, malformed=MALFORMED)
    return run_of(settings_for(Settings.from_environment({}).postgres, trips, tmp_path), "yellow", "2021-01", "dtc")


def stage(run: RunContext) -> StagedFile:
    [file] = stage_trip_file(run).files
    return file


def gets(trips: TripServer) -> int:
    return sum(method == "GET" for method, _, _ in trips.requests)


def read_back(file: StagedFile) -> tuple[int, int]:
    """Rows of the staged file and of its malformed rows."""
    return sum(map(len, file.batches())), sum(map(len, malformed(file)))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero(path: Path) -> None:
    """As a disk gives back what it never wrote: the right size, and nothing in it."""
    path.write_bytes(bytes(path.stat().st_size))


def lose_a_row(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)


@pytest.mark.parametrize("file", ["path", "malformed_path"])
@pytest.mark.parametrize("damage", [empty, cut, zero, lose_a_row, Path.unlink])
def test_a_staged_file_that_a_crash_left_otherwise_is_said_and_made_anew(
    damage: Callable[[Path], None], file: str, run: RunContext, trips: TripServer, capsys: pytest.CaptureFixture[str]
) -> None:
    first = stage(run)
    path = Path(getattr(first, file))
    damage(path)
    capsys.readouterr()
    assert stage(run) == first
    said = [line for line in capsys.readouterr().out.splitlines() if line.endswith(": it is made anew")]
    assert len(said) == 1
    assert said[0].startswith(str(path)[:60])
    assert (read_back(first), gets(trips)) == ((ROWS - MALFORMED, MALFORMED), 2)
    assert stage(run) == first
    assert gets(trips) == 2


def test_rows_that_the_note_does_not_have_are_noticed_in_a_file_of_the_right_size(
    run: RunContext, trips: TripServer, capsys: pytest.CaptureFixture[str]
) -> None:
    first = stage(run)
    lose_a_row(Path(first.path))
    note = json.loads(first.note.read_text())
    note["sizes"][Path(first.path).name] = Path(first.path).stat().st_size
    first.note.write_text(json.dumps(note))
    capsys.readouterr()
    assert stage(run) == first
    assert "has 3,993 rows, its note says 3,994: it is made anew\n" in capsys.readouterr().out


def damage_a_page(path: Path) -> None:
    """One of the distances, so that size and footer stay as they were."""
    content, group = bytearray(path.read_bytes()), pq.read_metadata(path).row_group(0)
    [column] = [each for each in map(group.column, range(group.num_columns)) if each.path_in_schema == "trip_distance"]
    start = column.data_page_offset
    content[start : start + 2_000] = bytes(2_000)
    path.write_bytes(content)


READERS: dict[str, Callable[[StagedFile], Any]] = {
    "all its rows": lambda file: list(file.batches()),
    "the rules": lambda file: apply_rules(Manifest((file,)), ("positive_distance",)),
}


@pytest.mark.parametrize("read", READERS.values(), ids=list(READERS))
def test_a_damaged_page_is_said_by_who_reads_it_and_the_next_run_makes_the_file_anew(
    read: Callable[[StagedFile], Any], run: RunContext, trips: TripServer, capsys: pytest.CaptureFixture[str]
) -> None:
    file = stage(run)
    damage_a_page(Path(file.path))
    assert stage(run) == file  # neither its size nor its footer tells
    with pytest.raises(NotATripFile, match=r"^staged file .* is damaged \(.+\): run load_api_data again") as refused:
        read(file)
    assert len(str(refused.value)) <= 300
    capsys.readouterr()
    assert stage(run) == file
    assert f"{Path(file.path).name} has no note that vouches for it: it is made anew\n" in capsys.readouterr().out
    assert (read_back(file), gets(trips)) == ((ROWS - MALFORMED, MALFORMED), 2)


def test_damaged_malformed_rows_are_said_by_who_reads_them(run: RunContext) -> None:
    file = stage(run)
    cut(Path(file.malformed_path))
    with pytest.raises(NotATripFile, match=r"is damaged \(.+\): run load_api_data again"):
        malformed(file)
    assert stage(run) == file
    assert read_back(file) == (ROWS - MALFORMED, MALFORMED)


def test_an_error_of_who_takes_the_rows_is_no_damage(run: RunContext) -> None:
    file = stage(run)

    def take() -> None:
        for _ in file.batches():
            raise pa.ArrowInvalid("of the reader's own")

    with pytest.raises(pa.ArrowInvalid, match="own"):
        take()
    assert file.note.exists()


@pytest.mark.parametrize("crashed", [True, False])
def test_what_a_crash_of_the_machine_left_of_a_download_is_not_continued(
    crashed: bool, parquet: bytes, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot = tmp_path / "boot_id"
    boot.write_text("one\n")
    monkeypatch.setattr("nyc_taxi.extract.download.BOOT", boot)
    monkeypatch.setattr("nyc_taxi.extract.http.ATTEMPTS", 1)
    folder = tmp_path / "downloads"
    with BadServer([Answer(200, parquet, ETAG, cut=5_000), Answer(200, parquet, ETAG, ranged=True)]) as server:
        with pytest.raises(DownloadFailed):
            fetch(run_at(server.url, "tlc"), folder)
        if crashed:
            boot.write_text("two\n")
            [part] = folder.glob("*.part")
            part.write_bytes(parquet[:2_000] + bytes(3_000))
        assert fetch(run_at(server.url, "tlc"), folder).path.read_bytes() == parquet
        assert server.asked[-1].headers.get("Range") == (None if crashed else "bytes=5000-")


def test_a_clock_that_jumps_removes_no_version_that_a_run_may_still_read(
    run: RunContext, trips: TripServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of this machine, not that of the disk: another machine may have written there."""
    first, now = stage(run), time.time
    generate("yellow", "2021-01", "dtc", ROWS + 1, trips.folder)
    monkeypatch.setattr(time, "time", lambda: now() + 3 * 86_400)
    assert stage(run).rows_read == ROWS + 1
    assert read_back(first) == (ROWS - MALFORMED, MALFORMED)


def test_both_files_are_on_the_disk_before_the_note_names_them(
    run: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, os.replace

    def noted_fsync(handle: int) -> None:
        steps.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{handle}')).name}")
        fsync(handle)

    def noted_rename(source: Path, target: Path) -> None:
        steps.append(f"rename {Path(target).name}")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_rename)
    file = stage(run)
    path, other, folder = Path(file.path), Path(file.malformed_path), f"fsync {Path(file.path).parent.name}"
    assert steps[-7:] == [
        f"fsync {other.name}.part",
        f"rename {other.name}",
        folder,
        f"fsync {path.name}.part",
        f"rename {path.name}",
        folder,
        "rename 2021-01.json",
    ]
