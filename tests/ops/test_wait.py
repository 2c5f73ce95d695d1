"""What is waited for is found, or its absence told, in time."""

import time
from collections.abc import Iterator

import pytest

from ops.wait import wait_until


def test_the_first_true_answer_is_returned() -> None:
    answers: Iterator[str | None] = iter([None, "", "there", "later"])
    assert wait_until(lambda: next(answers), 5, 0.001) == "there"


def test_after_its_time_the_last_untrue_answer_is_returned() -> None:
    asked: list[int] = []
    began = time.monotonic()
    assert wait_until(lambda: asked.append(1), 0.1, 0.01) is None
    assert 0.1 <= time.monotonic() - began < 5
    assert len(asked) > 1


def test_it_ends_at_once_when_what_it_waits_for_cannot_come() -> None:
    began = time.monotonic()
    assert not wait_until(lambda: False, 60, unless=lambda: True)
    assert time.monotonic() - began < 5


def test_an_error_of_the_question_reaches_who_asked() -> None:
    def look() -> bool:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        wait_until(look, 60)
