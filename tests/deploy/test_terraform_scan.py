"""What takes long, for `make test-deploy`: checkov on terraform/, and the gcloud commands of the docs put to gcloud."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from ops.paths import ROOT
from tests.conftest import process_environment
from tests.deploy.terraform import EVERYTHING, GIVEN, SOURCE

SCANNERS = ROOT / ".venv-scanners" / "bin"
DOCS = ROOT / "docs" / "deploy.md"
SKIP = re.compile(r"#checkov:skip=(CKV2?_GCP_\d+):(.+)")
FROM_TERRAFORM = (
    "gcloud beta run services update mage --project my-project --region us-central1 --scaling 0",
    "gcloud sql instances patch mage-0a1b2c --project my-project --activation-policy NEVER",
    "gcloud run jobs deploy mage-filestore --project my-project --region us-central1 --quiet "
    "--network default --subnet default --vpc-egress private-ranges-only --image mirror.gcr.io/library/busybox:1.37 "
    "--add-volume name=disk,type=nfs,location=10.0.0.2:/mage --add-volume-mount volume=disk,mount-path=/disk "
    "--command chmod --args 0777,/disk --execute-now --wait",
    "gcloud run jobs delete mage-filestore --project my-project --region us-central1 --quiet",
)
"""What the outputs say and what the configuration runs."""
# They would wait for a browser, or change this machine.
NOT_HERE = ("gcloud auth ", "gcloud components ", "gcloud config ")
MISUSED = re.compile(r"unrecognized arguments|Invalid choice|must be specified|expected one argument|usage:", re.I)


@pytest.fixture(autouse=True)
def scanners() -> None:
    """Or a skip that says how to get them."""
    if not (SCANNERS / "checkov").exists():
        pytest.skip(".venv-scanners is not there: `make test-deploy` makes it")


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_checkov_finds_nothing_that_is_not_reasoned(options: dict[str, object], tmp_path: Path) -> None:
    variables = tmp_path / "all.tfvars"
    variables.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in (GIVEN | options).items()))
    command = [str(SCANNERS / "checkov"), "--directory", str(SOURCE), "--framework", "terraform", "--skip-download"]
    done = subprocess.run(
        [*command, "--var-file", str(variables), "--output", "json"],
        env=process_environment() | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)
    failed = [f"{check['check_id']} {check['resource']}" for check in found["results"]["failed_checks"]]
    assert failed == []
    assert found["summary"]["passed"] >= 25
    skipped = {check["check_id"] for check in found["results"]["skipped_checks"]}
    reasons = dict(SKIP.findall("\n".join(path.read_text() for path in SOURCE.glob("*.tf"))))
    assert skipped <= set(reasons)
    assert all(len(reason) > 20 for reason in reasons.values())


def commands() -> list[str]:
    """Every gcloud command of the docs, in blocks, in tables and in pipes, and those that Terraform prints or runs."""
    text = re.sub(r"\$\([^)\n]*\)", "1", DOCS.read_text().replace("\\\n", " "))
    found = re.findall(r"(?:^|[|&`(] ?)(gcloud (?:'[^'\n]*'|[^`|&#)\n'])+)", text, re.MULTILINE)
    cleaned = {re.sub(r"\s+", " ", command.split(" ..")[0]).strip(' ")') for command in found}
    return sorted(command for command in {*cleaned, *FROM_TERRAFORM} if not command.startswith(NOT_HERE))


def test_the_docs_have_these_commands() -> None:
    assert len(commands()) >= 15


@pytest.mark.parametrize("command", commands())
def test_gcloud_knows_the_command(command: str, tmp_path: Path) -> None:
    if not shutil.which("gcloud"):
        pytest.skip("gcloud is not installed: https://cloud.google.com/sdk/docs/install")
    # Nobody is signed in: a command that it understands ends at that.
    own = {
        "CLOUDSDK_CONFIG": str(tmp_path),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_PROJECT": "my-project",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        shlex.split(command),
        env=process_environment() | own,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not MISUSED.search(done.stderr), done.stderr
    assert "You do not currently have an active account selected" in done.stderr
