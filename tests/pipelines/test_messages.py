"""The project's messages through Mage's own sender, to a webhook and a mail server on this machine."""

import json
import subprocess
import sys

import pytest
import yaml

from ops.paths import PROJECT, ROOT
from tests.mail_receiver import MailReceiver
from tests.receivers import WebhookReceiver

pytestmark = pytest.mark.mage

SEND = """
import json, sys
from datetime import datetime
from types import SimpleNamespace as Thing
from mage_ai.settings.repo import set_repo_path
set_repo_path(sys.argv[1])
from mage_ai.data_preparation.repo_manager import RepoConfig
from mage_ai.orchestration.notification.config import NotificationConfig
from mage_ai.orchestration.notification.sender import NotificationSender
sender = NotificationSender(NotificationConfig.load(config=RepoConfig(repo_path=sys.argv[1]).notification_config))
pipeline = Thing(uuid=sys.argv[2])
trigger = Thing(id=3, name=sys.argv[3], description=None)
run = Thing(id=42, execution_date=datetime(2021, 3, 1, 5), pipeline_schedule=trigger)
print("SENDING", flush=True)
for error, stacktrace in json.loads(sys.argv[4]):
    sender.send_pipeline_run_failure_message(pipeline, run, error=error, stacktrace=stacktrace)
sender.send_pipeline_run_sla_passed_message(pipeline, run)
sender.send_pipeline_run_success_message(pipeline, run)
"""
WHY = "Error for block load_api_data:\ngreen 2020-10 (dtc) load_api_data: NotPublished: not there"
FAILED = ("Failed blocks: load_api_data.", WHY)
NOTHING = dict.fromkeys(
    (
        *("SLACK_WEBHOOK_URL", "MAGE_PUBLIC_HOST", "ALERT_TO"),
        *("SMTP_HOST", "SMTP_PORT", "SMTP_MAIL_FROM", "SMTP_USER", "SMTP_PASSWORD"),
    ),
    "",
)
"""As a container sets what dev.env leaves empty."""


def send(
    env: dict[str, str],
    failures: list[tuple[str | None, str | None]],
    pipeline: str = "api_to_postgres",
    trigger: str = "every month",
) -> str:
    """Send a message per failure, one of a late run and one of a success; what was printed meanwhile."""
    command = [sys.executable, "-c", SEND, str(PROJECT), pipeline, trigger, json.dumps(failures)]
    sent = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert sent.returncode == 0, sent.stderr[-3_000:]
    return f"{sent.stdout}{sent.stderr}".partition("SENDING\n")[2]


def test_slack_and_mail_name_pipeline_month_error_and_run(env: dict[str, str]) -> None:
    with WebhookReceiver() as slack, MailReceiver() as mail:
        places = {
            "SLACK_WEBHOOK_URL": slack.url,
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(mail.port),
            "SMTP_MAIL_FROM": "mage@example.org",
            "ALERT_TO": "ann@example.org,bob@example.org",
            "MAGE_PUBLIC_HOST": "https://mage.example.org",
        }
        said = send(env | NOTHING | places, [FAILED])
    assert "Traceback" not in said
    failed, late = (text.splitlines() for text in slack.texts())
    assert failed == [
        "api_to_postgres failed (2021-03-01 05:00)",
        "Trigger every month, run of 2021-03-01 05:00. Failed blocks: load_api_data.",
        "Error for block load_api_data:",
        "green 2020-10 (dtc) load_api_data: NotPublished: not there",
        "Its log, and a retry once the cause is fixed: https://mage.example.org/pipelines/api_to_postgres/runs/42",
    ]
    assert late == [
        "api_to_postgres is late (2021-03-01 05:00)",
        "Trigger every month, run of 2021-03-01 05:00: it is not done in the time that it has.",
        "What it does or waits for: https://mage.example.org/pipelines/api_to_postgres/runs/42",
    ]
    assert [message["Subject"] for message in mail.received] == [failed[0], late[0]]
    assert mail.received[0].get_content().splitlines() == failed[1:]
    assert mail.envelopes == [["mage@example.org", "ann@example.org", "bob@example.org"]] * 2


@pytest.mark.parametrize("unset", [{}, NOTHING, NOTHING | {"SMTP_HOST": "127.0.0.1", "SMTP_MAIL_FROM": "a@b.c"}])
def test_nothing_is_sent_and_nothing_is_said_where_nothing_is_set(env: dict[str, str], unset: dict[str, str]) -> None:
    assert send(env | unset, [FAILED]) == ""


def test_slack_takes_a_message_of_any_error(env: dict[str, str]) -> None:
    long, name = "x" * 50_000, "y" * 200
    braces = "KeyError: {pipeline_uuid} {nothing} {0}"
    with WebhookReceiver() as slack:
        failures = [(long, long), (None, None), (braces, braces)]
        said = send(env | {"SLACK_WEBHOOK_URL": slack.url}, failures, pipeline=name, trigger=name)
    assert "Traceback" not in said
    assert len(slack.received) == 4
    for message in slack.received:
        header, _, section = message["blocks"]
        assert len(header["text"]["text"]) < 150
        assert len(section["text"]["text"]) < 3_000
    assert braces in slack.texts()[2]


def test_a_mail_server_with_an_account_is_spoken_to_in_private(env: dict[str, str]) -> None:
    with MailReceiver() as mail:
        account = {
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(mail.port),
            "SMTP_MAIL_FROM": "a@b.c",
            "ALERT_TO": "d@e.f",
        }
        said = send(env | account | {"SMTP_USER": "mage", "SMTP_PASSWORD": "secret-word"}, [FAILED])
    assert "STARTTLS extension not supported by server" in said
    assert "secret-word" not in said
    assert mail.received == []


def test_the_file_is_plain_yaml_and_every_setting_of_it_is_in_dev_env() -> None:
    text = (PROJECT / "metadata.yaml").read_text()
    config = yaml.safe_load(text)["notification_config"]
    assert config["alert_on"] == ["trigger_failure", "trigger_passed_sla"]
    asked = {part.split("'")[0] for part in text.split("env_var('")[1:]}
    offered = {line.split("=")[0] for line in (ROOT / "dev.env").read_text().splitlines() if "=" in line}
    assert set(NOTHING) - {"MAGE_PUBLIC_HOST"} <= asked
    assert set(NOTHING) <= offered
