"""Ports that settings name: refused, in every command that reads them, before anything starts."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from ops.cli import taxi
from ops.commands.doctor import machine
from ops.commands.doctor.finding import Finding
from ops.errors import LocalStackError
from ops.ports import UI_PORT, postgres_host_port, ui_port

WRONG = ("abc", "99999", "0", "-1", "6789.0", "٦٧٨٩")


@pytest.mark.parametrize("text", WRONG)
@pytest.mark.parametrize(("name", "read"), [("MAGE_HOST_PORT", ui_port), ("POSTGRES_HOST_PORT", postgres_host_port)])
def test_what_is_no_port_is_named(text: str, name: str, read: Callable[[dict[str, str]], int]) -> None:
    with pytest.raises(LocalStackError, match=f"^{name}={text} is not a port: set a number from 1 to 65535"):
        read({name: text})
    assert read({name: "65535"}) == 65535


def test_without_a_setting_it_is_the_one_of_the_docs() -> None:
    assert ui_port({}) == UI_PORT == 6789


@pytest.mark.parametrize("command", ["ui", "triggers"])
def test_a_command_refuses_it_before_anything_starts(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starting(*said: object, **_: object) -> None:
        raise AssertionError(f"{said} was started")

    monkeypatch.setattr(subprocess, "Popen", starting)
    monkeypatch.setenv("NYC_TAXI_LOCAL_DIR", str(tmp_path / "stack"))
    monkeypatch.setenv("MAGE_HOST_PORT", "abc")
    monkeypatch.delenv("MAGE_URL", raising=False)
    result = CliRunner().invoke(taxi, [command])
    assert (result.exit_code, result.output) == (
        1,
        "FAILED  MAGE_HOST_PORT=abc is not a port: set a number from 1 to 65535, such as 6789\n",
    )


def test_the_doctor_has_a_line_for_it() -> None:
    finding = Finding.of("ports", machine.CHECKS["ports"], {"MAGE_HOST_PORT": "abc"})
    assert (finding.state, finding.text.partition(":")[0]) == ("FAIL", "MAGE_HOST_PORT=abc is not a port")
