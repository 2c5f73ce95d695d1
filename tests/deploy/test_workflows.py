"""The GitHub workflows: what they may do, what they run, and that nobody outside can change either."""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from ops.paths import ROOT
from tests.deploy.terraform import DEPLOY_PYTHON, Configuration

FOLDER = ROOT / ".github" / "workflows"
NAMES = ("ci.yml", "deploy.yml", "images.yml")
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
READS = {"contents": "read"}
PUBLISHES = {"packages": "write"}
MACHINES = {"ubuntu-24.04", "ubuntu-24.04-arm", "macos-15"}


def workflow(name: str) -> dict[str, Any]:
    """A workflow; its `on` is under that name, not YAML's true."""
    loaded: dict[Any, Any] = yaml.safe_load((FOLDER / name).read_text())
    loaded["on"] = loaded.pop(True)
    return loaded


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every job that runs steps: file, name, job."""
    for name in NAMES:
        for job, body in workflow(name)["jobs"].items():
            if "steps" in body:
                yield name, job, body


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every step, with where it is."""
    for name, job, body in jobs():
        for step in body["steps"]:
            yield f"{name} {job} {step.get('name') or step['uses']}", step


def test_the_workflows_are_these() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(NAMES)


def test_every_action_is_pinned_to_a_commit_with_its_version_beside_it() -> None:
    used: dict[str, tuple[str, str]] = {}
    for name in NAMES:
        for uses, comment in re.findall(r"uses: (\S+)(.*)", (FOLDER / name).read_text()):
            if uses.startswith("./"):
                assert (ROOT / uses).is_file()
                continue
            assert PINNED.fullmatch(uses), uses
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), uses
            action, _, digest = uses.partition("@")
            assert used.setdefault(action, (digest, comment)) == (digest, comment), f"{action} has two versions"
    assert len(used) == 5


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_allowed_unless_a_job_says_so(name: str) -> None:
    assert workflow(name)["permissions"] == {}


def test_jobs_may_read_and_only_the_deployment_may_say_who_it_is_and_only_the_images_be_published() -> None:
    granted = {(name, job): body["permissions"] for name in NAMES for job, body in workflow(name)["jobs"].items()}
    assert granted.pop(("deploy.yml", "deploy")) == READS | {"id-token": "write"}
    assert granted.pop(("images.yml", "build")) == READS | PUBLISHES
    assert granted.pop(("images.yml", "publish")) == PUBLISHES
    assert len(granted) == 6
    assert all(permissions == READS for permissions in granted.values())


def test_pull_requests_run_without_secrets_and_with_their_own_code_only() -> None:
    events = {event for name in NAMES for event in workflow(name)["on"]}
    assert events == {"pull_request", "push", "schedule", "workflow_call", "workflow_dispatch"}
    for name in NAMES:
        text = (FOLDER / name).read_text()
        assert "pull_request_target" not in text
        assert "secrets." not in text
        assert "secrets: inherit" not in text


def test_no_expression_is_pasted_into_a_script() -> None:
    scripts = [(where, step["run"]) for where, step in steps() if "run" in step]
    assert len(scripts) >= 9
    for where, script in scripts:
        assert "${{" not in script, where


def test_what_is_handed_to_scripts_is_ours() -> None:
    expressions = {found for name in NAMES for found in re.findall(r"\$\{\{ (.+?) \}\}", (FOLDER / name).read_text())}
    allowed = re.compile(r"vars\.GCP_\w+|matrix\.\w+|github\.(ref|token)|github\.ref != 'refs/heads/main'")
    assert not {found for found in expressions if not allowed.fullmatch(found)}


@pytest.mark.parametrize("where", [where for where, step in steps() if "run" in step])
def test_scripts_are_scripts(where: str) -> None:
    script = dict(steps())[where]["run"]
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_checkout_leaves_no_token_behind() -> None:
    checkouts = [step for _, step in steps() if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == len(list(jobs())) - 1  # who publishes needs no file
    assert all(step["with"] == {"persist-credentials": False} for step in checkouts)


def test_the_lock_file_is_made_for_the_machines_that_the_docs_name() -> None:
    [script] = [step["run"] for where, step in steps() if "Locked for every machine" in where]
    asked = re.findall(r"-platform=(\w+)", script)
    assert sorted(asked) == ["darwin_amd64", "darwin_arm64", "linux_amd64", "linux_arm64", "windows_amd64"]
    assert re.findall(r"-platform=(\w+)", (ROOT / "docs" / "deploy.md").read_text()) == asked


def test_every_job_ends_and_runs_on_a_named_machine() -> None:
    for name, job, body in jobs():
        assert 10 <= body["timeout-minutes"] <= 60, f"{name} {job}"
        listed = [leg.get("runner") for leg in body.get("strategy", {}).get("matrix", {}).get("include", [])]
        machines = set(filter(None, listed)) if body["runs-on"] == "${{ matrix.runner }}" else {body["runs-on"]}
        assert machines
        assert machines <= MACHINES, f"{name} {job}"


def test_a_newer_push_takes_the_place_of_an_older_one_but_a_deployment_is_never_cut_off() -> None:
    ci, deploy = workflow("ci.yml")["concurrency"], workflow("deploy.yml")["jobs"]["deploy"]["concurrency"]
    assert ci["group"] == "ci-${{ github.ref }}"
    assert ci["cancel-in-progress"] == "${{ github.ref != 'refs/heads/main' }}"
    assert deploy == {"group": "deploy", "cancel-in-progress": False}


def test_only_what_passed_on_main_is_deployed_and_only_where_a_cloud_is_named() -> None:
    loaded = workflow("deploy.yml")
    assert loaded["on"]["push"] == {"branches": ["main"]}
    assert loaded["jobs"]["ci"]["uses"] == "./.github/workflows/ci.yml"
    deploy = loaded["jobs"]["deploy"]
    assert deploy["needs"] == "ci"
    assert deploy["if"] == "github.ref == 'refs/heads/main' && vars.GCP_WORKLOAD_IDENTITY_PROVIDER != ''"


def test_the_image_is_built_before_anyone_signs_in_and_deployed_by_its_digest() -> None:
    names = [
        step.get("name") or step["uses"].split("@")[0] for step in workflow("deploy.yml")["jobs"]["deploy"]["steps"]
    ]
    assert names == ["actions/checkout", "Build", "google-github-actions/auth", "Push", "Deploy"]
    [script] = [step["run"] for where, step in steps() if where.endswith(" Deploy")]
    assert "RepoDigests" in script
    assert '--image "$pushed"' in script


def test_both_images_are_published_under_a_tag_for_both_kinds_of_machines_once_all_has_passed() -> None:
    loaded = workflow("images.yml")
    assert loaded["on"] == {"push": {"tags": ["v*"]}}
    assert loaded["jobs"]["ci"]["uses"] == "./.github/workflows/ci.yml"
    build, publish = loaded["jobs"]["build"], loaded["jobs"]["publish"]
    assert (build["needs"], publish["needs"]) == ("ci", "build")
    matrix = build["strategy"]["matrix"]
    stages = re.findall(r"^FROM .* AS (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert set(matrix["target"]) <= set(stages)
    runners = {leg["machine"]: leg["runner"] for leg in matrix["include"] if "runner" in leg}
    assert runners == {"amd64": "ubuntu-24.04", "arm64": "ubuntu-24.04-arm"}
    names = [step.get("name") for step in build["steps"]]
    assert names == [None, "Build", "Import what is compiled for this machine", "Push"]  # the token comes last
    [script] = [step["run"] for step in publish["steps"]]
    assert 'create --tag "$image" "$image-amd64" "$image-arm64"' in script
    assert f"for target in {' '.join(matrix['target'])}; do" in script


def test_a_codespace_opens_with_all_that_make_setup_makes() -> None:
    opened = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert opened["image"].endswith("/python:3.11-bookworm")
    assert opened["onCreateCommand"] == opened["updateContentCommand"] == "make setup"
    assert opened["forwardPorts"] == [6789]
    interpreter = opened["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    assert interpreter == "${containerWorkspaceFolder}/.venv/bin/python"


def test_the_deployment_reads_the_variables_that_terraform_says(configuration: Configuration) -> None:
    read = set(re.findall(r"vars\.(\w+)", (FOLDER / "deploy.yml").read_text()))
    said = set(re.findall(r"\bGCP_\w+", str(configuration.blocks("output")["github_variables"]["value"])))
    assert read == said
    assert len(read) == 6


def test_ci_runs_what_is_run_here() -> None:
    parts = workflow("ci.yml")["jobs"]["tests"]["strategy"]["matrix"]["part"]
    asked = set(re.findall(r"\bmake (test[\w-]*)", (ROOT / ".ci" / "run").read_text()))
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"test", "test-large", "test-containers"} <= asked <= set(parts)
    assert {*parts, "audit"} <= targets


def test_it_asks_the_real_terraform_and_for_known_faults() -> None:
    scripts = "\n".join(step["run"] for _, step in steps() if "run" in step)
    for command in (
        "terraform fmt -check",
        "terraform validate",
        "terraform test",
        "tflint",
        "make audit",
    ):
        assert command in scripts


def test_the_linter_knows_the_terraform_that_is_asked_for() -> None:
    with_versions = [step["with"] for step in workflow("ci.yml")["jobs"]["terraform"]["steps"] if "with" in step]
    [terraform] = [given["terraform_version"] for given in with_versions if "terraform_version" in given]
    [linter] = [given["tflint_version"] for given in with_versions if "tflint_version" in given]
    assert terraform.startswith("1.11.")
    assert tuple(map(int, linter.removeprefix("v").split("."))) >= (0, 56), "the first that reads Terraform 1.11's"


def test_zizmor_finds_nothing_dangerous(deploy_environment: None) -> None:
    # Its low findings are about taste, such as a syntax of this year for `uses: ./`.
    options = ["--offline", "--no-progress", "--no-config", "--min-severity", "medium"]
    command = [str(DEPLOY_PYTHON.with_name("zizmor")), *options, str(ROOT / ".github")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No findings to report" in done.stdout
