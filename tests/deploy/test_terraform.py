"""What terraform/ promises, read from its text: names, rights, secrets, and that nothing optional comes unasked."""

import re
import shutil
import subprocess

import pytest
import yaml

from ops.paths import ROOT
from tests.deploy.provider.schema import RESOURCES
from tests.deploy.terraform import EVERYTHING, GIVEN, SOURCE, Configuration, TerraformFailed, Workspace

OPTIONAL_FILES = ("budget.tf", "filestore.tf", "github.tf", "iap.tf", "load_balancer.tf")
READ_BY_MAGE = {
    "DEFAULT_OWNER_USERNAME",
    "DISABLE_AUTO_BROWSER_OPEN",
    "DISABLE_NOTEBOOK_EDIT_ACCESS",
    "DISABLE_TERMINAL",
    "HIDE_API_TRIGGER_TOKEN",
    "MAGE_DATABASE_CONNECTION_URL",
    "REQUIRE_USER_AUTHENTICATION",
}
"""Variables that are Mage's own, and no setting of this project; MAGE_DATA_DIR is the image's."""


def environment_names(configuration: Configuration) -> set[str]:
    """The variables that Terraform may give the container."""
    own = re.findall(r"\b([A-Z][A-Z0-9_]{2,})\b\s*=", (SOURCE / "cloud_run.tf").read_text())
    return {*own, *configuration.local_values["own_secrets"], "GIT_ACCESS_TOKEN", "GIT_SSH_PRIVATE_KEY"}


def settings() -> set[str]:
    """The variables that dev.env explains."""
    return set(re.findall(r"^([A-Z_]+)=", (ROOT / "dev.env").read_text(), re.MULTILINE))


def test_it_is_formatted() -> None:
    if not shutil.which("terraform"):
        pytest.skip("terraform is not installed: https://developer.hashicorp.com/terraform/install")
    command = ["terraform", "fmt", "-check", "-recursive", "-diff", str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_nobody_owns_edits_or_administers_anything(configuration: Configuration) -> None:
    roles = {role for text in configuration.strings() for role in re.findall(r"roles/[\w.]+", text)}
    assert len(roles) >= 12
    assert not {role for role in roles if re.search(r"owner|editor$|admin", role, re.IGNORECASE)} - {
        "roles/bigquery.dataEditor"  # rows of one data set
    }
    assert "roles/editor" not in roles


def test_nothing_is_open_to_everyone(configuration: Configuration) -> None:
    names = ("allUsers", "allAuthenticatedUsers", "0.0.0.0/0")
    assert not [text for text in configuration.strings() if any(name in text for name in names)]


def test_optional_parts_are_only_there_when_asked_for(configuration: Configuration) -> None:
    optional = [resource for resource in configuration.resources if resource.file in OPTIONAL_FILES]
    assert len(optional) >= 20
    for resource in optional:
        assert {"count", "for_each"} & set(resource.body), resource.address


def test_apis_are_on_before_anything_is_made(configuration: Configuration) -> None:
    made = [resource for resource in configuration.resources if resource.kind.startswith("google_")]
    assert len(made) >= 35
    for resource in made:
        if resource.kind != "google_project_service":
            assert "google_project_service.this" in configuration.reached_by(resource), resource.address
    [service] = configuration.of("google_project_service")
    assert service.body["disable_on_destroy"] is False


def test_the_service_is_destroyed_before_what_it_needs(configuration: Configuration) -> None:
    [service] = configuration.of("google_cloud_run_v2_service")
    needed = configuration.reached_by(service)
    for kind in (
        "google_artifact_registry_repository",
        "google_bigquery_dataset",
        "google_secret_manager_secret_iam_member",
        "google_secret_manager_secret_version",
        "google_sql_database",
        "google_sql_user",
        "google_storage_bucket",
        "google_storage_bucket_iam_member",
    ):
        assert {resource.address for resource in configuration.of(kind)} <= needed, kind


def test_every_right_of_mage_is_a_minute_old_before_a_revision_needs_it(configuration: Configuration) -> None:
    [service] = configuration.of("google_cloud_run_v2_service")
    [wait] = configuration.of("time_sleep")
    assert "time_sleep.grants" in str(service.body["depends_on"])
    assert wait.body["create_duration"] == "60s"
    grants = {resource.address for resource in configuration.resources if resource.address.endswith("_iam_member.mage")}
    grants |= {f"google_secret_manager_secret_iam_member.{name}" for name in ("given", "own")}
    assert len(grants) == 5
    assert grants <= configuration.reached_by(wait)


def test_everything_that_can_have_labels_has_them(configuration: Configuration) -> None:
    [provider] = configuration.files["versions.tf"]["provider"]
    assert provider["google"]["default_labels"] == "${local.labels}"
    [database] = configuration.of("google_sql_database_instance")
    assert database.body["settings"][0]["user_labels"] == "${local.labels}"
    assert "app" in configuration.local_values["labels"]


def test_passwords_are_made_by_terraform_and_only_go_where_they_are_not_kept(configuration: Configuration) -> None:
    assert not configuration.of("random_password")
    for resource in configuration.resources:
        kept = {name: value for name, value in resource.body.items() if not name.endswith("_wo")}
        assert "ephemeral." not in str(kept), resource.address
        assert not {"password", "secret_data", "root_password"} & set(resource.body), resource.address
    [user] = configuration.of("google_sql_user")
    [version] = configuration.of("google_secret_manager_secret_version")
    assert "ephemeral." in user.body["password_wo"]
    assert version.body["secret_data_wo"] == "${local.own_secret_values[each.key]}"


def test_outputs_hold_no_secret(configuration: Configuration) -> None:
    for name, output in configuration.blocks("output").items():
        assert not re.search(r"ephemeral|secret_data|password_wo|secret_values", str(output["value"])), name


def test_every_variable_and_output_says_what_it_is(configuration: Configuration) -> None:
    for name, variable in configuration.blocks("variable").items():
        assert len(variable["description"]) > 15, name
        assert variable["type"], name
    for name, output in configuration.blocks("output").items():
        assert len(output["description"]) > 15, name


def test_versions_are_held_to_a_range(configuration: Configuration) -> None:
    [settings] = configuration.files["versions.tf"]["terraform"]
    providers = settings["required_providers"][0]
    assert settings["required_version"] == ">= 1.11"
    assert providers["google"]["version"] == ">= 7.24, < 9.0"
    assert providers["random"]["version"] == ">= 3.7, < 4.0"
    assert providers["time"]["version"] == ">= 0.12, < 1.0"


def test_the_container_gets_no_variable_that_nobody_reads(configuration: Configuration) -> None:
    names = environment_names(configuration)
    assert len(names) >= 30
    assert names - settings() - READ_BY_MAGE == {"ENV", "MAGE_DATA_DIR"} - settings()


def test_the_container_gets_every_variable_that_mage_would_render_as_nothing(configuration: Configuration) -> None:
    text = (ROOT / "magic-zoomcamp" / "io_config.yaml").read_text()
    needed = set(re.findall(r"\benv_var\('(\w+)', ''\)", text))
    assert "POSTGRES_SCHEMA" in needed
    assert needed <= environment_names(configuration)


def test_the_example_of_variables_can_be_uncommented(workspace: Workspace) -> None:
    text = (SOURCE / "terraform.tfvars.example").read_text()
    uncommented = re.sub(r"^# (?=\w+ +=)", "", text, flags=re.MULTILINE)
    assert uncommented.count(" = ") > text.count("\n# ") / 2
    (workspace.folder / "terraform.tfvars").write_text(uncommented)
    assert "to add, 0 to change, 0 to destroy" in workspace.run("plan")


def test_the_example_of_a_backend_is_one(workspace: Workspace) -> None:
    (workspace.folder / "backend.tf").write_text((SOURCE / "backend.tf.example").read_text())
    workspace.run("init", "-backend=false")
    assert "valid" in workspace.run("validate")


def test_the_readme_lists_every_variable_and_output(configuration: Configuration) -> None:
    listed = set(re.findall(r"^\| `(\w+)`", (SOURCE / "README.md").read_text(), re.MULTILINE))
    assert listed == {*configuration.blocks("variable"), *configuration.blocks("output")}


def test_the_fake_cloud_knows_every_kind_of_resource_and_no_other(configuration: Configuration) -> None:
    kinds = {resource.kind for resource in configuration.resources if resource.kind.startswith("google_")}
    assert kinds == set(RESOURCES)


def test_every_argument_is_one_that_google_has(workspace: Workspace) -> None:
    assert "valid" in workspace.run("validate")
    workspace.edit("cloud_run.tf", "session_affinity      = true", "sesion_affinity = true")
    with pytest.raises(TerraformFailed, match='An argument named "sesion_affinity" is not expected here'):
        workspace.run("validate")


def test_every_option_can_be_planned(workspace: Workspace) -> None:
    planned = workspace.run("plan", **(GIVEN | EVERYTHING))
    assert re.search(r"Plan: \d\d to add, 0 to change, 0 to destroy", planned)


def test_terraforms_own_tests_pass(workspace: Workspace) -> None:
    said = workspace.run("test")
    runs = sum(path.read_text().count('\nrun "') for path in SOURCE.glob("tests/*.tftest.hcl"))
    assert f"Success! {runs} passed, 0 failed." in said
    assert runs >= 35


def test_the_same_with_the_real_providers(terraform: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    try:
        real = Workspace.of(tmp_path_factory.mktemp("real") / "terraform")
    except TerraformFailed as error:
        why = re.search(r"(could not connect to [\w.]+)", str(error))
        pytest.skip(f"Terraform's providers cannot be had here: {why[1] if why else error}")
    assert "valid" in real.run("validate")
    assert "0 failed." in real.run("test")


def test_the_workflow_uses_the_same_terraform_as_the_configuration_asks_for() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    [version] = [
        step["with"]["terraform_version"]
        for step in workflow["jobs"]["terraform"]["steps"]
        if "terraform_version" in step.get("with", {})
    ]
    assert tuple(map(int, version.split(".")[:2])) >= (1, 11)
