"""
The eight known faults of Mage's own template for Google Cloud, each ended, and what else apply and destroy must do.

terraform/ is applied for real, to a cloud in memory that refuses what the real one is known to refuse.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from nyc_taxi.settings import SECRET_NAME

from ops.container.git_remote import Remote, remote_of
from ops.mage.front_door import FRONT_DOOR
from tests.deploy.terraform import EVERYTHING, IMAGE, FakeCloud, FakeProviders, TerraformFailed, Workspace

ARMOR = {
    "access": "load_balancer",
    "load_balancer": {"domain": "mage.example.org", "allowed_ranges": ["192.0.2.0/24"]},
}


def service(fake_cloud: FakeCloud) -> dict[str, Any]:
    """The newest arguments of the Cloud Run service."""
    return fake_cloud.requests("google_cloud_run_v2_service")[-1].config


def environment(fake_cloud: FakeCloud) -> dict[str, Any]:
    """The container's variables: texts, and secrets as (name, version)."""
    found: dict[str, Any] = {}
    for variable in service(fake_cloud)["template"][0]["containers"][0]["env"]:
        assert variable["name"] not in found
        if variable["value_source"]:
            secret = variable["value_source"][0]["secret_key_ref"][0]
            found[variable["name"]] = (secret["secret"], secret["version"])
        else:
            found[variable["name"]] = variable["value"]
    return found


def secrets(fake_cloud: FakeCloud) -> dict[str, str]:
    """What Terraform put into Secret Manager last, by the end of the secret's name."""
    made = [request for request in fake_cloud.requests("google_secret_manager_secret") if request.action == "create"]
    names = {f"google_secret_manager_secret/{at}": made.config["secret_id"] for at, made in enumerate(made, 1)}
    versions = fake_cloud.requests("google_secret_manager_secret_version")
    return {
        names[request.config["secret"]].removeprefix("mage-"): request.config["secret_data_wo"]
        for request in versions
        if request.action == "create"
    }


def remains(fake_cloud: FakeCloud) -> list[str]:
    """The kinds of what was made and not destroyed."""
    made = [request.kind for request in fake_cloud.requests() if request.action == "create"]
    for request in fake_cloud.requests():
        if request.action == "delete":
            made.remove(request.kind)
    return sorted(made)


def test_fault_1_the_free_trial_is_enough(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    assert "Apply complete!" in workspace.apply()
    assert not [request for request in fake_cloud.requests() if request.kind.startswith("google_compute_")]


def test_fault_1_a_security_policy_needs_a_paid_account(workspace: Workspace) -> None:
    with pytest.raises(TerraformFailed, match="Quota 'SECURITY_POLICY_RULES' exceeded"):
        workspace.apply(**ARMOR)


def test_fault_2_a_destroy_leaves_nothing(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    workspace.apply(deletion_protection=False)
    assert len(remains(fake_cloud)) >= 30
    assert "Destroy complete!" in workspace.destroy(deletion_protection=False)
    assert remains(fake_cloud) == []


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("google_sql_database", "is being accessed by other users"),
        ("google_sql_user", "cannot be dropped because some objects depend on it"),
    ],
)
def test_fault_2_without_abandon_a_destroy_fails(workspace: Workspace, place: str, why: str) -> None:
    text = (workspace.folder / "database.tf").read_text()
    before, after = text.split(f'resource "{place}" "', 1)
    after = after.replace('deletion_policy     = "ABANDON"', "", 1) if place.endswith("user") else after
    after = after.replace('deletion_policy = "ABANDON"', "", 1) if place.endswith("database") else after
    (workspace.folder / "database.tf").write_text(f'{before}resource "{place}" "{after}')
    workspace.apply(deletion_protection=False)
    with pytest.raises(TerraformFailed, match=why):
        workspace.destroy(deletion_protection=False)


def test_fault_3_ingress_needs_no_hand(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    workspace.apply()
    found = service(fake_cloud)
    assert found["ingress"] == "INGRESS_TRAFFIC_ALL"
    assert (found["invoker_iam_disabled"], found["iap_enabled"]) == (False, False)


def test_fault_4_apis_need_no_hand(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    workspace.apply()
    kinds = [request.kind for request in fake_cloud.requests()]
    switched_on = [at for at, kind in enumerate(kinds) if kind == "google_project_service"]
    others = [at for at, kind in enumerate(kinds) if kind.startswith("google_") and at not in switched_on]
    assert len(switched_on) >= 8
    assert max(switched_on) < min(others)


def test_fault_5_mage_has_no_rights_but_these(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    workspace.apply()
    mage = "serviceAccount:mage-run@my-project.iam.gserviceaccount.com"
    grants = [request for request in fake_cloud.requests() if request.kind.endswith("_iam_member")]
    assert {request.config["member"] for request in grants} == {mage}
    assert sorted({(request.kind.removeprefix("google_"), request.config["role"]) for request in grants}) == [
        ("bigquery_dataset_iam_member", "roles/bigquery.dataEditor"),
        ("project_iam_member", "roles/bigquery.jobUser"),
        ("project_iam_member", "roles/cloudsql.client"),
        ("secret_manager_secret_iam_member", "roles/secretmanager.secretAccessor"),
        ("storage_bucket_iam_member", "roles/storage.legacyBucketReader"),
        ("storage_bucket_iam_member", "roles/storage.objectUser"),
    ]


def test_fault_6_no_secret_is_in_the_state_a_plan_or_the_environment(
    workspace: Workspace, fake_cloud: FakeCloud
) -> None:
    said = workspace.apply() + workspace.run("output", "-json") + workspace.run("show", "-json")
    found = secrets(fake_cloud)
    assert sorted(found) == ["database-password", "database-url", "jwt-secret", "owner-password"]
    password = found["database-password"]
    assert len(password) == 32
    assert f"postgresql+psycopg2://mage:{password}@/mage_metadata?host=/cloudsql/" in found["database-url"]
    [user] = fake_cloud.requests("google_sql_user")
    assert user.config["password_wo"] == password
    for value in (*found.values(), password):
        assert value not in workspace.state
        assert value not in said
        assert value not in str(service(fake_cloud))
    variables = environment(fake_cloud)
    sensitive = {name for name in variables if SECRET_NAME.search(name)} - {"HIDE_API_TRIGGER_TOKEN"}
    assert sensitive == {
        "DEFAULT_OWNER_PASSWORD",
        "JWT_SECRET",
        "MAGE_DATABASE_CONNECTION_URL",
        "POSTGRES_PASSWORD",
    }
    assert {variables[name][1] for name in sensitive} == {"1"}


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (None, "image is not given. Make the registry, push this project's image to it"),
        (IMAGE.replace("nyc-taxi-mage", "mageai/mageai"), "holds no project: Mage would come up empty"),
    ],
)
def test_fault_7_nothing_comes_up_empty(
    workspace: Workspace, fake_cloud: FakeCloud, image: str | None, why: str
) -> None:
    with pytest.raises(TerraformFailed, match=why):
        workspace.apply(image=image)
    assert fake_cloud.requests() == []


def test_fault_7_the_registry_can_be_had_before_the_image(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    message = (workspace.folder / "cloud_run.tf").read_text()
    [targets] = re.findall(r"terraform apply (-target=\S+ -target=\S+)", message)
    workspace.run("apply", "-auto-approve", *targets.split(), project_id="my-project", owner_email="me@example.org")
    assert {request.kind for request in fake_cloud.requests()} == {
        "google_project_service",
        "google_artifact_registry_repository",
    }
    assert "Apply complete!" in workspace.apply()


def test_fault_8_no_filestore_no_default_sign_in_no_default_secret(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    with pytest.raises(TerraformFailed, match=r"admin@admin\.com is Mage's default, which everyone knows"):
        workspace.apply(owner_email="admin@admin.com")
    workspace.apply()
    assert not fake_cloud.requests("google_filestore_instance")
    variables, found = environment(fake_cloud), secrets(fake_cloud)
    assert variables["DEFAULT_OWNER_EMAIL"] == "me@example.org"
    assert variables["REQUIRE_USER_AUTHENTICATION"] == "1"
    assert variables["DEFAULT_OWNER_PASSWORD"] == ("mage-owner-password", "1")
    assert variables["JWT_SECRET"] == ("mage-jwt-secret", "1")
    assert len({found["owner-password"], found["jwt-secret"], found["database-password"]}) == 3


def test_a_second_apply_changes_nothing(workspace: Workspace) -> None:
    workspace.apply()
    assert "No changes." in workspace.run("plan", project_id="my-project", owner_email="me@example.org", image=IMAGE)


def test_a_new_image_of_a_workflow_stays_and_is_told(workspace: Workspace) -> None:
    workspace.apply()
    assert "0 added, 0 changed, 0 destroyed" in (said := workspace.apply(image=IMAGE.replace(":1", ":2")))
    assert "The service runs another image than var.image says" in said


def test_a_new_password_reaches_database_and_mage_at_once(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    workspace.apply()
    before = secrets(fake_cloud)
    workspace.apply(password_version=2)
    after, variables = secrets(fake_cloud), environment(fake_cloud)
    assert fake_cloud.requests("google_sql_user")[-1].config["password_wo"] == after["database-password"]
    assert after["database-password"] in after["database-url"]
    assert after["database-password"] != before["database-password"]
    assert (after["jwt-secret"], after["owner-password"]) == (before["jwt-secret"], before["owner-password"])
    # Its version is in the service, so that a new revision reads it.
    assert variables["POSTGRES_PASSWORD"] == ("mage-database-password", "2")
    assert variables["JWT_SECRET"] == ("mage-jwt-secret", "1")
    order = [(request.action, request.kind) for request in fake_cloud.requests()]
    old = order.index(("delete", "google_secret_manager_secret_version"))
    assert old > order.index(("update", "google_cloud_run_v2_service"))


def test_an_apply_that_failed_half_way_is_completed_with_another_password(
    fake_providers: FakeProviders, tmp_path: Path
) -> None:
    broken = fake_providers.start(tmp_path, "--broken google_secret_manager_secret_version")
    workspace = Workspace.of(tmp_path / "terraform", broken)
    with pytest.raises(TerraformFailed, match="Internal error"):
        workspace.apply()
    [user] = broken.requests("google_sql_user")
    broken.fix()
    workspace.apply()
    assert secrets(broken)["database-password"] != user.config["password_wo"]
    workspace.apply(password_version=2)
    changed = broken.requests("google_sql_user")[-1]
    assert secrets(broken)["database-password"] == changed.config["password_wo"]


def test_data_are_protected_until_they_are_not(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    workspace.apply()
    there = remains(fake_cloud)
    with pytest.raises(TerraformFailed, match="deletion_protection"):
        workspace.destroy()
    assert remains(fake_cloud) == there
    workspace.apply(deletion_protection=False)
    workspace.destroy(deletion_protection=False)
    assert remains(fake_cloud) == []


def test_every_option_at_once_comes_and_goes(fake_providers: FakeProviders, tmp_path: Path) -> None:
    paid = fake_providers.start(tmp_path, "--paid")
    workspace = Workspace.of(tmp_path / "terraform", paid)
    given = {**EVERYTHING, "deletion_protection": False}
    assert "Apply complete!" in workspace.apply(**given)
    assert {request.kind for request in paid.requests()} >= {
        "google_billing_budget",
        "google_compute_global_forwarding_rule",
        "google_compute_security_policy",
        "google_filestore_instance",
        "google_iam_workload_identity_pool_provider",
    }
    variables = environment(paid)
    assert variables["GIT_ACCESS_TOKEN"] == ("git-token", "latest")
    told = {name: value for name, value in variables.items() if isinstance(value, str)}
    assert remote_of(told | {"GIT_ACCESS_TOKEN": "its"}) == Remote(
        "https://github.com/me/my-trips.git", "main", "git", "its"
    )
    assert variables["SLACK_WEBHOOK_URL"] == ("slack-webhook", "latest")
    assert variables["LOAD_MONTH_EXECUTOR"] == "gcp_cloud_run"
    assert variables["MAGE_PUBLIC_HOST"] == "https://mage.example.org"
    [container] = service(paid)["template"][0]["containers"]
    assert container["startup_probe"][0]["http_get"][0]["path"] == FRONT_DOOR, "bare Mage does not come up"
    assert "Destroy complete!" in workspace.destroy(**given)
    assert remains(paid) == []


def test_the_service_is_as_mage_needs_it(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    workspace.apply()
    found = service(fake_cloud)
    [template] = found["template"]
    [container] = template["containers"]
    assert (found["scaling"][0]["scaling_mode"], found["scaling"][0]["manual_instance_count"]) == ("MANUAL", 1)
    assert template["scaling"] == [], "a revision that has its own outlives it"
    assert container["image"] == IMAGE
    assert container["resources"][0]["cpu_idle"] is False
    assert container["resources"][0]["limits"] == {"cpu": "1", "memory": "4Gi"}
    assert template["execution_environment"] == "EXECUTION_ENVIRONMENT_GEN2"
    [probe] = container["startup_probe"]
    assert (probe["http_get"][0]["path"], probe["http_get"][0]["port"]) == ("/api/status", 6789)
    assert probe["period_seconds"] * probe["failure_threshold"] == 240
    assert container["ports"][0]["container_port"] == 6789
    [probe] = container["liveness_probe"]
    assert (probe["http_get"][0]["path"], probe["http_get"][0]["port"]) == ("/api/status", 6789)
    assert probe["period_seconds"] * probe["failure_threshold"] == 300
    assert not container["readiness_probe"], "the Cloud Run executor copies the container, and a job may have none"
    assert [volume["name"] for volume in template["volumes"]] == ["staging", "cloudsql"]
    assert [mount["name"] for mount in container["volume_mounts"]] == ["staging", "cloudsql"]
    assert template["volumes"][0]["empty_dir"] == [{"medium": "MEMORY", "size_limit": "2Gi"}]
    variables = environment(fake_cloud)
    assert variables["ENV"] == "production"
    assert re.fullmatch(r"/cloudsql/my-project:us-central1:mage-[0-9a-f]{6}", variables["POSTGRES_HOST"])
    assert variables["REMOTE_VARIABLES_DIR"] == f"gs://{variables['GCS_BUCKET']}/mage/variables"
    assert variables["STAGING_DIR"] == container["volume_mounts"][0]["mount_path"] == "/mnt/staging"
