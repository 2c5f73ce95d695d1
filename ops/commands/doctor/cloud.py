"""The doctor's checks of Google Cloud: the key file, bucket and data set in one place, and the rights on them."""

from google.cloud.bigquery import QueryJobConfig
from nyc_taxi.errors import TaxiError
from nyc_taxi.google import bigquery_client, bucket_of, google_errors
from nyc_taxi.settings import GoogleSettings, Settings

from ops.commands.doctor.finding import Check, NotNeeded, Settled, Wrong

OBJECT_RIGHTS = [f"storage.objects.{verb}" for verb in ("create", "delete", "get", "list")]
BUCKET_RIGHT = "storage.buckets.get"


def _google(env: Settled) -> GoogleSettings:
    if "GCS_BUCKET" not in env:
        raise NotNeeded("no GCS_BUCKET is set: this machine's emulators serve")
    try:
        return Settings.from_environment(env).google
    except TaxiError as error:
        raise Wrong(str(error)) from None


def key_file(env: Settled) -> str:
    """Credentials that can be used: a key file that is a file, or application default ones."""
    google = _google(env)
    try:
        bucket_of(google)
    except TaxiError as error:
        raise Wrong(str(error)) from None
    return google.credentials or "application default credentials"


def location(env: Settled) -> str:
    """Bucket and data set exist and lie in the same place, or BigQuery cannot read the bucket."""
    google = _google(env)
    try:
        with google_errors(f"gs://{google.bucket}", google):
            bucket = bucket_of(google)
            bucket.reload()
        with google_errors(f"data set {google.dataset}", google):
            dataset = bigquery_client(google).get_dataset(google.dataset)
    except TaxiError as error:
        raise Wrong(str(error)) from None
    places = {bucket.location.upper(), dataset.location.upper(), google.location.upper()}
    if len(places) > 1:
        raise Wrong(
            f"bucket {google.bucket} is in {bucket.location}, data set {google.dataset} in {dataset.location}, "
            f"GOOGLE_LOCATION says {google.location}: all three must be the same; make the bucket or the data set anew"
        )
    return f"bucket {google.bucket} and data set {google.dataset} are in {dataset.location}"


def roles(env: Settled) -> str:
    """The rights that the pipelines need, asked of the services themselves."""
    google = _google(env)
    if google.storage_emulator:
        raise NotNeeded("an emulator grants everything")
    try:
        with google_errors(f"gs://{google.bucket}", google):
            granted = set(bucket_of(google).test_iam_permissions([*OBJECT_RIGHTS, BUCKET_RIGHT]))
        with google_errors("a dry run in BigQuery", google):
            bigquery_client(google).query("SELECT 1", job_config=QueryJobConfig(dry_run=True))
    except TaxiError as error:
        raise Wrong(str(error)) from None
    if missing := sorted(set(OBJECT_RIGHTS) - granted):
        raise Wrong(f"{', '.join(missing)}: grant roles/storage.objectUser on the bucket")
    if BUCKET_RIGHT not in granted:
        raise Wrong(f"{BUCKET_RIGHT}: grant roles/storage.legacyBucketReader on the bucket (Mage's client asks for it)")
    return "objects may be written and read, queries may be run"


CHECKS: dict[str, Check] = {"key file": key_file, "location": location, "roles": roles}
