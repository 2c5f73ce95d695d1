"""
A block's output shows what is no secret.

Fault: in what a block prints in the editor, Mage puts stars in the place of the value of every variable of the server's
environment that has eight characters or more, but for five: bucket, data set, schema and the origins' addresses too.

Patch: the settings that are no secret are shown. Hidden stay those below, whatever else has the same value; addresses
with a password in them, and the password; and variables that nobody here has declared, as Mage does.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from urllib.parse import quote

UPSTREAM = "none filed"
MODULE = "mage_ai.shared.security"
SECRET = frozenset(
    {
        "DEFAULT_OWNER_PASSWORD",
        "GIT_ACCESS_TOKEN",
        "GIT_SSH_PRIVATE_KEY",
        "JWT_SECRET",
        "MAGE_DATABASE_CONNECTION_URL",
        "MAGE_PASSWORD",
        "NATS_PASSWORD",
        "POSTGRES_PASSWORD",
        "SLACK_WEBHOOK_URL",
        "SMTP_PASSWORD",
    }
)
"""The settings that are secret; `tests/ops/mage/test_output_masking.py` asks for every line of dev.env which it is."""
SHOWN = frozenset(
    {
        "POSTGRES_HOST",
        "POSTGRES_PORT",
        "POSTGRES_DBNAME",
        "POSTGRES_USER",
        "POSTGRES_SCHEMA",
        "POSTGRES_HOST_PORT",
        "NATS_URL",
        "NATS_USER",
        "NATS_CA_FILE",
        "GCS_BUCKET",
        "GOOGLE_CLOUD_PROJECT",
        "GOOGLE_LOCATION",
        "BIGQUERY_DATASET",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "STORAGE_EMULATOR_HOST",
        "BIGQUERY_EMULATOR_HOST",
        "CLOUD_STORAGE_EMULATOR_ENDPOINT",
        "GCS_EMULATOR",
        "BIGQUERY_EMULATOR",
        "MAGE_HOST_PORT",
        "MAGE_PUBLIC_HOST",
        "MAGE_URL",
        "MAGE_EMAIL",
        "MAGE_SIGN_IN_PROVIDERS",
        "MAGE_ALLOWED_ORIGINS",
        "ENV",
        "DEFAULT_OWNER_EMAIL",
        "DEFAULT_OWNER_USERNAME",
        "GIT_PROJECT_PATH",
        "GIT_REPO_LINK",
        "GIT_BRANCH",
        "GIT_AUTH_TYPE",
        "GIT_USERNAME",
        "GIT_EMAIL",
        "GIT_KNOWN_HOSTS",
        "GIT_REPO_PATH",
        "GIT_SYNC_ON_PIPELINE_RUN",
        "MAGE_UID",
        "MAGE_IMAGE",
        "EMULATORS_IMAGE",
        "SMTP_HOST",
        "SMTP_PORT",
        "SMTP_MAIL_FROM",
        "SMTP_USER",
        "ALERT_TO",
        "CONCURRENCY_CONFIG_BLOCK_RUN_LIMIT",
        "LOAD_MONTH_EXECUTOR",
        "LOAD_MONTH_JOB_CPU",
        "LOAD_MONTH_JOB_MEMORY",
        "REMOTE_VARIABLES_DIR",
        "REMOTE_LOGS_PREFIX",
        "GCP_REGION",
        "GCP_SERVICE_NAME",
        "TLC_DTC_BASE_URL",
        "TLC_PARQUET_BASE_URL",
        "SLOWEST_DOWNLOAD_KB_PER_SECOND",
        "STAGING_DIR",
        "STAGING_MAX_GB",
        "REPORTS_DIR",
        "REPORTS_PREFIX",
        "NYC_TAXI_LOCAL_DIR",
        "MAGE_DATA_DIR",
        "MAGE_REPO_PATH",
        "HOME",
        "HOSTNAME",
        "LANG",
        "LC_ALL",
        "LOGNAME",
        "OLDPWD",
        "PATH",
        "PWD",
        "PYTHONPATH",
        "SHELL",
        "TERM",
        "TMPDIR",
        "TZ",
        "USER",
    }
)
"""The settings that are not, and what every system has."""
_WITH_ACCOUNT = re.compile(r"://[^/\s@]+@")
_PASSWORD = re.compile(r"://[^/\s@:]*:([^/\s@]+)@")


def is_needed(security: ModuleType) -> bool:
    """Whether a bucket's name is hidden."""
    return "GCS_BUCKET" not in security.WHITELISTED_ENV_VARS


def apply(security: ModuleType) -> None:
    """Hide less."""

    def filter_out_env_var_values(value: str) -> str:
        filtered: str = security.filter_out_values(value, hidden(os.environ, security.MIN_SECRET_LENGTH))
        return filtered

    security.filter_out_env_var_values = filter_out_env_var_values  # type: ignore[attr-defined]


def hidden(env: Mapping[str, str], at_least: int) -> list[str]:
    """The texts that are not to be shown, of so many characters at least."""
    shown = {value for name, value in env.items() if name in SHOWN and not _WITH_ACCOUNT.search(value)}
    found = {form for name, value in env.items() if name in SECRET for form in _forms(value)}
    found |= {
        form for name, value in env.items() if name not in SECRET and value not in shown for form in _forms(value)
    }
    return [text for text in found if len(text) >= at_least]


def _forms(value: str) -> Iterator[str]:
    """A value as it is, in an address, and in JSON; and the password of an address."""
    yield from {value, quote(value, safe=""), json.dumps(value)[1:-1]}
    if password := _PASSWORD.search(value):
        yield password[1]
