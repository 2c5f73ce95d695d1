"""What tests of every target share."""

from collections.abc import Iterator

import pytest

from tests.nyc_taxi.load.bucket.bucket_helpers import (
    Months,
    months_in,
)


@pytest.fixture(scope="session")
def months(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Months]:
    """Synthetic months, each made once."""
    with months_in(tmp_path_factory.mktemp("months")) as made:
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    """A second in the place of the minute for which a request is repeated."""
    monkeypatch.setattr("nyc_taxi.google.RETRY_SECONDS", 1.0)
    return 1.0
