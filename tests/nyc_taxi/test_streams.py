"""Work ahead in the background keeps order and errors, and ends with its consumer; a spool gives back what it took."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nyc_taxi.streams import Spool, prefetch

from ops.wait import wait_until


def wait_until_no_thread_is_more_than(before: int) -> None:
    assert wait_until(lambda: threading.active_count() == before, 5)


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers())), st.integers(1, 4))
def test_the_items_come_in_order_none_among_them(items: list[int | None], depth: int) -> None:
    assert list(prefetch(items, depth)) == items


def test_an_error_is_raised_at_its_place_and_as_it_was() -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("third")

    before = threading.active_count()
    stream = prefetch(broken())
    assert (next(stream), next(stream)) == (1, 2)
    with pytest.raises(KeyError, match="third"):
        next(stream)
    wait_until_no_thread_is_more_than(before)


def test_the_producer_works_ahead_but_no_further_than_the_depth() -> None:
    made: list[int] = []

    def counted() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    stream = prefetch(counted(), depth=3)
    assert next(stream) == 0
    wait_until(lambda: len(made) >= 5, 5)
    time.sleep(0.05)
    # One was handed over, three wait in the queue, one is in the producer's hand.
    assert made == [0, 1, 2, 3, 4]
    assert list(stream) == list(range(1, 100))


def test_a_consumer_that_stops_early_ends_the_producer() -> None:
    before = threading.active_count()
    endless = iter(range(10**9))
    stream = prefetch(endless)
    assert next(stream) == 0
    assert threading.active_count() == before + 1
    stream.close()  # type: ignore[attr-defined]  # a generator
    assert threading.active_count() == before
    assert next(endless) < 10


def test_an_error_of_the_consumer_ends_the_producer_too() -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        [1 // item for item in prefetch(range(10**9))]
    wait_until_no_thread_is_more_than(before)


def test_nothing_is_produced_before_the_first_item_is_asked_for() -> None:
    before = threading.active_count()
    stream = prefetch(range(3))
    assert threading.active_count() == before
    assert list(stream) == [0, 1, 2]


def test_a_spool_gives_back_the_batches_in_order_and_frees_the_disk(tmp_path: Path) -> None:
    batches = [
        pa.record_batch({"number": list(range(start, start + 1000)), "word": ["x", None] * 500})
        for start in range(0, 5000, 1000)
    ]
    with Spool(tmp_path) as spool:
        for batch in batches:
            spool.add(batch)
        back = list(spool.batches())
    assert back == batches
    assert sum(map(len, back)) == 5000
    assert list(tmp_path.iterdir()) == []


def test_an_empty_spool_has_no_batches(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        assert list(spool.batches()) == []
    assert list(tmp_path.iterdir()) == []
