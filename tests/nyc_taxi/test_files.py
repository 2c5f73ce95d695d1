"""A file appears whole or not at all, and nothing stays beside it."""

import multiprocessing
import os
from pathlib import Path

import pytest
from nyc_taxi.files import replacing, writing_through


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("locked", [True, False])
def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path: Path, locked: bool) -> None:
    path = tmp_path / "numbers"
    path.write_text("old")
    with replacing(path, locked=locked) as part:
        part.write_text("new")
        assert (path.read_text(), part.parent) == ("old", tmp_path)
    assert (path.read_text(), names(tmp_path)) == ("new", ["numbers"])


@pytest.mark.parametrize("locked", [True, False])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, locked: bool) -> None:
    path = tmp_path / "numbers"
    path.write_text("old")

    def fill_the_disk() -> None:
        with replacing(path, locked=locked) as part:
            part.write_text("half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fill_the_disk()
    assert (path.read_text(), names(tmp_path)) == ("old", ["numbers"])


def test_what_the_disk_cannot_take_beside_the_work_is_raised_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, taken = tmp_path / "numbers", list[int]()
    with writing_through(path) as begin:
        path.write_text("new")
        begin()
        monkeypatch.setattr(os, "fsync", taken.append)
        begin()
    assert len(taken) in (1, 2)

    def full(_: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"), writing_through(path) as begin:
        begin()


def part_of(path: Path, locked: bool) -> str:
    with replacing(path, locked=locked) as part:
        part.touch()
        return part.name


def test_two_processes_write_to_two_names_unless_a_lock_keeps_them_apart(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as other:
        for locked in (True, False):
            theirs = other.apply(part_of, (tmp_path / "numbers", locked))
            assert (theirs == part_of(tmp_path / "numbers", locked)) == locked
