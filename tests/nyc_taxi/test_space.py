"""A staging folder that is small: which months go, which never, and who waits."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from nyc_taxi import space
from nyc_taxi.errors import StorageFull
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.months import Month, month_range
from nyc_taxi.operate.many_months import load_month
from nyc_taxi.operate.retention import cutoff, most_staged, remove_staged_files
from nyc_taxi.settings import Settings
from nyc_taxi.space import QUIET, Files, in_use, remove_least_used, room_for, staged_months

from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from ops.wait import wait_until
from tests.conftest import run_of, sql

MB = 1_000_000
HOLD = """
import sys
from pathlib import Path
from nyc_taxi.space import in_use
with in_use(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


def staged(folder: Path, month: str, minutes_ago: float, size: int = MB) -> Path:
    """A month's files, as if they had been staged and read so long ago."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{month}-0123456789ab-v2.parquet"
    moment = time.time() - minutes_ago * 60
    for each in (path, folder / f"{month}.json", folder / f".{month}.use.lock"):
        each.write_bytes(b"x" * size if each == path else b"")
        os.utime(each, (moment, moment))
    return path


@contextmanager
def held_by_another_process(folder: Path, month: str) -> Iterator[None]:
    command = [sys.executable, "-c", HOLD, str(folder), month]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield
        process.kill()


def test_the_least_recently_used_months_go_until_the_rest_fits(tmp_path: Path) -> None:
    yellow, green = tmp_path / "dtc" / "yellow", tmp_path / "tlc" / "green"
    files = [staged(yellow, "2021-01", 40), staged(green, "2021-01", 60), staged(yellow, "2021-02", 50)]
    gone = remove_least_used(tmp_path, int(1.5 * MB))
    assert [path.exists() for path in files] == [True, False, False]
    assert [(each.folder, each.month, each.files.bytes) for each in gone] == [
        (green, "2021-01", MB),
        (yellow, "2021-02", MB),
    ]


def test_a_month_that_another_process_reads_stays_however_old_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "dtc" / "yellow"
    read, other = staged(folder, "2021-01", 600), staged(folder, "2021-02", 500)
    with held_by_another_process(folder, "2021-01"):
        os.utime(folder / ".2021-01.use.lock", (0, 0))
        remove_least_used(tmp_path, 0)
        assert (read.exists(), other.exists()) == (True, False)
    os.utime(folder / ".2021-01.use.lock", (0, 0))
    remove_least_used(tmp_path, 0)
    assert not read.exists(), "whoever was killed reads no more"


def test_between_two_blocks_of_a_run_a_month_stays(tmp_path: Path) -> None:
    folder = tmp_path / "dtc" / "yellow"
    path = staged(folder, "2021-01", QUIET / 60 - 1)
    remove_least_used(tmp_path, 0)
    assert path.exists()
    staged(folder, "2021-01", QUIET / 60 + 1)
    remove_least_used(tmp_path, 0)
    assert not path.exists()


def test_who_is_done_with_a_month_lets_it_go_unless_another_run_needs_it(tmp_path: Path) -> None:
    folder = tmp_path / "dtc" / "yellow"
    for minutes, stays in ((60, False), (1, True)):
        path = staged(folder, "2021-01", minutes)
        with in_use(folder, "2021-01", then_done=True), in_use(folder, "2021-01"):
            remove_least_used(tmp_path, 0)
            assert path.exists()
        remove_least_used(tmp_path, 0)
        assert path.exists() == stays


def test_a_month_waits_for_the_room_that_others_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "LOOK_AGAIN", 0.05)
    folder = tmp_path / "dtc" / "yellow"
    path = staged(folder, "2021-01", 60)

    def room() -> list[str]:
        with room_for(folder / "2021-02.json", tmp_path, 2 * MB, int(1.5 * MB)):
            return [each.month for each in staged_months(tmp_path)]

    with ThreadPoolExecutor() as beside, in_use(folder, "2021-01", then_done=True):
        waiting = beside.submit(room)
        assert not wait_until(waiting.done, 0.5, 0.05)
        assert path.exists()
        monkeypatch.setattr(space, "LONGEST_WAIT", 0)
        with pytest.raises(StorageFull, match=r"yellow/2021-02: no room for 2 MB .* raise STAGING_MAX_GB, or load"):
            waiting.result(10)
    monkeypatch.setattr(space, "LONGEST_WAIT", 10)
    assert room() == ["2021-02"], "what is kept for it, and no longer January"
    assert staged_months(tmp_path) == []


def test_two_months_that_fit_only_one_after_the_other_are_not_staged_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "LOOK_AGAIN", 0.01)
    folder = tmp_path / "dtc" / "yellow"
    folder.mkdir(parents=True)
    at_once, most = [0], [0]
    count = threading.Lock()

    def stage(month: str) -> None:
        with in_use(folder, month, then_done=True), room_for(folder / f"{month}.json", tmp_path, 10 * MB, 4 * MB):
            with count:
                at_once[0] += 1
                most[0] = max(most[0], at_once[0])
            time.sleep(0.1)
            with count:
                at_once[0] -= 1

    with ThreadPoolExecutor(6) as side_by_side:
        list(side_by_side.map(stage, [f"2021-{number:02}" for number in range(1, 7)]))
    assert most == [2]


def test_a_month_larger_than_the_bound_is_staged_alone(tmp_path: Path) -> None:
    folder = tmp_path / "dtc" / "yellow"
    path = staged(folder, "2021-01", 60)
    with room_for(folder / "2021-02.json", tmp_path, 2 * MB, 9 * MB):
        assert not path.exists()


def test_clean_up_frees_all_that_nobody_needs_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "dtc" / "yellow"
    old, needed = staged(folder, "2021-01", 10), staged(folder, "2021-02", 1)
    settings = Settings.from_environment({"STAGING_MAX_GB": "0.0015"})
    assert [most_staged({"keep_gb": text}, settings) for text in ("", 0, "1.5")] == [1_500_000, 0, 1_500_000_000]
    assert most_staged({}, Settings.from_environment({})) is None
    cleaned = remove_staged_files(tmp_path, cutoff({"keep_days": 30}), 0)
    assert (cleaned.there, cleaned.removed, cleaned.bytes_freed) == (2, 1, MB)
    assert (old.exists(), needed.exists()) == (False, True)


@pytest.fixture
def disk_of_60_mb(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.name != "posix" or os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root can mount a small disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("bound", [0, 40 * MB], ids=["the disk's own size", "STAGING_MAX_GB"])
def test_two_years_of_months_pass_through_a_disk_of_60_mb(
    bound: int, disk_of_60_mb: Path, settings: Settings, trips: TripServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "LOOK_AGAIN", 0.1)
    settings = replace(settings, staging_dir=disk_of_60_mb / "staging", staging_most=bound)
    months = [str(month) for month in month_range(Month.parse("2023-01"), Month.parse("2024-12"))]
    rows = 100_000
    for month in months:
        generate("yellow", month, "tlc", rows, trips.folder)
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            used = sum(path.stat().st_blocks * 512 for path in disk_of_60_mb.rglob("*") if path.exists())
            most[0] = max(most[0], used)

    with ThreadPoolExecutor(3) as threads:
        watching = threads.submit(watch)
        try:
            loaded = list(threads.map(lambda month: load_month(run_of(settings, "yellow", month, "tlc")), months))
        finally:
            done.set()
        watching.result()
    assert len(loaded) == 24
    assert {each.rows_read for each in loaded} == {rows}
    [(kept,)] = sql(settings.postgres, "SELECT count(*) FROM ny_taxi.yellow_cab_data")
    assert kept == sum(each.rows_accepted for each in loaded)
    assert 20 * MB < most[0] <= (bound or 60 << 20)
    sizes = [each.files.bytes for each in staged_months(settings.staging_dir)]
    assert 0 < len(sizes) < 24, "the latest are still there"
    assert Files([settings.staging_dir]).bytes <= (bound or 60 << 20)
    assert sum(sizes) / len(sizes) * 24 > 60 << 20, "all of them would not have fitted"

    again = stage_trip_file(run_of(settings, "yellow", months[0], "tlc"))
    assert again.files[0].rows_read == rows, "a month that went is fetched anew"
