"""The command that takes the pictures of the docs, where it cannot."""

import sys
from pathlib import Path

import pytest

from ops.commands import screenshots


def test_without_chromium_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["screenshots", str(tmp_path / "images")])
    assert screenshots.main() == 1
    assert capsys.readouterr().err == (
        "FAILED  no Chromium on this machine: apt-get install chromium fonts-liberation\n"
    )
