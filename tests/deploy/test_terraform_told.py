"""What Terraform tells Mage of the machine that it makes: room for staged files, and where reports outlive it."""

import re
from pathlib import Path
from typing import Any

import pytest
from nyc_taxi.settings import Settings

from ops.container import database, git_sync
from ops.container.git_remote import remote_of
from ops.mage.patches.scheduler.cloud_run_jobs import LIMITS
from tests.deploy.terraform import EVERYTHING, IMAGE, FakeCloud, FakeProviders, Workspace
from tests.deploy.test_terraform_faults import environment, service
from tests.deploy.test_terraform_recovery import DOCS, plan

GIB = 1 << 30
OBJECTS = {"storage.objects.create", "storage.objects.delete", "storage.objects.get"}
"""What a page in the bucket needs: an overwritten one is deleted first."""
PERMISSIONS = {
    "roles/storage.objectUser": {*OBJECTS, "storage.objects.list", "storage.objects.update"},
    "roles/storage.legacyBucketReader": {"storage.buckets.get", "storage.objects.list"},
}


@pytest.fixture(scope="module")
def applied(fake_providers: FakeProviders, tmp_path_factory: pytest.TempPathFactory) -> FakeCloud:
    """A cloud with the defaults applied to it."""
    folder = tmp_path_factory.mktemp("applied")
    cloud = fake_providers.start(folder)
    Workspace.of(folder / "terraform", cloud).apply()
    return cloud


def test_an_image_by_its_digest_cannot_become_another_one(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    by_digest = IMAGE.replace(":1", f"@sha256:{'0a' * 32}")
    workspace.apply(image=by_digest)
    assert service(fake_cloud)["template"][0]["containers"][0]["image"] == by_digest
    assert "No changes." in plan(workspace, image=by_digest)


def test_tags_that_the_clean_up_takes_can_be_taken(applied: FakeCloud) -> None:
    [registry] = applied.requests("google_artifact_registry_repository")
    [delete] = [one for one in registry.config["cleanup_policies"] if one["action"] == "DELETE"]
    assert delete["condition"][0]["tag_state"] == "ANY"
    assert not registry.config["docker_config"], "an immutable tag cannot be deleted, nor the image that has it"


def staging(cloud: FakeCloud) -> tuple[int, int]:
    """The size of the volume for staged files, and how many bytes Mage may keep there."""
    template = service(cloud)["template"][0]
    [volume] = [volume for volume in template["volumes"] if volume["name"] == "staging"]
    told = {name: value for name, value in environment(cloud).items() if isinstance(value, str)}
    size = int(volume["empty_dir"][0]["size_limit"].removesuffix("Gi")) * GIB
    return size, Settings.from_environment(told).staging_most


@pytest.mark.parametrize(
    "given",
    [{}, {"staging": {"gib": 6}, "memory_gib": 8, "cpu": 2}, {"staging": {"disk": True}}],
    ids=("as it is", "more memory", "a disk"),
)
def test_staged_files_may_take_nine_tenths_of_their_volume(
    fake_providers: FakeProviders, tmp_path: Path, given: dict[str, Any]
) -> None:
    cloud = fake_providers.start(tmp_path)
    workspace = Workspace.of(tmp_path / "terraform", cloud)
    workspace.apply(**given)
    size, most = staging(cloud)
    assert 0.89 < most / size < 0.91
    assert "No changes." in plan(workspace, **given)


def test_the_slowest_start_leaves_mage_a_minute_before_the_probe_gives_up(applied: FakeCloud) -> None:
    [probe] = service(applied)["template"][0]["containers"][0]["startup_probe"]
    git = git_sync.REACH_SECONDS + git_sync.FETCH_SECONDS_BEFORE_A_PROBE
    slowest = git + database.SECONDS + database.CONNECT_SECONDS
    assert slowest + 60 <= probe["period_seconds"] * probe["failure_threshold"]


def test_a_folder_of_a_larger_repository_and_a_size_for_jobs_are_told(
    workspace: Workspace, fake_cloud: FakeCloud
) -> None:
    env = re.findall(r"`env = (\{ (?:GIT_PROJECT_PATH|LOAD_MONTH_JOB).*?\})`", DOCS)
    given = {name: value for text in env for name, value in re.findall(r'(\w+) = "([^"]+)"', text)}
    workspace.apply(**{**EVERYTHING, "access": "iam", "load_balancer": None, "env": given})
    told = environment(fake_cloud)
    remote = remote_of({**{k: v for k, v in told.items() if isinstance(v, str)}, "GIT_ACCESS_TOKEN": "its"})
    assert remote is not None
    assert remote.project == "data/magic-zoomcamp"
    assert (told[LIMITS["cpu"]], told[LIMITS["memory"]]) == ("2", "8Gi")


def test_reports_are_kept_in_the_bucket(applied: FakeCloud) -> None:
    told = {name: value for name, value in environment(applied).items() if isinstance(value, str)}
    settings = Settings.from_environment(told)
    [bucket] = applied.requests("google_storage_bucket")
    assert settings.google.bucket == bucket.config["name"]
    assert settings.reports_prefix == "mage/reports"
    mage = f"serviceAccount:{service(applied)['template'][0]['service_account']}"
    grants = [grant.config for grant in applied.requests("google_storage_bucket_iam_member")]
    may = set().union(*(PERMISSIONS[grant["role"]] for grant in grants if grant["member"] == mage))
    assert may >= OBJECTS


def test_reports_stay_when_what_runs_wrote_goes(applied: FakeCloud) -> None:
    [bucket] = applied.requests("google_storage_bucket")
    told = environment(applied)
    ages = {
        prefix: rule["condition"][0]["age"]
        for rule in bucket.config["lifecycle_rule"]
        for prefix in rule["condition"][0]["matches_prefix"] or ()
        if rule["condition"][0]["age"]
    }
    runs = [f"{told['REMOTE_LOGS_PREFIX']}/", told["REMOTE_VARIABLES_DIR"].split("/", 3)[3] + "/"]
    assert [ages[prefix] for prefix in runs] == [30, 30]
    assert not [prefix for prefix in ages if f"{told['REPORTS_PREFIX']}/".startswith(prefix)]
