"""What tests of downloads share: bodies of trip files, and pauses that are noted instead of waited for."""

import pytest

from ops.synthetic.generate import generate


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, noted instead of waited for."""
    slept: list[float] = []
    monkeypatch.setattr("nyc_taxi.extract.http.sleep", slept.append)
    return slept


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A csv.gz trip file of some 100 kB."""
    return generate("yellow", "2021-01", "dtc", 5_000, tmp_path_factory.mktemp("made")).read_bytes()


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A Parquet trip file."""
    return generate("yellow", "2021-01", "tlc", 500, tmp_path_factory.mktemp("made")).read_bytes()
