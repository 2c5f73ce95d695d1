"""terraform/leftovers.sh, with programs in the place of gcloud and bq that answer as Google does."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ops.mage.patches.scheduler.cloud_run_jobs import own_name
from tests.conftest import process_environment
from tests.deploy.terraform import SOURCE, Configuration, Json

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
# gcloud's own reading of a filter: argument 1 is its folder, 2 the filter, 3 a list of resources.
FILTER = r"""
import json, sys
sys.path[:0] = [f"{sys.argv[1]}/lib", f"{sys.argv[1]}/lib/third_party"]
from googlecloudsdk.core.resource import resource_filter
reads = resource_filter.Compile(sys.argv[2])
print(json.dumps([bool(reads.Evaluate(resource)) for resource in json.loads(sys.argv[3])]))
"""
OURS, THEIRS = {"app": "mage", "managed-by": "terraform"}, {"app": "mage", "managed-by": "hand"}
POOL = "projects/1/locations/global/workloadIdentityPools"
FOUND: dict[str, tuple[list[Json], list[Json]]] = {
    "run services": ([{"metadata": {"labels": OURS}}], [{"metadata": {"labels": THEIRS}}]),
    "run jobs": (
        [{"metadata": {"name": name}} for name in ("mage-block-4711-0a1b2c3d4e", "mage-filestore")],
        [{"metadata": {"name": name}} for name in ("mage-2-block-4711-0a1b2c3d4e", "mage-blocks", "my-filestore")],
    ),
    "sql instances": ([{"settings": {"userLabels": OURS}}], [{"settings": {"userLabels": {"app": "mage-2"}}}]),
    **{
        words: ([{"labels": OURS}], [{"labels": THEIRS}, {}])
        for words in ("storage buckets", "artifacts repositories", "secrets list", "filestore instances")
    },
    "service-accounts": (
        [{"email": f"mage-{what}@my-project.iam.gserviceaccount.com"} for what in ("run", "deploy")],
        [{"email": "mage-2-run@my-project.iam.gserviceaccount.com"}],
    ),
    "workload-identity-pools": (
        [{"name": f"{POOL}/mage-github-0a1b2c", "state": "ACTIVE"}],
        [{"name": f"{POOL}/mage-github-0a1b2c", "state": "DELETED"}, {"name": f"{POOL}/my-github", "state": "ACTIVE"}],
    ),
    "iam roles": ([{"name": "projects/my-project/roles/mage_executor_0a1b2c"}], [{"name": "roles/run.viewer"}]),
    "get-iam-policy": (
        [{"bindings": {"members": f"{gone}serviceAccount:mage-run@x"}} for gone in ("", "deleted:")],
        [{"bindings": {"members": "user:mage-run@example.org"}}, {"bindings": {"members": "serviceAccount:a-run@x"}}],
    ),
    "compute": ([{"name": "mage"}], [{"name": "mage-of-others"}]),
}
"""By the question, what it must find of a deployment called mage, and what it must not."""
GONE_WITH_ANOTHER = {
    "google_billing_budget",  # not in the project
    "google_iam_workload_identity_pool_provider",
    "google_project_service",  # stays on, and costs nothing
    "google_secret_manager_secret_version",
    "google_sql_database",
    "google_sql_user",
}


def leftovers(
    folder: Path, answers: dict[str, tuple[int, str]], name: str = "mage"
) -> "subprocess.CompletedProcess[str]":
    """Run it with these answers, by a pattern of the question; anything else has none."""
    for program in ("gcloud", "bq"):
        (folder / program).write_text(PROGRAM)
        (folder / program).chmod(0o755)
    (folder / "answers.json").write_text(json.dumps(answers))
    env = process_environment()
    env["PATH"] = f"{folder}{os.pathsep}{env['PATH']}"
    command = [str(SOURCE / "leftovers.sh"), "my-project", "europe-west1", name]
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
    pattern = re.compile(re.findall(r"named=\"name~'(\S+)'\"", text)[0].replace("$name", "mage"))
    for name in ("mage", "mage-redirect", "mage-0a1b2c"):
        assert pattern.match(name)
    assert not pattern.match("mage-of-others")


def test_gcloud_finds_what_the_questions_mean(tmp_path: Path) -> None:
    if not shutil.which("gcloud"):
        pytest.skip("gcloud is not installed: https://cloud.google.com/sdk/docs/install")
    where = ["gcloud", "info", "--format", "value(installation.sdk_root)"]
    own = process_environment() | {"CLOUDSDK_CONFIG": str(tmp_path), "HOME": str(tmp_path)}
    root = subprocess.run(where, env=own, capture_output=True, text=True, check=True).stdout.strip()
    leftovers(tmp_path, {})
    questions = [line for line in (tmp_path / "asked").read_text().splitlines() if line.startswith("gcloud")]
    for question in questions:
        [(ours, theirs)] = [found for words, found in FOUND.items() if words in question]
        [reads] = re.findall(r"--filter (.*) --format", question)
        command = [sys.executable, "-c", FILTER, root, reads, json.dumps([*ours, *theirs])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not done.returncode, f"{question}: {done.stderr}"
        assert json.loads(done.stdout) == [True] * len(ours) + [False] * len(theirs), question


@pytest.mark.parametrize("name", ["mage", "a-name-of-20-letters"])
def test_a_job_that_was_left_is_found_and_those_of_others_are_not(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leftovers(tmp_path, {}, name)
    [pattern] = re.findall(r"run jobs list .*metadata\.name~'(\S+)'", (tmp_path / "asked").read_text())
    monkeypatch.setenv("GCP_SERVICE_NAME", name)
    assert re.search(pattern, own_name("mage-data-prep-block-4711"))
    assert 'NAME   = "${var.name}-filestore"' in (SOURCE / "filestore.tf").read_text()
    assert re.search(pattern, f"{name}-filestore")
    monkeypatch.setenv("GCP_SERVICE_NAME", f"{name[:17]}-2")
    assert not re.search(pattern, own_name("mage-data-prep-block-4711"))


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
