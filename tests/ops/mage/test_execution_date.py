"""Every run by hand has an execution date, and it is a datetime in UTC."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops.mage.patches import execution_date
from ops.mage.patches.execution_date import dated

GIVEN = datetime(2021, 1, 5, 12, 30, tzinfo=UTC)


class Executor:
    """As Mage's: it says what it was run with."""

    def execute(self, global_vars: dict[str, Any], pipeline_run_id: int | None = None) -> dict[str, Any]:
        return global_vars


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> Executor:
    """A patched one."""
    monkeypatch.setattr(Executor, "execute", Executor.execute)
    execution_date.apply(type("module", (), {"PipelineExecutor": Executor}))  # type: ignore[arg-type]
    return Executor()


@pytest.mark.parametrize("nothing", [{}, {"execution_date": None}, {"execution_date": " "}])
def test_without_one_it_is_this_moment(nothing: dict[str, Any], executor: Executor) -> None:
    found = executor.execute(global_vars={"default_date": "2021-01-01", **nothing})
    assert timedelta(0) <= datetime.now(UTC) - found["execution_date"] < timedelta(minutes=1)
    assert found["default_date"] == "2021-01-01"


@pytest.mark.parametrize(
    "text", ["2021-01-05T12:30", " 2021-01-05 12:30:00 ", "2021-01-05T12:30Z", "2021-01-05T07:30:00-05:00"]
)
def test_text_that_was_given_is_a_datetime_and_no_default_takes_its_place(text: str, executor: Executor) -> None:
    found = executor.execute(global_vars={"default_date": "2021-01-01", "execution_date": text})
    assert found == {"execution_date": GIVEN, "default_date": GIVEN.isoformat()}
    assert found["execution_date"].tzinfo is UTC


def test_what_a_trigger_gives_is_left_as_it_is(executor: Executor) -> None:
    given = {"execution_date": GIVEN, "default_date": "2021-01-01"}
    assert executor.execute(global_vars=given, pipeline_run_id=7) is given
    assert executor.execute(global_vars=given) == given


@pytest.mark.parametrize("text", ["yesterday", "2021-02-30", "0001-01-01T00:00:00+14:00"])
def test_text_that_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^execution_date '.*' is not a date such as 2021-01-31T00:00:00$"):
        dated(text)
