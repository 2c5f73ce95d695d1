"""terraform/leftovers.sh, with programs in the place of gcloud and bq that answer as Google does."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import process_environment
from tests.deploy.terraform import SOURCE, Configuration

# Looks for the answer to its arguments, prints it, and keeps the question.
PROGRAM = r"""#!/usr/bin/env python3
import json, pathlib, re, sys
here, asked = pathlib.Path(__file__).parent, " ".join(sys.argv)
with (here / "asked").open("a") as log:
    log.write(re.sub(r"^\S*/", "", asked) + "\n")
for pattern, (code, text) in json.loads((here / "answers.json").read_text()).items():
    if re.search(pattern, asked):
        print(text, file=sys.stderr if code else sys.stdout)
        sys.exit(code)
"""
API_OFF = (
    1,
    "ERROR: (gcloud.compute.addresses.list) Compute Engine API has not been used in project my-project before",
)
DENIED = (1, "ERROR: (gcloud.sql.instances.list) The client is not authorized to make this request.")
NO_LABELS = {
    "google_compute_backend_service": "backend-services",
    "google_compute_managed_ssl_certificate": "ssl-certificates",
    "google_compute_region_network_endpoint_group": "network-endpoint-groups",
    "google_compute_security_policy": "security-policies",
    "google_compute_ssl_policy": "ssl-policies",
    "google_compute_target_http_proxy": "target-http-proxies",
    "google_compute_target_https_proxy": "target-https-proxies",
    "google_compute_url_map": "url-maps",
    "google_iam_workload_identity_pool": "workload-identity-pools",
    "google_project_iam_custom_role": "iam roles list",
    "google_project_iam_member": "get-iam-policy",
    "google_service_account": "service-accounts",
}
LABELLED = {
    "google_artifact_registry_repository": "artifacts repositories",
    "google_bigquery_dataset": "ls --datasets",
    "google_cloud_run_v2_service": "run services",
    "google_compute_global_address": "compute addresses",
    "google_compute_global_forwarding_rule": "compute forwarding-rules",
    "google_filestore_instance": "filestore instances",
    "google_secret_manager_secret": "secrets",
    "google_sql_database_instance": "sql instances",
    "google_storage_bucket": "storage buckets",
}
GONE_WITH_ANOTHER = {
    "google_billing_budget",  # not in the project
    "google_iam_workload_identity_pool_provider",
    "google_project_service",  # stays on, and costs nothing
    "google_secret_manager_secret_version",
    "google_sql_database",
    "google_sql_user",
}


def leftovers(folder: Path, answers: dict[str, tuple[int, str]]) -> "subprocess.CompletedProcess[str]":
    """Run it with these answers, by a pattern of the question; anything else has none."""
    for name in ("gcloud", "bq"):
        (folder / name).write_text(PROGRAM)
        (folder / name).chmod(0o755)
    (folder / "answers.json").write_text(json.dumps(answers))
    env = process_environment()
    env["PATH"] = f"{folder}{os.pathsep}{env['PATH']}"
    command = [str(SOURCE / "leftovers.sh"), "my-project", "europe-west1", "mage"]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_nothing_is_left(tmp_path: Path) -> None:
    done = leftovers(tmp_path, {"bq": (0, "[]")})
    assert (done.returncode, done.stdout, done.stderr) == (0, "Nothing is left.\n", "")


def test_everything_that_is_left_is_a_line(tmp_path: Path) -> None:
    answers = {
        "sql instances": (0, "mage-0a1b2c"),
        "secrets list": (0, "mage-jwt-secret\nmage-owner-password"),
        "get-iam-policy": (0, "deleted:serviceAccount:mage-run@x?uid=1\troles/cloudsql.client"),
        "bq": (0, '[{"id": "my-project:ny_taxi", "datasetReference": {"datasetId": "ny_taxi"}}]'),
    }
    done = leftovers(tmp_path, answers)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "left: Cloud SQL instance: mage-0a1b2c",
        "left: secret: mage-jwt-secret",
        "left: secret: mage-owner-password",
        "left: right in the project: deleted:serviceAccount:mage-run@x?uid=1\troles/cloudsql.client",
        "left: data set: ny_taxi",
    ]
    assert done.stderr == "5 left\n"


def test_an_api_that_is_off_has_nothing(tmp_path: Path) -> None:
    assert leftovers(tmp_path, {"compute|filestore": API_OFF, "bq": (0, "[]")}).returncode == 0


def test_a_question_that_cannot_be_asked_is_no_clean_bill(tmp_path: Path) -> None:
    done = leftovers(tmp_path, {"sql instances": DENIED, "secrets list": (0, "mage-jwt-secret")})
    assert done.returncode == 2
    assert "could not ask: Cloud SQL instance: ERROR: (gcloud.sql.instances.list) The client is not" in done.stderr
    assert "1 of the questions could not be asked: 1 known to be left" in done.stderr
    assert "Nothing is left" not in done.stdout


def test_a_data_set_that_cannot_be_asked_for_is_no_clean_bill(tmp_path: Path) -> None:
    assert leftovers(tmp_path, {"bq": (1, "BigQuery error in ls operation: Access Denied")}).returncode == 2


def test_every_question_is_about_this_project_and_waits_for_nobody(tmp_path: Path) -> None:
    leftovers(tmp_path, {})
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == 22
    for question in asked:
        assert "my-project" in question
        assert question.startswith("bq") or question.endswith("--quiet")


def test_every_kind_that_terraform_makes_is_looked_for(configuration: Configuration, tmp_path: Path) -> None:
    leftovers(tmp_path, {})
    asked = (tmp_path / "asked").read_text()
    kinds = {resource.kind for resource in configuration.resources if resource.kind.startswith("google_")}
    grants = {kind for kind in kinds if kind.endswith("_iam_member")} - {"google_project_iam_member"}
    assert kinds - grants - GONE_WITH_ANOTHER == {*NO_LABELS, *LABELLED}
    for words in (*NO_LABELS.values(), *LABELLED.values()):
        assert words in asked, words


def test_it_asks_for_the_names_that_terraform_gives(configuration: Configuration) -> None:
    text = (SOURCE / "leftovers.sh").read_text()
    accounts = {account.body["account_id"] for account in configuration.of("google_service_account")}
    assert accounts == {"${var.name}-run", "${var.name}-deploy"}
    assert "$name-(run|deploy)@" in text
    [pool] = configuration.of("google_iam_workload_identity_pool")
    assert re.fullmatch(r"\$\{substr\(var\.name, 0, 18\)\}-github-.*", pool.body["workload_identity_pool_id"])
    assert "/${name:0:18}-github-" in text
    pattern = re.compile(re.findall(r'named="name~(\S+)"', text)[0].replace("$name", "mage"))
    for name in ("mage", "mage-redirect", "mage-0a1b2c"):
        assert pattern.match(name)
    assert not pattern.match("mage-of-others")


def test_without_a_project_it_says_how_to_call_it() -> None:
    done = subprocess.run([SOURCE / "leftovers.sh"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "usage: leftovers.sh PROJECT [REGION] [NAME]" in done.stderr


@pytest.mark.parametrize("name", ["versions.tf", "outputs.tf"])
def test_labels_and_command_are_those_of_terraform(name: str) -> None:
    text = (SOURCE / name).read_text()
    assert {
        "versions.tf": 'managed-by = "terraform"',
        "outputs.tf": "./leftovers.sh ${var.project_id} ${var.region} ${var.name}",
    }[name] in text
