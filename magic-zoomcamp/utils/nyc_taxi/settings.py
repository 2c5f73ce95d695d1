"""
The only reader of the environment, and the context of one run.

Every variable is listed with a comment in dev.env. A block passes its keyword arguments to `run_context`
and hands the result to one library function.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

from nyc_taxi.errors import UnknownName
from nyc_taxi.months import Month
from nyc_taxi.quality import rule_named
from nyc_taxi.services import ORIGINS, Origin, Service, origin_named, service_named

IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")
# https://cloud.google.com/storage/docs/buckets#naming, without the rules that only Google can judge.
BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
DATASET = re.compile(r"\w{1,1024}", re.ASCII)
LONGEST_WAIT_HOURS = 24 * 366
SWITCH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|WEBHOOK|CONNECTION_URL|API_KEY")
SHORTEST_SECRET = 4
"""Characters. A switch such as HIDE_API_TRIGGER_TOKEN=1 is no secret, and would hide every 1."""
_USER_AND_PASSWORD = re.compile(r"(?<=://)[^\s/@]*:[^\s/@]*(?=@)")


@dataclass(frozen=True)
class PostgresSettings:
    """Where the Postgres server is, as Mage reaches it."""

    host: str
    port: int
    dbname: str
    schema: str
    user: str
    password: str = field(repr=False)

    @property
    def where(self) -> str:
        """host:port/dbname, for messages."""
        return f"{self.host}:{self.port}/{self.dbname}"


@dataclass(frozen=True)
class GoogleSettings:
    """Which bucket and data set, in which project; with emulators, where those are."""

    bucket: str
    """Empty when none is set: only the pipelines that need one ask for it."""
    project: str
    """Empty: the project of the credentials."""
    location: str
    """Where the data set is, such as US or europe-west1."""
    dataset: str
    credentials: str
    """Path of a service account key; empty for application default credentials."""
    storage_emulator: str
    """Base URL of a stand-in for Cloud Storage; empty for the real one."""
    bigquery_emulator: str
    """Base URL of a stand-in for BigQuery; empty for the real one."""


@dataclass(frozen=True)
class Settings:
    """What differs between this machine, another server and the cloud."""

    postgres: PostgresSettings
    base_urls: Mapping[str, str]
    """Per origin, the address that its file names are appended to."""
    staging_dir: Path
    reports_dir: Path
    google: GoogleSettings
    executor: str
    """What runs the months of load_many, as Mage names it: local_python is this machine."""
    shared_outputs: str
    """The bucket's folder where jobs of other machines find what blocks hand to each other; empty for none."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the environment; an empty variable counts as unset. UnknownName for a value that cannot be."""

        def get(name: str, default: str) -> str:
            return environ.get(name) or default

        schema, port = get("POSTGRES_SCHEMA", "ny_taxi"), get("POSTGRES_PORT", "5432")
        if not IDENTIFIER.fullmatch(schema):
            raise UnknownName(f"POSTGRES_SCHEMA {schema!r} is not a lower-case SQL name such as ny_taxi")
        if not port.isdecimal():
            raise UnknownName(f"POSTGRES_PORT {port!r} is not a number such as 5432")
        bucket, dataset = get("GCS_BUCKET", ""), get("BIGQUERY_DATASET", "ny_taxi")
        if bucket and not BUCKET.fullmatch(bucket):
            raise UnknownName(f"GCS_BUCKET {bucket!r} is no bucket's name: give it alone, without gs:// and slashes")
        if not DATASET.fullmatch(dataset):
            raise UnknownName(f"BIGQUERY_DATASET {dataset!r} is no data set's name: letters, digits and _ only")
        return cls(
            postgres=PostgresSettings(
                host=get("POSTGRES_HOST", "127.0.0.1"),
                port=int(port),
                dbname=get("POSTGRES_DBNAME", "mage"),
                schema=schema,
                user=get("POSTGRES_USER", "mage"),
                password=get("POSTGRES_PASSWORD", ""),
            ),
            base_urls={origin.name: get(origin.mirror, origin.base_url) for origin in ORIGINS.values()},
            staging_dir=Path(get("STAGING_DIR", ".local/staging")).resolve(),
            reports_dir=Path(get("REPORTS_DIR", ".local/reports")).resolve(),
            google=GoogleSettings(
                bucket=bucket,
                project=get("GOOGLE_CLOUD_PROJECT", ""),
                location=get("GOOGLE_LOCATION", "US"),
                dataset=dataset,
                credentials=get("GOOGLE_APPLICATION_CREDENTIALS", ""),
                storage_emulator=get("STORAGE_EMULATOR_HOST", ""),
                bigquery_emulator=get("BIGQUERY_EMULATOR_HOST", ""),
            ),
            executor=get("LOAD_MONTH_EXECUTOR", "local_python"),
            shared_outputs=get("REMOTE_VARIABLES_DIR", ""),
        )


@dataclass(frozen=True)
class RunContext:
    """One run: which trip file, which rules, where to."""

    service: Service
    month: Month
    origin: Origin
    rules: tuple[str, ...]
    settings: Settings

    def __str__(self) -> str:
        """Service, month and origin, for messages."""
        return f"{self.service.name} {self.month} ({self.origin.name})"


def run_context(variables: Mapping[str, object], settings: Settings | None = None) -> RunContext:
    """
    Make the context from a block's keyword arguments, that is from Mage's runtime variables.

    Reads service, month, month_offset, execution_date, default_date, origin and rules, and refuses what does not exist
    with UnknownName before anything is fetched. Without a month, it is that of execution_date moved by month_offset:
    Mage gives execution_date as a datetime with or without a zone, as text, or not at all. default_date takes its
    place in a run by hand, so that a block can be tried in the editor; a trigger or a backfill never sees it.
    """
    service, month = service_and_month(variables)
    origin = origin_named(_text(variables.get("origin"), "dtc"))
    _refuse_unpublishable(service, month, origin)
    return RunContext(
        service, month, origin, _rules(variables.get("rules"), service), settings or Settings.from_environment()
    )


def service_and_month(variables: Mapping[str, object]) -> tuple[Service, Month]:
    """The service and month of a run that needs no origin: its trips are in the lake. UnknownName as in run_context."""
    return service_named(_text(variables.get("service"), "yellow")), _month(variables)


def execution_day(variables: Mapping[str, object]) -> date:
    """The day of the run: the variable day, else the execution_date; UnknownName when the run has neither."""
    when = _execution_date(variables)
    if when is None:
        raise UnknownName("no execution_date: give it as YYYY-MM-DD, or run by a trigger or a backfill")
    return date(when.year, when.month, when.day)


def longest_wait(variables: Mapping[str, object]) -> timedelta:
    """
    How long a sensor of the run waits: the variable wait_hours, none when it is empty.

    UnknownName for what is no number of hours from 0 to a year.
    """
    text = _text(variables.get("wait_hours"), "0")
    try:
        hours = float(text)
    except ValueError:
        hours = -1
    if not 0 <= hours <= LONGEST_WAIT_HOURS:
        raise UnknownName(f"wait_hours {text!r} is not a number of hours from 0 to {LONGEST_WAIT_HOURS:,}, such as 480")
    return timedelta(hours=hours)


def is_forced(variables: Mapping[str, object]) -> bool:
    """Whether the run loads its month even if nothing is new: the variable force; UnknownName unless true or false."""
    text = _text(variables.get("force"), "false")
    if text.lower() not in SWITCH:
        raise UnknownName(f"force {text!r} is neither true nor false")
    return SWITCH[text.lower()]


def without_secrets(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """The same text with every password, token and webhook address of the environment, and of any URL, as ***."""
    found = {value for name, value in environ.items() if SECRET_NAME.search(name.upper())}
    # The longest first: one secret may be part of another.
    for secret in sorted(found, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET and secret.lower() not in SWITCH:
            text = text.replace(secret, "***")
    return _USER_AND_PASSWORD.sub("***", text)


def _text(value: object, default: str = "") -> str:
    return str(value).strip() if value is not None and str(value).strip() else default


def _month(variables: Mapping[str, object]) -> Month:
    text = _text(variables.get("month"))
    try:
        if text:
            return Month.parse(text)
    except ValueError as error:
        raise UnknownName(str(error)) from None
    when, offset = _execution_date(variables), _text(variables.get("month_offset"), "0")
    if when is None:
        raise UnknownName("no month: give the variable month (YYYY-MM), or run with an execution_date")
    try:
        return Month.of(when).shift(int(offset))
    except ValueError:
        raise UnknownName(f"month_offset {offset!r} is not a whole number of months such as -2") from None


def _execution_date(variables: Mapping[str, object]) -> date | None:
    name, when = "execution_date", variables.get("execution_date")
    if _text(variables.get("day")):
        # A person asks for a day in a form; Mage gives such a run this very moment as its execution_date.
        name, when = "day", variables["day"]
    # A scheduled run has a pipeline_run_id. Mage's editor has none, and this very moment as its execution_date.
    elif not _text(variables.get("pipeline_run_id")) and not (isinstance(when, str) and when.strip()):
        default = variables.get("default_date")
        name, when = ("default_date", default) if _text(default) else (name, when)
    if isinstance(when, str) and when.strip():
        try:
            return datetime.fromisoformat(when.strip())
        except ValueError:
            raise UnknownName(f"{name} {when!r} is not a date such as 2021-01-31T00:00:00") from None
    return when if isinstance(when, date) else None


def _refuse_unpublishable(service: Service, month: Month, origin: Origin) -> None:
    first, last = origin.first.get(service.name), origin.last
    if first is None:
        others = [other.name for other in ORIGINS.values() if service.name in other.first]
        raise UnknownName(
            f"origin {origin.name} has no {service.name}, but {', '.join(others) or 'no other'} has: set it"
        )
    if month < first or (last and month > last):
        raise UnknownName(
            f"{service.name} {month} does not exist at origin {origin.name}, which has {first} to "
            f"{last or f'about {origin.lateness} ago'}: choose another month or origin"
        )


def _rules(value: object, service: Service) -> tuple[str, ...]:
    """Rule names from a list or from text with commas; empty means the service's own, 'none' means no rule."""
    listed = value if isinstance(value, Iterable) and not isinstance(value, str) else _text(value).split(",")
    names = [_text(name) for name in listed if _text(name)]
    rules = [rule_named(name) for name in names if name != "none"]
    for rule in rules:
        if rule.column not in service.schema.names:
            raise UnknownName(f"rule {rule.name!r} looks at {rule.column}, which {service.name} does not have")
    return tuple(rule.name for rule in rules) if names else service.rules
