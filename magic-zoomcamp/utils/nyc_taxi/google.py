"""
Every client of Google Cloud, made in one place, and their errors turned into one line that says what to do.

The same code reaches the real cloud and the emulators of this machine: settings say which. Credentials are those of
GOOGLE_APPLICATION_CREDENTIALS, else application default credentials; an emulator asks for none.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import google.auth
import requests
from google.api_core import exceptions
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from google.cloud.storage import Bucket, Client
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from nyc_taxi.errors import TargetUnavailable, UnknownName
from nyc_taxi.settings import GoogleSettings

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
REQUEST_SECONDS = 60.0
RETRY_SECONDS = 60.0
"""How long a request that may be repeated is repeated; Google's own default is two minutes."""
ROLES = {
    "storage.buckets": "roles/storage.legacyBucketReader on the bucket",
    "storage.": "roles/storage.objectAdmin on the bucket",
    "bigquery.jobs": "roles/bigquery.jobUser on the project",
    "bigquery.readsessions": "roles/bigquery.readSessionUser on the project",
    "bigquery.": "roles/bigquery.dataEditor on the data set",
}
"""The smallest usual role that holds a permission, by the permission's beginning; the first that fits counts."""
_MISPLACED = (
    "bucket {bucket}, data set {dataset} and GOOGLE_LOCATION must be in one place: set GOOGLE_LOCATION "
    "({location}) to the data set's, or make the data set there (bq mk --location={location} {dataset})"
)
BYTES_LOST = "bytes were changed on the way, and the object is as it was: run again"
_NO_DATASET = (
    "no data set {dataset} at {location}: make it (bq mk --location={location} {dataset}), or set BIGQUERY_DATASET to "
    "another, or GOOGLE_LOCATION to where it is"
)
ADVICE = {
    "not found: table": (
        "no such table in data set {dataset} at {location}: load a month (gcs_to_bigquery), or check GOOGLE_LOCATION "
        "and BIGQUERY_DATASET"
    ),
    "not found: dataset": _NO_DATASET,  # which goes on with "was not found in location"
    "different location": _MISPLACED,
    "in location": _MISPLACED,
    "not found: project": "no such project: check GOOGLE_CLOUD_PROJECT",
    "bucket does not exist": (
        "make the bucket (gcloud storage buckets create gs://{bucket} --location={location}), or set GCS_BUCKET"
    ),
    "crc32c": BYTES_LOST,
    "precondition": "another run changed it at the same time: run again",
    "concurrent update": "another run changed it at the same time: run again",
}
"""What to do, by a sign in the service's message; the first that fits counts."""
REFUSALS = {
    "billing": "the project has no billing, without which BigQuery changes no rows: turn it on",
    "has not been used in project": "the project does not use this service yet: gcloud services enable "
    "bigquery.googleapis.com storage.googleapis.com",
    "quota": "the project's quota is used up: wait, or ask Google for more",
    "rate limits": "too many requests at once: run again",
}
"""The same for what Google answers like a missing permission."""
# InvalidResponse is what an upload ends with when every repetition of it was answered with 5xx.
SILENCE = (requests.RequestException, TimeoutError, InvalidResponse)
"""What the clients raise when the service does not answer."""
_DATASET = re.compile(r"Not found: Dataset [\w.-]+:(\w+)")
_PERMISSION = re.compile(r"\b((?:storage|bigquery)\.\w+(?:\.\w+)?)")


def storage_client(settings: GoogleSettings) -> Client:
    """A client of Cloud Storage; TargetUnavailable when there are no usable credentials."""
    if settings.storage_emulator:
        return Client(
            project=settings.project or "local",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": settings.storage_emulator},
        )
    credentials, project = _credentials(settings)
    return Client(project=project, credentials=credentials)


def bigquery_client(settings: GoogleSettings) -> bigquery.Client:
    """A client of BigQuery in the data set's location; TargetUnavailable when there are no usable credentials."""
    if settings.bigquery_emulator:
        return bigquery.Client(
            project=settings.project or "local",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            location=settings.location,
            client_options={"api_endpoint": settings.bigquery_emulator},
        )
    credentials, project = _credentials(settings)
    return bigquery.Client(project=project, credentials=credentials, location=settings.location)


def bigquery_rows(client: bigquery.Client, sql: str, seconds: float | None = None) -> list[tuple[Any, ...]]:
    """The rows that a query answers with; for few of them. `seconds`: the patience of bigquery_retry."""
    patient = bigquery_retry(seconds)
    job = client.query(sql, retry=patient, timeout=REQUEST_SECONDS, job_retry=None)
    answer = job.result(retry=patient, timeout=REQUEST_SECONDS, job_retry=None)
    return [tuple(row) for row in answer]


def bucket_of(settings: GoogleSettings) -> Bucket:
    """The bucket, without asking whether it exists: that would need a right of its own."""
    if not settings.bucket:
        raise UnknownName("GCS_BUCKET is not set: give the name of a bucket, in .env or in the environment")
    return storage_client(settings).bucket(settings.bucket)


def retry() -> Retry:
    """For requests that may be repeated without harm."""
    patient: Retry = DEFAULT_RETRY.with_timeout(RETRY_SECONDS)
    return patient


def bigquery_retry(seconds: float | None = None) -> Retry:
    """The same for BigQuery, which says in the body of its answer what may be repeated."""
    patient: Retry = bigquery.DEFAULT_RETRY.with_timeout(RETRY_SECONDS if seconds is None else seconds)
    return patient


def _credentials(settings: GoogleSettings) -> tuple[Credentials, str]:
    if settings.credentials and not Path(settings.credentials).is_file():
        kind = "is a folder" if Path(settings.credentials).is_dir() else "does not exist"
        raise TargetUnavailable(
            f"GOOGLE_APPLICATION_CREDENTIALS {settings.credentials} {kind}: name a service account's key file, or "
            f"leave it empty to use application default credentials"
        )
    try:
        # Both return credentials and the project that they name, if any.
        named = partial(google.auth.load_credentials_from_file, settings.credentials)
        found = (named if settings.credentials else google.auth.default)(scopes=SCOPES)
    except (GoogleAuthError, ValueError) as error:
        raise TargetUnavailable(
            f"no usable Google credentials: run `gcloud auth application-default login`, or set "
            f"GOOGLE_APPLICATION_CREDENTIALS to a key file [{_one_line(error)}]"
        ) from None
    project = settings.project or found[1]
    if not project:
        raise UnknownName("GOOGLE_CLOUD_PROJECT is not set, and the credentials name no project: set it")
    return found[0], project


@contextmanager
def google_errors(what: str, settings: GoogleSettings) -> Iterator[None]:
    """Raise TargetUnavailable, with what to do, in the place of the client libraries' errors."""
    try:
        yield
    except (exceptions.GoogleAPIError, GoogleAuthError, DataCorruption, *SILENCE) as error:
        cause: BaseException = error
        while isinstance(cause, exceptions.RetryError) and cause.cause:  # one may be in another
            cause = cause.cause
        raise TargetUnavailable(f"{what}: {_what_to_do(cause, settings)} [{_one_line(cause)}]") from None


def _what_to_do(error: BaseException, settings: GoogleSettings) -> str:
    """What to do: by the kind of error, then by a sign in the service's message."""
    text = str(error)
    if isinstance(error, GoogleAuthError):
        return "Google does not accept the credentials: check GOOGLE_APPLICATION_CREDENTIALS, or sign in again"
    if isinstance(error, exceptions.Forbidden | exceptions.Unauthorized):
        return _grant(text)
    if isinstance(error, DataCorruption):
        return BYTES_LOST
    if isinstance(error, (*SILENCE, exceptions.ServerError)):
        return "it does not answer: check the network, or start the emulators (taxi up), and run again"
    signs = ADVICE if isinstance(error, exceptions.ClientError) else {}
    advice = next((advice for sign, advice in signs.items() if sign in text.lower()), "it was refused")
    missing = _DATASET.search(text)  # a query may name another than BIGQUERY_DATASET
    return advice.format(
        bucket=settings.bucket, dataset=missing[1] if missing else settings.dataset, location=settings.location
    )


def is_misplaced(error: Exception) -> bool:
    """Whether bucket, data set and job are not all in one place."""
    return any(sign in str(error).lower() for sign, advice in ADVICE.items() if advice is _MISPLACED)


def _grant(text: str) -> str:
    refusal = next((advice for sign, advice in REFUSALS.items() if sign in text.lower()), "")
    if refusal:
        return refusal
    permission = _PERMISSION.search(text)
    if not permission:
        return f"permission denied: grant the account {ROLES['storage.']}, {ROLES['bigquery.']}"
    role = next(role for start, role in ROLES.items() if permission[1].startswith(start))
    return f"the account lacks {permission[1]}: grant it {role}"


def _one_line(error: BaseException | None) -> str:
    return " ".join(str(error).split())[:400]
