"""The command that takes the pictures of the docs, where it cannot."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from ops.cli import taxi


def test_without_chromium_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner(mix_stderr=False).invoke(taxi, ["screenshots", str(tmp_path / "images")])
    assert result.exit_code == 1
    assert result.stderr == "FAILED  no Chromium on this machine: apt-get install chromium fonts-liberation\n"
