"""The only reader of the environment; every variable is listed with a comment in dev.env."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nyc_taxi.catalog.origins import ORIGINS
from nyc_taxi.errors import UnknownName

IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")
# https://cloud.google.com/storage/docs/buckets#naming, without the rules that only Google can judge.
BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
DATASET = re.compile(r"\w{1,1024}", re.ASCII)
BROKER = re.compile(r"(nats|tls)://[^\s/@,]+(,(nats|tls)://[^\s/@,]+)*")
NUMBER = re.compile(r"\d{1,6}(\.\d{1,9})?", re.ASCII)
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
    """Base URL of an emulator of Cloud Storage; empty for the real one."""
    bigquery_emulator: str
    """Base URL of an emulator of BigQuery; empty for the real one."""


@dataclass(frozen=True)
class BrokerSettings:
    """Where the broker of the stream is: a NATS server with JetStream, or a cluster of them."""

    url: str
    """One address, or several with commas."""
    user: str
    password: str = field(repr=False)
    ca_file: str
    """The authority that signed the servers' certificates; empty for those that this system knows."""


@dataclass(frozen=True)
class Settings:
    """What differs between this machine, another server and the cloud."""

    postgres: PostgresSettings
    base_urls: Mapping[str, str]
    """Per origin, the address that its file names are appended to: https://, http:// or gs://."""
    staging_dir: Path
    staging_most: int
    """Bytes that the staging folder may hold; 0: as many as the disk."""
    reports_dir: Path
    reports_prefix: str
    """A folder's name in the bucket where reports are kept too; empty for none."""
    public_url: str
    """Where people reach the web UI, without a slash at the end; empty where none is known."""
    google: GoogleSettings
    broker: BrokerSettings
    slowest_download: int
    """Bytes a second below which an origin's answer is given up and asked for again; 0: never."""
    executor: str
    """What runs the months of load_many, as Mage names it: local_python is this machine."""
    shared_outputs: str
    """The bucket's folder where jobs of other machines find what blocks hand to each other; empty for none."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the environment; an empty variable counts as unset. UnknownName for a value that cannot be."""

        def get(name: str, default: str) -> str:
            return environ.get(name) or default

        slowest = get("SLOWEST_DOWNLOAD_KB_PER_SECOND", "10")
        if not slowest.isdecimal():
            raise UnknownName(f"SLOWEST_DOWNLOAD_KB_PER_SECOND {slowest!r} is not a number such as 10, or 0 for none")
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
        staging_most = get("STAGING_MAX_GB", "0")
        if not NUMBER.fullmatch(staging_most):
            raise UnknownName(f"STAGING_MAX_GB {staging_most!r} is not a number such as 1.5, or 0 for no bound")
        broker = get("NATS_URL", "nats://127.0.0.1:4222")
        if not BROKER.fullmatch(broker):  # never shown: it may hold an account
            raise UnknownName("NATS_URL is not of the form nats://HOST:PORT, or tls://; an account is NATS_USER's")
        base_urls = {origin.name: get(origin.mirror, origin.base_url) for origin in ORIGINS.values()}
        for name, url in base_urls.items():
            if url.startswith("gs://") and not BUCKET.fullmatch(url.removeprefix("gs://").partition("/")[0]):
                raise UnknownName(f"{ORIGINS[name].mirror} {url!r} names no bucket: write it as gs://BUCKET/FOLDER")
        return cls(
            postgres=PostgresSettings(
                host=get("POSTGRES_HOST", "127.0.0.1"),
                port=int(port),
                dbname=get("POSTGRES_DBNAME", "mage"),
                schema=schema,
                user=get("POSTGRES_USER", "mage"),
                password=get("POSTGRES_PASSWORD", ""),
            ),
            base_urls=base_urls,
            staging_dir=Path(get("STAGING_DIR", ".local/staging")).resolve(),
            staging_most=int(float(staging_most) * 1e9),
            reports_dir=Path(get("REPORTS_DIR", ".local/reports")).resolve(),
            reports_prefix=get("REPORTS_PREFIX", "").strip("/"),
            public_url=get("MAGE_PUBLIC_HOST", "").rstrip("/"),
            google=GoogleSettings(
                bucket=bucket,
                project=get("GOOGLE_CLOUD_PROJECT", ""),
                location=get("GOOGLE_LOCATION", "US"),
                dataset=dataset,
                credentials=get("GOOGLE_APPLICATION_CREDENTIALS", ""),
                storage_emulator=get("STORAGE_EMULATOR_HOST", ""),
                bigquery_emulator=get("BIGQUERY_EMULATOR_HOST", ""),
            ),
            broker=BrokerSettings(
                url=broker,
                user=get("NATS_USER", ""),
                password=get("NATS_PASSWORD", ""),
                ca_file=get("NATS_CA_FILE", ""),
            ),
            slowest_download=int(slowest) * 1_000,
            executor=get("LOAD_MONTH_EXECUTOR", "local_python"),
            shared_outputs=get("REMOTE_VARIABLES_DIR", ""),
        )


def without_secrets(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """The same text with every password, token and webhook address of the environment, and of any URL, as ***."""
    found = {value for name, value in environ.items() if SECRET_NAME.search(name.upper())}
    # The longest first: one secret may be part of another.
    for secret in sorted(found, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET and secret.lower() not in SWITCH:
            text = text.replace(secret, "***")
    return _USER_AND_PASSWORD.sub("***", text)
