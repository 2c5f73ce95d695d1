"""A month's object and that of its rejected rows are of one version, whatever two runs do to them at once."""

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core.exceptions import NotFound, PreconditionFailed
from nyc_taxi.catalog.services import YELLOW
from nyc_taxi.errors import CountsDisagree, TargetUnavailable
from nyc_taxi.load.bucket import month as bucket_month
from nyc_taxi.load.bucket import objects, pair
from nyc_taxi.load.bucket.month import check_month, find_month, measure_month, replace_month
from nyc_taxi.load.bucket.objects import NewObject
from nyc_taxi.load.bucket.pair import replace_pair
from nyc_taxi.manifest import StagedFile
from nyc_taxi.settings import GoogleSettings

from tests.nyc_taxi.load.bucket.bucket_helpers import (
    JANUARY,
    KEPT,
    REJECTED,
    Months,
    bucket_of,
    generations,
    get,
    objects_in,
    put,
    read,
)
from tests.nyc_taxi.load.loading import in_one_instant

STEPS = 7
"""Of a run that nobody disturbs: a look at both, another, the month, the rejected rows, and a look at both."""
SEED = 20261129


# --- A model of a bucket, and every order in which two runs can take their steps


@dataclass
class Model:
    """Objects by name, which two runs change in a given order of steps; once that is through, as it comes."""

    order: list[str]
    there: dict[str, SimpleNamespace] = field(default_factory=dict)
    turn: threading.Condition = field(default_factory=threading.Condition)
    generation: int = 0

    def step(self, work: Callable[[], Any]) -> Any:
        """Do one thing when it is this thread's turn."""
        run = threading.current_thread().name
        with self.turn:
            self.turn.wait_for(lambda: not self.order or self.order[0] == run, timeout=10)
            if self.order:
                self.order.pop(0)
            done = work()
            self.turn.notify_all()
            return done

    def end(self) -> None:
        """A run has ended: the other one no longer waits for it."""
        with self.turn:
            run = threading.current_thread().name
            self.order = [each for each in self.order if each != run]
            self.turn.notify_all()

    def look(self, _: object, name: str) -> SimpleNamespace | None:
        return self.step(lambda: self.there.get(name))  # type: ignore[no-any-return]

    def put(self, new: NewObject) -> None:
        self.generation += 1
        self.there[new.name] = SimpleNamespace(name=new.name, metadata=new.metadata, generation=self.generation)

    def upload(self, _: object, new: NewObject) -> None:
        self.step(lambda: self.put(new))

    def copy(self, _: object, __: NewObject, new: NewObject) -> None:
        self.step(lambda: self.put(new))

    def remove(self, _: object, blobs: Sequence[SimpleNamespace]) -> None:
        def delete() -> None:
            for blob in blobs:
                if self.there.get(blob.name) is blob:
                    del self.there[blob.name]

        self.step(delete)


def two_of(version: str, rejected: int) -> tuple[NewObject, NewObject]:
    """What a run writes: a month, and so many rejected rows."""
    return (
        NewObject(Path("kept"), "kept", {"service": "yellow", "version": version, "rows": "9"}),
        NewObject(Path("rejected"), "rejected", {"service": "yellow", "version": version, "rows": str(rejected)}),
    )


@pytest.fixture
def modelled(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], Model]:
    """A model in the place of the bucket."""

    def start(order: list[str]) -> Model:
        model = Model(order)
        for name, work in (("look", model.look), ("upload", model.upload), ("copy_object", model.copy)):
            monkeypatch.setattr(pair, name, work)
        monkeypatch.setattr(pair, "remove", model.remove)
        return model

    monkeypatch.setattr(pair, "aside", nothing_aside)
    monkeypatch.setattr(objects, "sleep", lambda _: None)
    return start


class nothing_aside:
    """Uploads aside are nobody else's: they are no step."""

    def __init__(self, _: object, news: list[NewObject], __: str) -> None:
        self.news = news

    def __enter__(self) -> list[NewObject]:
        return self.news

    def __exit__(self, *_: object) -> None:
        return None


ALL = [["X" if step in mine else "Y" for step in range(2 * STEPS)] for mine in combinations(range(2 * STEPS), STEPS)]
SOME = random.Random(SEED).sample(ALL, 100)


@pytest.mark.parametrize(
    "orders", [pytest.param(SOME, id="some"), pytest.param(ALL, id="all", marks=pytest.mark.chaos)]
)
@pytest.mark.parametrize("before", [None, 0, 4], ids=["nothing", "a month", "a month with rejected rows"])
@pytest.mark.parametrize(("of_x", "of_y"), [(0, 0), (0, 3), (2, 3)], ids=["neither", "one", "both"])
def test_two_runs_end_as_one_of_them_in_every_order_of_their_steps(
    modelled: Callable[[list[str]], Model], before: int | None, of_x: int, of_y: int, orders: list[list[str]]
) -> None:
    for order in orders:
        model = modelled(list(order))
        if before is not None:
            for new in two_of("old", before):
                if new.metadata["rows"] != "0":
                    model.put(new)
        errors = at_once(model, {"X": two_of("X", of_x), "Y": two_of("Y", of_y)})
        assert errors == []
        versions = {name: blob.metadata["version"] for name, blob in model.there.items()}
        winner = versions["kept"]
        assert winner in ("X", "Y")
        rejected = {"X": of_x, "Y": of_y}[winner]
        assert versions == ({"kept": winner, "rejected": winner} if rejected else {"kept": winner}), order


def at_once(model: Model, runs: dict[str, tuple[NewObject, NewObject]]) -> list[Exception]:
    """Both runs, each in a thread of its name; what went wrong in either."""
    errors: list[Exception] = []

    def write(pair_of_run: tuple[NewObject, NewObject]) -> None:
        try:
            replace_pair(SimpleNamespace(name="b"), *pair_of_run)
        except Exception as error:  # noqa: BLE001  any error is what the test is about
            errors.append(error)
        finally:
            model.end()

    threads = [threading.Thread(target=write, args=(run,), name=name) for name, run in runs.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return errors


# --- The emulator


@pytest.fixture
def versions(months: Months) -> dict[str, StagedFile]:
    """One month by three rules and of two files, with and without rejected rows."""
    return {
        "none": months.judged("yellow", "2021-01", "dtc", 2_000, rules="none"),
        "has_passengers": months.judged("yellow", "2021-01", "dtc", 2_000, rules="has_passengers"),
        "another file": months.judged("yellow", "2021-01", "dtc", 3_000, malformed=3),
    }


def belongs_together(google: GoogleSettings, versions: dict[str, StagedFile]) -> None:
    """The bucket has the month and the rejected rows of one of the versions, by their content."""
    found = find_month(YELLOW, JANUARY, google)
    [file] = [each for each in versions.values() if (each.sha256, each.rules) == (found.sha256, found.rules)]
    check_month(file, google)
    assert read(google, KEPT).num_rows == file.rows_accepted
    there = objects_in(google)
    assert (REJECTED in there) == bool(file.rows_rejected)
    if file.rows_rejected:
        assert read(google, REJECTED).num_rows == file.rows_rejected
    assert not [name for name in there if name.startswith("_incoming/")]


def test_two_runs_started_in_one_instant_end_as_one_of_them(
    google: GoogleSettings, versions: dict[str, StagedFile]
) -> None:
    choose = random.Random(SEED)
    for _ in range(10):
        in_one_instant([partial(replace_month, file, google) for file in choose.sample(list(versions.values()), 2)])
        belongs_together(google, versions)


def test_a_whole_run_between_the_month_and_the_removal_keeps_its_rejected_rows(
    google: GoogleSettings, versions: dict[str, StagedFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, done = objects.upload, list[NewObject]()

    def upload_and_let_another_pass(bucket: Any, new: NewObject) -> None:
        upload(bucket, new)
        if new.name == KEPT and not done:
            done.append(new)
            replace_month(versions["has_passengers"], google)

    monkeypatch.setattr(pair, "upload", upload_and_let_another_pass)
    replace_month(versions["none"], google)
    belongs_together(google, versions)


@pytest.mark.parametrize("step", ["upload", "copy_object"])
def test_a_run_that_ends_between_its_steps_leaves_the_old_pair_or_is_found(
    google: GoogleSettings, versions: dict[str, StagedFile], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    old, new = versions["none"], versions["has_passengers"]
    replace_month(old, google)
    before = generations(google)

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pair, step, end)
        with pytest.raises(KeyboardInterrupt):
            replace_month(new, google)
    if step == "upload":
        assert generations(google) == before
        check_month(old, google)
    else:
        with pytest.raises(CountsDisagree, match=r"rejected rows .*; run api_to_gcs for yellow 2021-01 again"):
            check_month(new, google)
    replace_month(new, google)
    belongs_together(google, versions)


@pytest.mark.parametrize("name", [KEPT, REJECTED])
def test_an_object_of_another_program_is_not_replaced(
    google: GoogleSettings, versions: dict[str, StagedFile], name: str
) -> None:
    put(google, name, b"theirs")
    with pytest.raises(TargetUnavailable, match=f"{name} was written by another program, and nothing was changed"):
        replace_month(versions["has_passengers"], google)
    assert {each: get(google, each) for each in objects_in(google)} == {name: b"theirs"}


def test_rejected_rows_of_another_version_are_named(google: GoogleSettings, versions: dict[str, StagedFile]) -> None:
    replace_month(versions["has_passengers"], google)
    theirs = bucket_of(google).get_blob(REJECTED)
    theirs.metadata = {**theirs.metadata, "rules": "positive_distance"}
    theirs.patch()
    with pytest.raises(CountsDisagree) as refused:
        check_month(versions["has_passengers"], google)
    assert str(refused.value) == (
        f"gs://{google.bucket}/{REJECTED} has not the rejected rows of the month's object: a run was stopped between "
        f"the two, or another runs now; run api_to_gcs for yellow 2021-01 again"
    )


# --- Readers


@pytest.fixture(params=[find_month, measure_month], ids=["find", "measure"])
def reader(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Who reads a month by several requests."""
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize("times", [1, 3])
def test_a_reader_looks_again_when_the_month_was_replaced_between_two_requests(
    google: GoogleSettings,
    versions: dict[str, StagedFile],
    monkeypatch: pytest.MonkeyPatch,
    reader: Callable[..., Any],
    times: int,
) -> None:
    replace_month(versions["none"], google)
    expected, footer, replaced = reader(YELLOW, JANUARY, google), bucket_month._footer, list[str]()

    def replace_first(blob: Any, where: str) -> Any:
        if len(replaced) < times:
            replaced.append(where)
            replace_month(versions["none"], google)  # the generation that the reader has found is gone
        return footer(blob, where)

    monkeypatch.setattr(bucket_month, "_footer", replace_first)
    assert reader(YELLOW, JANUARY, google) == expected
    assert len(replaced) == times


def test_a_reader_gives_up_in_the_end(
    google: GoogleSettings,
    versions: dict[str, StagedFile],
    monkeypatch: pytest.MonkeyPatch,
    reader: Callable[..., Any],
) -> None:
    replace_month(versions["none"], google)

    def gone(*_: object) -> None:
        raise NotFound("No such object")  # type: ignore[no-untyped-call]

    monkeypatch.setattr(bucket_month, "_footer", gone)
    with pytest.raises(TargetUnavailable, match=r"it was refused \[404 No such object\]"):
        reader(YELLOW, JANUARY, google)


def test_days_that_were_stopped_half_way_are_said_to_be_of_two_versions(
    google: GoogleSettings, versions: dict[str, StagedFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nyc_taxi.load.bucket import days

    days.replace_month(versions["none"], google)
    copy = objects.copy_object
    copied: list[str] = []

    def copy_some(bucket: Any, source: NewObject, new: NewObject) -> None:
        if len(copied) >= 7:
            raise PreconditionFailed("conditionNotMet")  # type: ignore[no-untyped-call]
        copied.append(new.name)
        copy(bucket, source, new)

    with monkeypatch.context() as patched:
        patched.setattr(objects, "copy_object", copy_some)
        with pytest.raises(TargetUnavailable, match="the days are of two versions now, run the pipeline again; gs://"):
            days.replace_month(versions["has_passengers"], google)
    with pytest.raises(CountsDisagree, match="the days are of two versions"):
        days.measure_month(YELLOW, JANUARY, google)
    days.replace_month(versions["has_passengers"], google)
    days.check_month(versions["has_passengers"], google)
