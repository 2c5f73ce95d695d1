"""An origin that lies: one version's rows under that version's name or an error in a line, and no lie outlasts it."""

import gzip
import hashlib
import io
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from nyc_taxi.errors import LONGEST_LINE, TaxiError
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.manifest import StagedFile
from nyc_taxi.run import RunContext
from nyc_taxi.settings import Settings
from pyarrow import csv

from tests.conftest import run_of
from tests.nyc_taxi.extract.bad_server import Answer, BadServer

SEED = 20261129
SHORT, LONG = pytest.param(5, id="short"), pytest.param(50, id="long", marks=pytest.mark.chaos)
SIZES = (2_000, 2_100, 2_200)


@dataclass(frozen=True)
class Version:
    """The month as it was published once: its amount is in each of its rows, and in none of another version."""

    amount: float
    rows: int
    body: bytes

    @classmethod
    def made(cls, number: int, rows: int, origin: str) -> "Version":
        """Nothing is packed, so that two versions of so many rows have the same size and could be spliced."""
        amount = 1_000.25 + number
        pickups = pa.array([datetime(2021, 1, 1 + row % 28) for row in range(rows)], pa.timestamp("s"))
        table = pa.table({"tpep_pickup_datetime": pickups, "total_amount": [amount] * rows})
        out = io.BytesIO()
        if origin == "tlc":
            pq.write_table(table, out, compression="none", use_dictionary=False, write_statistics=False)
            return cls(amount, rows, out.getvalue())
        csv.write_csv(table, out)
        return cls(amount, rows, gzip.compress(out.getvalue(), 0, mtime=0))

    @property
    def etag(self) -> str:
        """Its name."""
        return f'"{self.amount}"'

    @property
    def sha256(self) -> str:
        """Of the file as published."""
        return hashlib.sha256(self.body).hexdigest()

    def answer(self, **faults: object) -> Answer:
        """The honest answer, but for the faults."""
        return replace(Answer(200, self.body, {"ETag": self.etag}, ranged=True), **faults)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Moment:
    """What there is when the origin lies: the version before, the one of now, and one of the same size."""

    old: Version
    new: Version
    twin: Version
    choose: random.Random

    @property
    def other(self) -> Version:
        """Either that is not the one of now."""
        return self.choose.choice([self.old, self.twin])

    def somewhere(self) -> int:
        """Within the file of now, and within either of the others."""
        return self.choose.randrange(100, min(len(self.old.body), len(self.new.body)) - 100)

    def named(self, version: Version) -> Answer:
        """Another version's bytes under the name of the one of now."""
        return version.answer(headers={"ETag": self.new.etag})


Told = tuple[list[Answer], list[Answer]]
"""The answers to HEAD and to GET; the last ones again and again."""


def another_etag_in_get(at: Moment) -> Told:
    return [at.new.answer()], [at.other.answer()]


def no_etag_in_get(at: Moment) -> Told:
    return [at.new.answer()], [at.twin.answer(headers={}, cut=at.choose.choice([None, at.somewhere()]))]


def edges_that_disagree(at: Moment) -> Told:
    heads, gets = ([at.choose.choice([at.old, at.new, at.twin]).answer() for _ in range(9)] for _ in range(2))
    return heads, gets


def old_bytes_under_the_new_etag(at: Moment) -> Told:
    """Of another size: of the same one, nobody could tell."""
    chunk, announced = at.choose.choice([(0, None), (5_000, None), (0, -1)])
    return [at.new.answer()], [replace(at.named(at.old), ranged=False, chunked=chunk, announced=announced)]


def cut_bodies(at: Moment) -> Told:
    return [at.new.answer()], [at.new.answer(cut=at.somewhere(), ranged=False)]


def a_part_of_another_version(at: Moment) -> Told:
    second = at.choose.choice([at.other.answer(), at.twin.answer(headers={}), at.named(at.old)])
    return [at.new.answer()], [at.new.answer(cut=at.somewhere()), second]


def a_wrong_length(at: Moment) -> Told:
    wrong = at.choose.choice([len(at.new.body) - 50, len(at.new.body) + 50, 0])
    lie = at.new.answer(announced=wrong)
    return at.choose.choice([([lie], [at.new.answer()]), ([at.new.answer()], [lie]), ([lie], [lie])])


def a_body_called_packed(at: Moment) -> Told:
    headers = {"ETag": at.new.etag, "Content-Encoding": "gzip"}
    body = at.choose.choice([at.new.body, gzip.compress(at.new.body)])
    return [at.new.answer()], [Answer(200, body, headers)]


def busy(at: Moment) -> Told:
    bad = at.choose.choice([Answer(503, b"busy"), Answer(429, b"", {"Retry-After": "0"})])
    times = at.choose.choice([1, 3, 9])
    return [bad, at.new.answer()], [*[bad] * times, at.new.answer()]


def forbidden_once(at: Moment) -> Told:
    no = Answer(403, b"<?xml")
    return [no, at.new.answer()], [no, at.new.answer()]


def lines_that_break(at: Moment) -> Told:
    return [at.new.answer()], [at.new.answer(cut=len(at.new.body) // at.choose.choice([3, 4, 9]) + 1)]


LIES: tuple[Callable[[Moment], Told], ...] = (
    another_etag_in_get,
    no_etag_in_get,
    edges_that_disagree,
    old_bytes_under_the_new_etag,
    cut_bodies,
    a_part_of_another_version,
    a_wrong_length,
    a_body_called_packed,
    busy,
    forbidden_once,
    lines_that_break,
)


def told(server: BadServer, heads: list[Answer], gets: list[Answer]) -> None:
    """Let it answer so from now on."""
    server.answers = {"HEAD": list(heads), "GET": list(gets)}


def staged(run: RunContext) -> StagedFile:
    [file] = stage_trip_file(run).files
    return file


def is_of(file: StagedFile, versions: list[Version]) -> Version:
    """The one version whose rows it holds, all of them; fails for rows of two, or under another's name."""
    [version] = [each for each in versions if each.sha256 == file.sha256]
    assert file.etag in (version.etag, "")
    amounts = pa.chunked_array([batch["total_amount"] for batch in file.batches()])
    assert (len(amounts), pc.unique(amounts).to_pylist()) == (version.rows, [version.amount])
    return version


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are not waited for."""
    for module in ("http", "staging"):
        monkeypatch.setattr(f"nyc_taxi.extract.{module}.sleep", lambda _: None)


@pytest.mark.parametrize("lies", [SHORT, LONG])
def test_after_each_lie_a_whole_version_is_staged_or_none_and_honesty_brings_the_new_one(
    lies: int, no_waits: None, tmp_path: Path
) -> None:
    choose, refused = random.Random(SEED), list[str]()
    with BadServer([Answer()]) as server:
        settings = replace(
            Settings.from_environment({}),
            base_urls={"dtc": server.url, "tlc": server.url},
            staging_dir=tmp_path / "staging",
        )
        runs = {origin: run_of(settings, "yellow", "2021-01", origin) for origin in ("dtc", "tlc")}
        now = {origin: Version.made(0, SIZES[0], origin) for origin in runs}
        for origin, run in runs.items():
            told(server, [now[origin].answer()], [now[origin].answer()])
            assert is_of(staged(run), [now[origin]])
        kinds: list[Callable[[Moment], Told]] = []
        for number in range(1, lies + 1):
            kinds = kinds or choose.sample(LIES, len(LIES))
            lie, origin = kinds.pop(), choose.choice(list(runs))
            rows = choose.choice([size for size in SIZES if size != now[origin].rows])
            new, twin = (Version.made(each, rows, origin) for each in (2 * number, 2 * number + 1))
            assert len(new.body) == len(twin.body)
            told(server, *lie(Moment(now[origin], new, twin, choose)))
            try:
                file = staged(runs[origin])
            except TaxiError as error:
                refused.append(str(error))
            else:
                is_of(file, [now[origin], new, twin])
            told(server, [new.answer()], [new.answer()])
            assert is_of(staged(runs[origin]), [new]), lie.__name__
            now[origin] = new
            folder = settings.staging_dir / origin / "yellow"
            assert not [path.name for path in folder.rglob("*") if path.is_file() and ".part" in path.name]
    assert not [message for message in refused if len(message.splitlines()) > 1 or len(message) > LONGEST_LINE]
    print(f"{lies} lies: {len(refused)} refused, the others seen through; each time the next run had the new version")
