"""Writers of a month that die, lose their line, or work at the same time."""

import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from google.cloud.storage import blob as google_blob
from nyc_taxi.catalog.services import YELLOW
from nyc_taxi.errors import TargetUnavailable
from nyc_taxi.load.bucket import objects
from nyc_taxi.load.bucket.month import (
    check_month,
    find_month,
    measure_month,
    replace_month,
)
from nyc_taxi.manifest import StagedFile
from nyc_taxi.settings import GoogleSettings

from tests.nyc_taxi.load.bucket.bucket_helpers import (
    JANUARY,
    KEPT,
    DoomedStore,
    Line,
    Months,
    generations,
    objects_in,
    read,
    start_run,
)
from tests.nyc_taxi.load.loading import in_one_instant


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> int:
    """Uploads in pieces of 256 KiB, the least that the service allows, whatever the size of the whole."""
    monkeypatch.setattr(objects, "CHUNK_BYTES", 256 << 10)
    monkeypatch.setattr(google_blob, "_MAX_MULTIPART_SIZE", 0)
    return 256 << 10


def test_a_writer_killed_in_the_middle_of_an_upload_leaves_the_old_month_and_the_next_run_heals_it(
    google: GoogleSettings, months: Months, tmp_path: Path
) -> None:
    old = months.judged("yellow", "2021-01", "dtc", 500)
    new = months.judged("yellow", "2021-01", "tlc", 400_000, rules="none")
    replace_month(old, google)
    before = generations(google)
    with Line(google.storage_emulator, hold_after=9_000_000) as line:
        process = start_run(new, line.of(google), "month", tmp_path)
        try:
            assert line.held.wait(30), process.communicate(timeout=5)[0] if process.poll() is not None else "no upload"
            process.send_signal(signal.SIGKILL)
            assert process.wait(10) == -signal.SIGKILL
        finally:
            process.kill()
            process.communicate(timeout=10)
        assert b"uploadType=resumable" in line.asked
    time.sleep(0.3)  # for the service to make of the rest what it will
    assert generations(google) == before
    check_month(old, google)
    replace_month(new, google)
    assert find_month(YELLOW, JANUARY, google).rows_accepted == 400_000
    [(size, _)] = objects_in(google).values()
    assert size > 9_000_000


def test_an_upload_whose_line_drops_goes_on_where_it_was(
    google: GoogleSettings, months: Months, in_pieces: int
) -> None:
    file = months.judged("yellow", "2021-01", "tlc", 60_000, rules="none")
    replace_month(file, google)
    expected = objects_in(google)
    [(size, _)] = expected.values()
    assert size > 5 * in_pieces
    with Line(google.storage_emulator, cuts=(2 * in_pieces, 4 * in_pieces)) as line:
        replace_month(file, line.of(google))
        assert line.cuts == []
        # Each cut repeats one piece at most, not the whole.
        assert size < line.up < size + 2 * in_pieces + 20_000
    assert objects_in(google) == expected


def test_a_line_that_stays_dead_ends_within_the_retry_time_and_leaves_the_old_month(
    google: GoogleSettings, months: Months, impatient: float
) -> None:
    old = months.judged("yellow", "2021-01", "dtc", 500)
    new = months.judged("yellow", "2021-01", "dtc", 2_000, malformed=3)
    replace_month(old, google)
    before = generations(google)
    with Line(google.storage_emulator, break_after=20_000) as line:
        began = time.monotonic()
        with pytest.raises(TargetUnavailable) as failed:
            replace_month(new, line.of(google))
        assert time.monotonic() - began < 3 * impatient
        assert line.broken
    assert str(failed.value).startswith(f"gs://{google.bucket}/{KEPT}: it does not answer: check the network, or start")
    assert {name: generations(google)[name] for name in before} == before
    check_month(old, google)
    replace_month(new, google)
    check_month(new, google)


def test_a_store_that_dies_in_the_middle_is_named_and_comes_back_with_the_old_month(
    months: Months, tmp_path: Path, impatient: float
) -> None:
    old = months.judged("yellow", "2021-01", "dtc", 500)
    new = months.judged("yellow", "2021-01", "tlc", 60_000)
    with DoomedStore(tmp_path / "doomed") as store:
        doomed = store.settings
        replace_month(old, doomed)
        before = generations(doomed)
        with Line(doomed.storage_emulator, hold_after=500_000) as line:

            def kill() -> None:
                line.held.wait(20)
                store.kill()
                line.release.set()

            killer = threading.Thread(target=kill)
            killer.start()
            with pytest.raises(TargetUnavailable, match=r"it does not answer: .* run again"):
                replace_month(new, line.of(doomed))
            killer.join()
        for ask in (find_month, measure_month):
            began = time.monotonic()
            with pytest.raises(TargetUnavailable, match=r"start the emulators \(taxi up\), and run again"):
                ask(YELLOW, JANUARY, doomed)
            assert time.monotonic() - began < 3 * impatient
        assert store.start().storage_emulator == doomed.storage_emulator
        assert generations(doomed)[KEPT] == before[KEPT]
        check_month(old, doomed)
        replace_month(new, doomed)
        check_month(new, doomed)


def test_two_writers_at_once_leave_one_whole_month(google: GoogleSettings, months: Months) -> None:
    two = [months.judged("yellow", "2021-01", "dtc", 2_000, rules=rules) for rules in ("none", "has_passengers")]

    def write(file: StagedFile) -> None:
        for _ in range(5):
            replace_month(file, google)

    in_one_instant([partial(write, file) for file in two])
    found = find_month(YELLOW, JANUARY, google)
    assert found.rules in {(), ("has_passengers",)}
    assert read(google, KEPT).num_rows == found.rows_accepted
