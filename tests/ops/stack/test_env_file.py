"""A line of .env means the same to Docker Compose and to the commands, or it is refused."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from ops.errors import LocalStackError
from ops.mage.owner import SECRETS, stored_owner
from ops.paths import ROOT
from ops.stack.env_file import read_env_file, written
from ops.stack.environment import configured

EVERYTHING = """p"a'ss $X ${Y} #z\\ = \\'end\\"""
"""A password that holds all that is read otherwise somewhere."""
READ = [
    ("V=", ""),
    ("V=a", "a"),
    ("V=  a b  ", "a b"),
    ("V = a", "a"),
    ("V=a #b", "a"),
    ("V=a#b", "a#b"),
    ("V=a=b:c", "a=b:c"),
    ("V=a\"b'c", "a\"b'c"),
    ("V=a\\b\\\\c", "a\\b\\\\c"),
    ("export V=a", "a"),
    ("V=a\r", "a"),
    ("V=''", ""),
    ("V=' a '", " a "),
    ("V='a' # b", "a"),
    ("V='a'#b", "a"),
    ("V='a$X ${Y} #z'", "a$X ${Y} #z"),
    ("V='a\"b\\c\\\\d\\n'", 'a"b\\c\\\\d\\n'),
    ("V='a\nb'", "a\nb"),
    ('V=""', ""),
    ('V="a\'b #c"', "a'b #c"),
    ('V="a\\"b\\\\c\\$X\\${Y}"', 'a"b\\c$X${Y}'),
    ('V="a\\nb\\tc\\\\dd"', "a\nb\tc\\dd"),
    ('V="\\\\\\$X"', "\\$X"),
    ('V="a\\\\"', "a\\"),
    ("V=\u00e9\U0001f695", "\u00e9\U0001f695"),
]
"""A line of a file, and what Compose 2.26 hands to a container: see `test_compose_reads_the_same`."""
REFUSED = [
    ("V=secret$X", "$ begins a variable for Docker Compose: put the value in single quotes"),
    ("V=secret${X}", "put the value in single quotes"),
    ("V=secret$$X", "put the value in single quotes"),
    ("V=secret\\$X", "put the value in single quotes"),
    ("V=#secret", "# may begin a comment there: put the value in single quotes"),
    ("V= #secret", "# may begin a comment there"),
    ("V=secret\t#b", "# may begin a comment there"),
    ('V="secret$X"', "write \\$ within double quotes"),
    ('V="\\\\$X"', "write \\$ within double quotes"),
    ('V="secret\\a"', "a \\ within double quotes is written \\\\"),
    ('V="secret\\d"', "a \\ within double quotes is written \\\\"),
    ("V='secret\\'b'", "a ' within needs double quotes"),
    ("V='secret\\'", "what begins with a quote must end with it"),
    ("V='secret", "what begins with a quote must end with it"),
    ('V="secret', "what begins with a quote must end with it"),
    ("V='secret' b", "what begins with a quote must end with it"),
    ('V="secret"b', "what begins with a quote must end with it"),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def said(line: str) -> str:
    return line.replace("\n", "~")


@pytest.mark.parametrize(("line", "value"), READ, ids=said)
def test_a_value_is_what_compose_takes_it_for(file: Path, line: str, value: str) -> None:
    file.write_bytes(f"# head $X '\nBEFORE=1\n\n{line}\nAFTER=2\n".encode())
    assert read_env_file(file) == {"BEFORE": "1", "V": value, "AFTER": "2"}
    file.write_bytes(line.encode())  # without a line's end
    assert read_env_file(file) == {"V": value.removesuffix("\r")}


@pytest.mark.parametrize(("line", "why"), REFUSED, ids=lambda text: said(str(text)))
def test_what_compose_would_read_otherwise_is_refused_by_its_name(file: Path, line: str, why: str) -> None:
    file.write_text(f"# head\nBEFORE=1\n{line}\nAFTER=2\n")
    with pytest.raises(LocalStackError) as refused:
        read_env_file(file)
    assert str(refused.value).startswith(".env line 3: V: ")
    assert why in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("line", ["a secret", "V-x=secret", "1V=secret", "V: secret", "=secret"])
def test_a_line_that_sets_nothing_is_refused(file: Path, line: str) -> None:
    file.write_text(f"{line}\n")
    with pytest.raises(LocalStackError, match=r"^\.env line 1 is not of the form NAME=VALUE: correct it") as refused:
        read_env_file(file)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "value",
    [EVERYTHING, "", "a", "a b", "'", '"', "\\", "a\\'", "$", "#", "a\nb", "\t", "-_=", *(text for _, text in READ)],
)
def test_what_is_written_comes_back(file: Path, value: str) -> None:
    file.write_text(f"V={written(value)}\nAFTER=1\n")
    assert read_env_file(file) == {"V": value, "AFTER": "1"}


def test_the_settings_are_read_so(file: Path) -> None:
    file.write_text(f"\ufeffSMTP_PASSWORD={written(EVERYTHING)}\nSMTP_USER\nSMTP_HOST=\n")
    settings = configured({}, file)
    assert settings["SMTP_PASSWORD"] == EVERYTHING
    assert not {"SMTP_USER", "SMTP_HOST"} & settings.keys()
    assert configured({"SMTP_PASSWORD": "$X"}, file)["SMTP_PASSWORD"] == "$X"


def by_compose(folder: Path, service: str = "any") -> dict[str, str]:
    """What a service of the folder's docker-compose.yml gets, from .env itself and by interpolation."""
    asked = subprocess.run(
        ["docker", "compose", "config", "--format", "json"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert (asked.returncode, asked.stderr) == (0, "")
    got: dict[str, str] = json.loads(asked.stdout)["services"][service]["environment"]
    return {name: (value or "").replace("$$", "$") for name, value in got.items()}  # doubled, to be read once more


def has_compose() -> bool:
    return (
        shutil.which("docker") is not None
        and subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.containers
@pytest.mark.skipif(not has_compose(), reason="docker compose is not here")
def test_compose_reads_the_same(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [value for _, value in READ]
    lines = [line.replace("V", f"V{number}", 1) for number, (line, _) in enumerate(READ)]
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)
    file.write_text("\n".join([*lines, *(f"W{number}={written(value)}" for number, value in enumerate(values))]) + "\n")
    with file.open("a") as more:
        more.write(f"EVERYTHING={written(EVERYTHING)}\n")
    owner = stored_owner(file)
    names = read_env_file(file)
    service = {"image": "any", "env_file": ".env", "environment": {f"OF_{name}": f"${{{name}}}" for name in names}}
    (file.parent / "docker-compose.yml").write_text(json.dumps({"services": {"any": service}}))
    got = by_compose(file.parent)
    assert {name: got[name] for name in names} == names
    assert {name: got[f"OF_{name}"] for name in names} == names
    assert [got[f"V{number}"] for number in range(len(READ))] == values
    assert [got[f"W{number}"] for number in range(len(READ))] == values
    assert got["EVERYTHING"] == EVERYTHING
    assert [got[name] for name in SECRETS] == [owner.password, owner.jwt_secret]


def test_dev_env_itself_is_read() -> None:
    assert read_env_file(ROOT / "dev.env")["POSTGRES_SCHEMA"] == "ny_taxi"
    assert read_env_file(ROOT / "nothing.env") == {}


@pytest.mark.containers
@pytest.mark.skipif(not has_compose(), reason="docker compose is not here")
def test_both_containers_and_the_commands_have_one_password(file: Path) -> None:
    shutil.copy(ROOT / "docker-compose.yml", file.parent)
    lines = (ROOT / "dev.env").read_text().replace("POSTGRES_PASSWORD=\n", f"POSTGRES_PASSWORD={written(EVERYTHING)}\n")
    file.write_text(lines)
    postgres, magic = (by_compose(file.parent, service)["POSTGRES_PASSWORD"] for service in ("postgres", "magic"))
    assert (postgres, magic, configured({}, file)["POSTGRES_PASSWORD"]) == (EVERYTHING,) * 3
