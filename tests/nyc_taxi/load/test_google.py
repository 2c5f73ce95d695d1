"""Google's errors become one line that says what to grant, make or set."""

import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from nyc_taxi.catalog.services import YELLOW
from nyc_taxi.errors import TargetUnavailable, UnknownName
from nyc_taxi.load.bucket.month import find_month, measure_month, replace_month
from nyc_taxi.load.bucket.slice import write_slice
from nyc_taxi.settings import GoogleSettings

from ops.ports import free_port
from tests.nyc_taxi.load.bucket.bucket_helpers import (
    JANUARY,
    KEPT,
    Months,
    refusing,
)


def test_without_a_bucket_the_message_names_the_variable(google: GoogleSettings, months: Months) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 500)
    nameless = replace(google, bucket="")
    wanted = "^GCS_BUCKET is not set: give the name of a bucket, in .env or in the environment$"
    for ask in (
        lambda: replace_month(file, nameless),
        lambda: find_month(YELLOW, JANUARY, nameless),
        lambda: measure_month(YELLOW, JANUARY, nameless),
        lambda: write_slice(file, date(2021, 1, 15), nameless),
    ):
        with pytest.raises(UnknownName, match=wanted):
            ask()


def test_a_bucket_that_does_not_exist_is_named_with_the_command_that_makes_it(
    google: GoogleSettings, months: Months
) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 500)
    with pytest.raises(TargetUnavailable) as refused:
        replace_month(file, replace(google, bucket="nobodys"))
    assert str(refused.value).startswith(
        f"gs://nobodys/{KEPT}: make the bucket (gcloud storage buckets create gs://nobodys --location=US), or set "
        f"GCS_BUCKET ["
    )
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "said", "reason", "message"),
    [
        (
            403,
            "mage@p.iam.gserviceaccount.com does not have storage.objects.create access to the Google Cloud Storage "
            "object. Permission 'storage.objects.create' denied on resource (or it may not exist).",
            "forbidden",
            "the account lacks storage.objects.create: grant it roles/storage.objectAdmin on the bucket",
        ),
        (
            403,
            "mage@p.iam.gserviceaccount.com does not have storage.buckets.get access to the Google Cloud Storage "
            "bucket.",
            "forbidden",
            "the account lacks storage.buckets.get: grant it roles/storage.legacyBucketReader on the bucket",
        ),
        (
            404,
            "The specified bucket does not exist.",
            "notFound",
            "make the bucket (gcloud storage buckets create gs://nyc-taxi-trips --location=US), or set GCS_BUCKET",
        ),
        (
            400,
            'Provided CRC32C "AAAAAA==" doesn\'t match calculated CRC32C "lj9KJg==".',
            "invalid",
            "bytes were changed on the way, and the object is as it was: run again",
        ),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_grant_or_make(
    google: GoogleSettings, months: Months, status: int, said: str, reason: str, message: str
) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 500)
    with refusing(status, said, reason) as url:
        refused_by = replace(google, storage_emulator=url, bucket="nyc-taxi-trips")
        began = time.monotonic()
        with pytest.raises(TargetUnavailable) as refused:
            replace_month(file, refused_by)
        assert time.monotonic() - began < 2  # what is refused is not asked again
    assert str(refused.value).startswith(f"gs://nyc-taxi-trips/{KEPT}: {message} [{status} ")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_finding_a_month_that_we_may_not_read_names_the_role(google: GoogleSettings) -> None:
    said = "mage@p.iam.gserviceaccount.com does not have storage.objects.get access to the Google Cloud Storage object."
    with refusing(403, said, "forbidden") as url, pytest.raises(TargetUnavailable) as refused:
        find_month(YELLOW, JANUARY, replace(google, storage_emulator=url))
    assert ": the account lacks storage.objects.get: grant it roles/storage.objectAdmin on the bucket [403 " in str(
        refused.value
    )


def test_a_service_that_is_overloaded_is_asked_again_and_then_named(
    google: GoogleSettings, months: Months, impatient: float
) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 500)
    with refusing(503, "We encountered an internal error. Please try again.", "backendError") as url:
        busy = replace(google, storage_emulator=url)
        began = time.monotonic()
        with pytest.raises(TargetUnavailable, match=rf"^gs://{google.bucket}/{KEPT}: it does not answer: .*503"):
            replace_month(file, busy)
        assert time.monotonic() - began < 3 * impatient
        with pytest.raises(TargetUnavailable, match=r": it does not answer: check the network, .* \[503 "):
            find_month(YELLOW, JANUARY, busy)


def test_an_address_where_nobody_listens_is_named(google: GoogleSettings, months: Months, impatient: float) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 500)
    began = time.monotonic()
    with pytest.raises(TargetUnavailable, match=r"it does not answer: .* start the emulators \(taxi up\)"):
        replace_month(file, replace(google, storage_emulator=f"http://127.0.0.1:{free_port()}"))
    assert time.monotonic() - began < 3 * impatient


def test_credentials_that_point_nowhere_or_to_a_folder_are_named_before_anything_is_sent(
    google: GoogleSettings, months: Months, tmp_path: Path
) -> None:
    file = months.judged("yellow", "2021-01", "dtc", 500)
    for path, kind in ((tmp_path / "key.json", "does not exist"), (tmp_path, "is a folder")):
        real = replace(google, storage_emulator="", credentials=str(path))
        with pytest.raises(TargetUnavailable) as refused:
            replace_month(file, real)
        assert str(refused.value) == (
            f"GOOGLE_APPLICATION_CREDENTIALS {path} {kind}: name a service account's key file, or leave it empty to "
            f"use application default credentials"
        )


@pytest.mark.parametrize("content", ["", "{}", "not JSON", '{"type": "service_account"}'])
def test_a_key_file_that_is_none_is_named(google: GoogleSettings, months: Months, tmp_path: Path, content: str) -> None:
    key = tmp_path / "key.json"
    key.write_text(content)
    real = replace(google, storage_emulator="", credentials=str(key))
    with pytest.raises(TargetUnavailable) as refused:
        replace_month(months.judged("yellow", "2021-01", "dtc", 500), real)
    assert str(refused.value).startswith(
        "no usable Google credentials: run `gcloud auth application-default login`, or set "
        "GOOGLE_APPLICATION_CREDENTIALS to a key file ["
    )
    assert "\n" not in str(refused.value)
