"""What the environment holds comes back from the project's YAML as it is, and what does not is said before a start."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jinja2 import Template

from ops.cli import taxi
from ops.commands.dbt.sources import DBT_PROJECT, SOURCES
from ops.commands.doctor import project as doctor
from ops.commands.doctor.finding import Finding
from ops.container.project_check import faults
from ops.mage import rendering
from ops.mage.rendering import FILES, unreadable
from ops.paths import PROJECT, ROOT
from ops.stack import environment, stack
from tests.conftest import process_environment

ODD = """p"a\\s'w $X ${Y} {{ z }} {% if %} #c: é & <b> %!|>*` \\n"""
"""Everything that YAML, Jinja, HTML or a shell could take for its own."""
RENDERED = [*(PROJECT / name for name in FILES), ROOT / "bench" / "peers" / "course" / "io_config.yaml"]
EXPRESSION = re.compile(r"\{\{.*?\}\}", re.DOTALL)
ESCAPES = re.compile(r'"\{\{ \(\(?env_var\([^"]+\| tojson\)\[1:-1\] \}\}"')
READ_BY_MAGE = """
import json, sys
from mage_ai.settings.repo import set_repo_path
set_repo_path(sys.argv[1])
from mage_ai.data_preparation.repo_manager import get_repo_config
from mage_ai.io.config import ConfigFileLoader
repo = get_repo_config()
config = ConfigFileLoader(sys.argv[1] + "/io_config.yaml", "default").config
names = ("retry_config", "help_improve_mage", "remote_variables_dir", "notification_config", "logging_config")
print(json.dumps({**{name: getattr(repo, name) for name in names}, "io": config}))
"""


def names_in(path: Path) -> list[str]:
    return re.findall(r"env_var\('(\w+)'", path.read_text())


def odd(name: str) -> str:
    return f"{name}{ODD}"


def test_every_yaml_of_the_project_escapes_what_it_pastes() -> None:
    own = [ROOT / name for name in subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()]
    unrendered = {
        PROJECT / "pipelines" / "load_many" / "metadata.yaml",  # Mage renders one value of it, once it is read
        DBT_PROJECT / "profiles.yml",  # and dbt all values of these
        SOURCES,
    }
    having = {path for path in own if path.suffix in {".yaml", ".yml"} and "env_var(" in path.read_text()}
    assert having == {*RENDERED, *unrendered}
    for path in RENDERED:
        text = path.read_text()
        assert len(ESCAPES.findall(text)) == len(EXPRESSION.findall(text)) > 0, path


@pytest.mark.parametrize("path", RENDERED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_value_comes_back_as_it_is(path: Path) -> None:
    env = {name: odd(name) for name in names_in(path)}
    read = yaml.safe_load(Template(path.read_text()).render(env_var=env.get))

    def values(below: Any) -> list[str]:
        if isinstance(below, dict | list):
            inside = below.values() if isinstance(below, dict) else below
            return [value for each in inside for value in values(each)]
        return [below] if isinstance(below, str) else []

    pasted = {name for line in path.read_text().splitlines() if "tojson" in line for name in names_in_line(line)}
    assert {odd(name) for name in pasted} <= set(values(read))
    assert yaml.safe_load(path.read_text())  # Mage reads variables_dir of a file that it has not rendered


def names_in_line(line: str) -> list[str]:
    return re.findall(r"env_var\('(\w+)'", line)


@pytest.mark.mage
def test_mage_itself_reads_every_setting_with_odd_passwords(tmp_path: Path) -> None:
    given = {
        "SMTP_HOST": "mail.example.org",
        "SMTP_MAIL_FROM": '"Taxi" <taxi@example.org>',
        "ALERT_TO": "me@example.org",
        "SLACK_WEBHOOK_URL": "https://hooks.example.org/a?b=c&d='e'",
        "REMOTE_VARIABLES_DIR": "gs://bucket/mage",
        **{name: odd(name) for name in ("SMTP_USER", "SMTP_PASSWORD", "POSTGRES_USER", "POSTGRES_PASSWORD")},
        "POSTGRES_PORT": "5432",
    }
    env = {**process_environment(), **given, "MAGE_DATA_DIR": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", READ_BY_MAGE, str(PROJECT)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout.splitlines()[-1])
    assert read["retry_config"] == {"retries": 2, "delay": 5, "max_delay": 60, "exponential_backoff": True}
    assert read["help_improve_mage"] is False
    assert read["remote_variables_dir"] == "gs://bucket/mage"
    email = read["notification_config"]["email_config"]
    assert {name: email[name.lower()] for name in ("SMTP_USER", "SMTP_PASSWORD", "SMTP_MAIL_FROM")} == {
        name: given[name] for name in ("SMTP_USER", "SMTP_PASSWORD", "SMTP_MAIL_FROM")
    }
    assert (email["smtp_port"], email["to_emails"]) == ("587", ["me@example.org"])
    assert read["notification_config"]["slack_config"]["webhook_url"] == given["SLACK_WEBHOOK_URL"]
    assert (read["io"]["POSTGRES_USER"], read["io"]["POSTGRES_PASSWORD"]) == (
        odd("POSTGRES_USER"),
        odd("POSTGRES_PASSWORD"),
    )
    assert (read["io"]["POSTGRES_PORT"], read["io"]["GOOGLE_LOCATION"]) == ("5432", "US")


# --- What is said of a project that does not -------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project's two files."""
    folder = tmp_path / PROJECT.name
    folder.mkdir()
    for name in FILES:
        shutil.copy(PROJECT / name, folder)
    return folder


def unescape(project: Path) -> None:
    """As both files were before."""
    for name in FILES:
        path = project / name
        path.write_text(
            re.sub(r"\{\{ \(env_var\('(\w+)', ''\) \| tojson\)\[1:-1\] \}\}", r"{{ env_var('\1') }}", path.read_text())
        )


def test_this_project_is_read_with_whatever_the_settings_hold(project: Path) -> None:
    names = {name for file in FILES for name in names_in(project / file)}
    assert unreadable(project, {}) == []
    assert unreadable(project, {name: odd(name) for name in names}) == []


@pytest.mark.parametrize("secret", ['hunter"2 *s3cret', "hunter\\n2", "hunter\\q2"])
def test_a_value_that_breaks_a_file_is_named_and_never_shown(project: Path, secret: str) -> None:
    unescape(project)
    said = unreadable(project, {"POSTGRES_PASSWORD": secret, "POSTGRES_USER": "odd but fine", "PGUSER": secret})
    escaped = "\"{{ (env_var('POSTGRES_PASSWORD', '') | tojson)[1:-1] }}\""
    assert said == [f"magic-zoomcamp/io_config.yaml: what POSTGRES_PASSWORD holds breaks it: paste it as {escaped}"]
    mail = {"SMTP_HOST": "h", "SMTP_MAIL_FROM": "f", "ALERT_TO": "t", "SMTP_PASSWORD": secret}
    [line] = unreadable(project, mail)
    assert line.startswith("magic-zoomcamp/metadata.yaml: what SMTP_PASSWORD holds breaks it")
    assert "hunter" not in line


def test_what_yaml_cannot_be_given_is_refused(project: Path) -> None:
    [line] = unreadable(project, {"POSTGRES_PASSWORD": "secret \U0001f695"})
    assert line.endswith("POSTGRES_PASSWORD holds a character beyond U+FFFF, such as an emoji, which cannot be pasted: "
                         "choose another")  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [\n", "line 1: while parsing a flow node, expected the node content, but found '<stream end>'"),
        ("a: {{ env_var('A' }}\n", "unexpected '}', expected ')': correct it"),
        ("a: {{ nobody() }}\n", "'nobody' is undefined: correct it"),
        ("a: {{ env_var('SECRET') }}: b: [\n", "line 1: mapping values are not allowed here: correct"),
        ("- a\n", "holds no keys"),
        ("a: *{{ env_var('SECRET') }}\nx0mark0x: &x0mark0x 1\n", "line 1: found undefined alias 'x0mark0x'"),
        ("a: {{ 1 // env_var('SECRET') | length - 6 }}{{ env_var('SECRET') | int + [] }}", "correct it"),
    ],
)
def test_a_file_that_is_wrong_by_itself_is_said_with_its_line(project: Path, text: str, said: str) -> None:
    (project / "io_config.yaml").write_text(text)
    [line] = unreadable(project, {"SECRET": "hunter2"})
    assert line.startswith("magic-zoomcamp/io_config.yaml: ")
    assert said in line
    assert "hunter2" not in line


def test_the_check_of_a_commit_and_the_doctor_say_it_too(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unescape(project)
    shutil.copytree(PROJECT / "pipelines", project / "pipelines")
    env = {"POSTGRES_PASSWORD": 'hunter"2'}
    assert [line for line in faults(project, env) if "io_config" in line] == unreadable(project, env) != []
    assert Finding.of("project", doctor.settings, env).state == "ok"
    monkeypatch.setattr(doctor, "PROJECT", project)
    found = Finding.of("project", doctor.settings, env)
    assert (found.state, found.text) == ("FAIL", unreadable(project, env)[0])


@pytest.mark.parametrize("line", [["ui"], ["run", "test_config"], ["triggers"], ["demo"]], ids=lambda line: line[0])
def test_a_command_that_starts_mage_refuses_before_anything_is_started(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: list[str]
) -> None:
    unescape(project)

    def start(*_: object, **__: object) -> None:
        raise AssertionError("something was started")

    real: Callable[..., None] = rendering.refuse_unreadable
    for module in ("ops.mage.rendering", "ops.mage.connect", "ops.commands.demo"):
        monkeypatch.setattr(f"{module}.refuse_unreadable", lambda _, env: real(project, env))
    monkeypatch.setattr(stack, "up", start)
    monkeypatch.setattr(environment, "OWN", tmp_path / ".env")
    monkeypatch.setenv("NYC_TAXI_LOCAL_DIR", str(tmp_path / "local"))
    monkeypatch.setenv("MAGE_HOST_PORT", "1")
    monkeypatch.setenv("POSTGRES_PASSWORD", 'hunter"2')
    monkeypatch.delenv("POSTGRES_HOST", raising=False)
    done = CliRunner().invoke(taxi, line)
    said = done.output.removeprefix("FAILED  ")
    assert done.exit_code == 1
    assert said.startswith("magic-zoomcamp/io_config.yaml: what POSTGRES_PASSWORD holds breaks it: paste it as"), said


DBT_PASSWORD = """
import os, sys
from dbt_common.context import set_invocation_context
set_invocation_context(os.environ)
from dbt.config.profile import Profile, read_profile
from dbt.config.renderer import ProfileRenderer
mine = read_profile(sys.argv[1])["nyc_taxi"]
_, found = Profile.render_profile(mine, "nyc_taxi", "postgres", ProfileRenderer({}))
assert found["password"] == os.environ["POSTGRES_PASSWORD"], found["password"]
"""


def test_dbt_takes_a_password_from_the_environment_as_it_is() -> None:
    env = process_environment() | {"POSTGRES_PASSWORD": odd("POSTGRES_PASSWORD")}
    command = [sys.executable, "-c", DBT_PASSWORD, str(DBT_PROJECT)]
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
