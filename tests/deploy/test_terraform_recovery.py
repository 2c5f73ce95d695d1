"""
What follows a failure, and what comes from outside: the next apply goes on, and plans no more than what is asked for.

terraform/ is applied to a cloud in memory that keeps what failed, as the real one does.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ops.paths import ROOT
from tests.deploy.provider.cloud import STARTS_NOT
from tests.deploy.terraform import EVERYTHING, GIVEN, IMAGE, FakeCloud, FakeProviders, TerraformFailed, Workspace
from tests.deploy.test_terraform_faults import ARMOR, environment, remains, service
from tests.deploy.test_terraform_scan import FROM_TERRAFORM

DOCS = (ROOT / "docs" / "deploy.md").read_text()
GIT = {"url": "https://github.com/me/my-trips.git", "token_secret": "git-token"}
PERMISSIONS = {
    "roles/run.invoker": {"run.jobs.run", "run.routes.invoke"},
    "roles/run.viewer": {"run.jobs.get", "run.jobs.list", "run.services.get", "run.services.list"},
}
"""What Google's roles allow, as far as it matters here."""
# As people quote them.
OTHER_WORDS = (
    "Permission denied on secret: projects/123/secrets/git-token/versions/latest for Revision service account",
    "Secret [projects/123/secrets/git-token] not found or has no versions.",
    "Error 403: Cloud Run Admin API has not been used in project 123 before or it is disabled.",
    "Error 403: Quota 'SECURITY_POLICY_RULES' exceeded. Limit: 0.0 globally.",
    "cannot destroy mage without setting deletion_protection=false",
    "region europe-west7: Cloud Run is not there.",
    'oauth2: "invalid_grant" "reauth related error (invalid_rapt)"',
)
PROXY_NEEDS = {"run.services.get", "run.routes.invoke"}
"""`gcloud run services proxy` looks the service up, and then calls it."""


def plan(workspace: Workspace, **variables: object) -> str:
    """What a plan says, on one line."""
    return " ".join(workspace.run("plan", **(GIVEN | variables)).split())


def paid(fake_providers: FakeProviders, folder: Path, options: str = "") -> tuple[FakeCloud, Workspace]:
    """A cloud after the free trial, and terraform/ for it."""
    cloud = fake_providers.start(folder, f"--paid {options}")
    return cloud, Workspace.of(folder / "terraform", cloud)


@pytest.mark.parametrize(
    ("tag", "why"),
    [
        ("broken", "container failed to start and listen on the port"),
        ("missing", "Image '.*:missing' not found"),
        ("arm64", "exec format error"),
        ("arm64-index", "must support amd64/linux"),
        ("of-others", "must have permission to read the image"),
    ],
)
def test_after_a_failed_first_start_the_next_apply_takes_the_right_image(
    workspace: Workspace, fake_cloud: FakeCloud, tag: str, why: str
) -> None:
    with pytest.raises(TerraformFailed, match=why):
        workspace.apply(image=IMAGE.replace(":1", f":{tag}"))
    made = len(fake_cloud.requests())
    workspace.apply()
    done = [(request.action, request.kind) for request in fake_cloud.requests()[made:]]
    kind = "google_cloud_run_v2_service"
    assert done == [("delete", kind), ("create", kind)], "what holds data is not touched"
    assert service(fake_cloud)["template"][0]["containers"][0]["image"] == IMAGE
    assert "No changes." in plan(workspace)


def test_what_google_says_has_a_row_that_says_what_to_do() -> None:
    rows = re.findall(r"^\| (.+?) \| .+? \| .+ \|$", DOCS.split("## When something is wrong")[1], re.MULTILINE)
    known = [re.escape(text).replace(r"\.\.", ".*") for row in rows for text in re.findall(r"`([^`]+)`", row)]
    assert len(known) >= 15
    for said in (*STARTS_NOT.values(), *OTHER_WORDS):
        assert [text for text in known if re.search(text, said)], said


def test_a_first_start_with_every_option_may_fail_too(fake_providers: FakeProviders, tmp_path: Path) -> None:
    _, workspace = paid(fake_providers, tmp_path)
    with pytest.raises(TerraformFailed, match="failed to start"):
        workspace.apply(**EVERYTHING, image=IMAGE.replace(":1", ":broken"))
    assert "Apply complete!" in workspace.apply(**EVERYTHING)
    assert "No changes." in plan(workspace, **EVERYTHING)


def test_a_destroy_that_is_refused_touches_nothing(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    workspace.apply()
    there = remains(fake_cloud)
    with pytest.raises(TerraformFailed, match="deletion_protection is on: terraform apply -var"):
        workspace.destroy()
    assert remains(fake_cloud) == there
    assert "0 added, 0 changed, 0 destroyed" in workspace.apply()


def test_after_a_failed_first_start_everything_can_be_destroyed(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    with pytest.raises(TerraformFailed, match="failed to start"):
        workspace.apply(image=IMAGE.replace(":1", ":broken"))
    with pytest.raises(TerraformFailed, match="deletion_protection is on: terraform apply -var"):
        workspace.destroy()
    fake_cloud.fix()
    workspace.apply(deletion_protection=False)
    workspace.destroy(deletion_protection=False)
    assert remains(fake_cloud) == []


@pytest.mark.parametrize("given", [{}, EVERYTHING], ids=("defaults", "everything"))
def test_a_plan_after_an_apply_is_empty(
    fake_providers: FakeProviders, tmp_path: Path, given: dict[str, object]
) -> None:
    _, workspace = paid(fake_providers, tmp_path)
    workspace.apply(**given)
    assert "No changes." in plan(workspace, **given)
    assert "0 added, 0 changed, 0 destroyed" in workspace.apply(**given)
    assert "No changes." in plan(workspace, **given)


def test_a_plan_after_a_deployment_by_gcloud_is_empty(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    workspace.apply()
    fake_cloud.update(image=IMAGE.replace(":1", ":2"), labels={"restarted": "1764460800"})
    said = plan(workspace)
    assert "No changes." in said
    assert "The service runs another image than var.image says" in said


def test_git_can_be_added_to_a_running_instance(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    workspace.apply()
    assert "Apply complete!" in workspace.apply(git=GIT)
    assert environment(fake_cloud)["GIT_ACCESS_TOKEN"] == ("git-token", "latest")
    assert "No changes." in plan(workspace, git=GIT)
    assert "Apply complete!" in workspace.apply(git=GIT, secret_env={"SLACK_WEBHOOK_URL": "slack-webhook"})


def test_an_update_that_failed_is_told_until_the_docs_command_brings_it_up(
    workspace: Workspace, fake_cloud: FakeCloud
) -> None:
    workspace.apply()
    fake_cloud.let_no_revision_start()
    with pytest.raises(TerraformFailed, match="not ready and cannot serve traffic"):
        workspace.apply(memory_gib=4, cpu=2)
    fake_cloud.fix()
    told = "gcloud run services update mage --region us-central1 --update-labels restarted=$(date +%s)"
    assert told in DOCS
    said = plan(workspace, cpu=2)
    assert told in said
    assert "without changing any real infrastructure" in said, "Terraform has the new template in its state"
    fake_cloud.update(labels={"restarted": "1764460800"})
    assert '"serves"' in workspace.apply(cpu=2)
    assert "No changes." in plan(workspace, cpu=2)


def test_a_member_may_do_what_the_documented_command_does(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    colleague = "user:colleague@example.org"
    workspace.apply(members=[colleague])
    grants = [request.config for request in fake_cloud.requests("google_cloud_run_v2_service_iam_member")]
    assert {grant["member"] for grant in grants} == {colleague}
    may = set().union(*(PERMISSIONS[grant["role"]] for grant in grants))
    assert may >= PROXY_NEEDS
    assert "gcloud run services proxy mage --project my-project --region us-central1 --port 6789" in DOCS


def test_cloud_armor_can_be_taken_off_again(fake_providers: FakeProviders, tmp_path: Path) -> None:
    cloud, workspace = paid(fake_providers, tmp_path)
    workspace.apply(**ARMOR)
    open_to_all = {**ARMOR, "load_balancer": {"domain": "mage.example.org"}}
    assert "Apply complete!" in workspace.apply(**open_to_all)
    assert "google_compute_security_policy" not in remains(cloud)
    assert "No changes." in plan(workspace, **open_to_all)
    workspace.apply(**ARMOR)
    assert "Apply complete!" in workspace.apply()
    assert not [kind for kind in remains(cloud) if kind.startswith("google_compute_")]


def test_a_domain_can_be_changed(fake_providers: FakeProviders, tmp_path: Path) -> None:
    cloud, workspace = paid(fake_providers, tmp_path)
    workspace.apply(**ARMOR)
    moved = {**ARMOR, "load_balancer": {"domain": "trips.example.org"}}
    assert "Apply complete!" in workspace.apply(**moved)
    [proxy] = [request.config for request in cloud.requests("google_compute_target_https_proxy")][-1:]
    assert proxy["ssl_certificates"] == ["google_compute_managed_ssl_certificate/2"]
    assert environment(cloud)["MAGE_PUBLIC_HOST"] == "https://trips.example.org"
    assert "No changes." in plan(workspace, **moved)


def test_port_80_leads_to_443(fake_providers: FakeProviders, tmp_path: Path) -> None:
    cloud, workspace = paid(fake_providers, tmp_path)
    workspace.apply(**ARMOR)
    rules = {rule.config["port_range"]: rule.config for rule in cloud.requests("google_compute_global_forwarding_rule")}
    assert set(rules) == {"80", "443"}
    assert rules["80"]["ip_address"] == rules["443"]["ip_address"]
    maps = {asked.config["name"]: asked.config for asked in cloud.requests("google_compute_url_map")}
    [redirect] = maps["mage-redirect"]["default_url_redirect"]
    assert redirect["https_redirect"] is True
    assert redirect["redirect_response_code"] == "MOVED_PERMANENTLY_DEFAULT"


def test_a_secret_that_nobody_made_is_said_before_anything_changes(
    fake_providers: FakeProviders, tmp_path: Path
) -> None:
    cloud, workspace = paid(fake_providers, tmp_path, "--missing git-token")
    workspace.apply()
    before = len(cloud.requests())
    with pytest.raises(TerraformFailed, match=r"Secret \[.*/git-token\] not found or has no versions"):
        workspace.apply(git=GIT)
    assert len(cloud.requests()) == before
    assert "not found or has no versions" in DOCS


def test_a_region_without_cloud_run_is_refused_before_anything_is_made(
    workspace: Workspace, fake_cloud: FakeCloud
) -> None:
    targets = re.findall(r"-target=\S+", (workspace.folder / "cloud_run.tf").read_text())[:2]
    with pytest.raises(TerraformFailed, match=r"region europe-west7: Cloud Run is not there.*gcloud run regions list"):
        workspace.run("apply", "-auto-approve", *targets, **(GIVEN | {"region": "europe-west7"}))
    assert {request.kind for request in fake_cloud.requests()} == {"google_project_service"}
    assert "Apply complete!" in workspace.apply()


def test_the_longest_names_are_short_enough_for_google(fake_providers: FakeProviders, tmp_path: Path) -> None:
    cloud, workspace = paid(fake_providers, tmp_path)
    longest: dict[str, Any] = {"name": "a" * 20, "project_id": "p" * 30, "deletion_protection": False}
    assert "Apply complete!" in workspace.apply(**EVERYTHING, **longest)
    workspace.destroy(**EVERYTHING, **longest)
    assert remains(cloud) == []


def test_a_deployment_can_be_paused_and_resumed(workspace: Workspace) -> None:
    workspace.apply()
    said = json.loads(workspace.run("output", "-json"))
    database = said["database"]["value"].rpartition(":")[2]
    scale, patch = FROM_TERRAFORM[0], FROM_TERRAFORM[1].replace("mage-0a1b2c", database)
    assert said["pause_command"]["value"] == f"{scale} && {patch}"
    assert said["resume_command"]["value"] == f"{patch.replace('NEVER', 'ALWAYS')} && {scale[:-1]}1"


def test_filestore_is_opened_to_mage_before_the_first_start(fake_providers: FakeProviders, tmp_path: Path) -> None:
    cloud, workspace = paid(fake_providers, tmp_path)
    filestore = {"zone": "us-central1-a"}
    workspace.apply(filestore=filestore)
    assert [f"gcloud {call}" for call in workspace.gcloud_calls()] == list(FROM_TERRAFORM[2:])
    assert environment(cloud)["MAGE_DATA_DIR"] == "/mnt/mage/data"
    assert environment(cloud)["STAGING_DIR"] == "/mnt/staging", "an NFS share without locks is no place for it"
    assert "No changes." in plan(workspace, filestore=filestore)


def test_a_filestore_that_could_not_be_opened_is_opened_by_the_next_apply(
    fake_providers: FakeProviders, tmp_path: Path
) -> None:
    cloud, workspace = paid(fake_providers, tmp_path)
    signed_out = workspace.folder / "programs" / "signed-out"
    signed_out.touch()
    with pytest.raises(TerraformFailed, match="local-exec provisioner error"):
        workspace.apply(filestore={"zone": "us-central1-a"})
    assert not cloud.requests("google_cloud_run_v2_service")
    signed_out.unlink()
    assert "Apply complete!" in workspace.apply(filestore={"zone": "us-central1-a"})
    assert len(workspace.gcloud_calls()) == 3


def test_a_disk_for_staged_files_can_be_put_in_and_out(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    on_disk: dict[str, Any] = {"members": ["user:colleague@example.org"]}
    workspace.apply(**on_disk)
    on_disk["staging"] = {"disk": True}
    workspace.apply(**on_disk)
    done = [request.action for request in fake_cloud.requests("google_cloud_run_v2_service")]
    assert done == ["create", "delete", "create"], "a preview of Google's is asked for when a service is made"
    assert service(fake_cloud)["launch_stage"] == "BETA"
    [volume] = [one for one in service(fake_cloud)["template"][0]["volumes"] if one["name"] == "staging"]
    assert volume["empty_dir"] == [{"medium": "DISK", "size_limit": "10Gi"}]
    assert "No changes." in plan(workspace, **on_disk)
    workspace.apply(staging={"disk": False})
    assert service(fake_cloud)["launch_stage"] is None
