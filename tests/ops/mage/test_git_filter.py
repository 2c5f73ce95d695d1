"""What git says of the project after Mage wrote what belongs to this machine into its pipelines."""

import subprocess
from pathlib import Path

import pytest

from ops.mage import git_filter
from ops.mage.git_filter import install_git_filter, kept_clean, look_again
from ops.paths import PROJECT, ROOT
from ops.wait import wait_until

AS_RUN = {
    "  status: not_executed": "  status: executed",
    "- all_upstream_blocks_executed: false": "- all_upstream_blocks_executed: true",
    "variables_dir: /home/src/mage_data/magic-zoomcamp": "variables_dir: /tmp/here",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with two pipelines of this project."""
    for name in ("api_to_postgres", "api_to_gcs"):
        folder = tmp_path / "magic-zoomcamp" / "pipelines" / name
        folder.mkdir(parents=True)
        (folder / "metadata.yaml").write_text((PROJECT / "pipelines" / name / "metadata.yaml").read_text())
    (tmp_path / ".gitattributes").write_text((ROOT / ".gitattributes").read_text())
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@l", "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path / "magic-zoomcamp"


def git(project: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=project, capture_output=True, text=True, check=True).stdout


def mage_runs(pipeline: Path) -> None:
    text = pipeline.read_text()
    for ours, written in AS_RUN.items():
        assert ours in text
        text = text.replace(ours, written)
    pipeline.write_text(text)


@pytest.mark.parametrize("path", sorted(PROJECT.glob("pipelines/*/metadata.yaml")), ids=lambda path: path.parent.name)
def test_the_filter_leaves_what_is_committed_as_it_is(project: Path, path: Path) -> None:
    install_git_filter(project)
    (project / "pipelines" / "api_to_gcs" / "metadata.yaml").write_text(path.read_text())
    filtered = git(project, "hash-object", "--path=pipelines/api_to_gcs/metadata.yaml", str(path))
    assert filtered == git(project, "hash-object", "--no-filters", str(path))


def test_a_pipeline_that_mage_ran_is_no_change(project: Path) -> None:
    install_git_filter(project)
    mage_runs(project / "pipelines" / "api_to_postgres" / "metadata.yaml")
    assert git(project, "diff") == ""
    assert git(project, "status", "--short") == " M pipelines/api_to_postgres/metadata.yaml\n"  # git looked at its size
    assert look_again(project)
    assert git(project, "status", "--short") == ""


def test_what_a_person_changed_stays_changed_and_unstaged(project: Path) -> None:
    install_git_filter(project)
    path = project / "pipelines" / "api_to_postgres" / "metadata.yaml"
    mage_runs(path)
    path.write_text(path.read_text().replace("service: yellow", "service: green"))
    assert look_again(project)
    assert git(project, "diff", "--cached") == ""
    changed = [line for line in git(project, "diff").splitlines() if line.startswith(("+ ", "- "))]
    assert changed == ["-  service: yellow", "+  service: green"]


def test_while_another_git_has_the_index_it_says_that_it_could_not(project: Path) -> None:
    install_git_filter(project)
    mage_runs(project / "pipelines" / "api_to_gcs" / "metadata.yaml")
    (project.parent / ".git" / "index.lock").touch()
    assert not look_again(project)


def test_it_is_kept_clean_while_mage_writes(project: Path) -> None:
    with kept_clean(project):
        mage_runs(project / "pipelines" / "api_to_gcs" / "metadata.yaml")
        assert wait_until(lambda: git(project, "status", "--short") == "", 20, 0.1)
        mage_runs(project / "pipelines" / "api_to_postgres" / "metadata.yaml")
    assert git(project, "status", "--short") == ""


def test_a_folder_without_git_is_no_error(tmp_path: Path) -> None:
    with kept_clean(tmp_path):
        assert not (tmp_path / ".git").exists()


def test_a_look_while_mage_writes_stages_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_git_filter(project)
    pipeline = project / "pipelines" / "api_to_postgres" / "metadata.yaml"
    mage_runs(pipeline)
    written, run = pipeline.read_text(), git_filter._git

    def half_written(where: Path, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        looks = arguments[:2] == ("update-index", "--")
        pipeline.write_text("" if looks else written)
        return run(where, *arguments, stdin=stdin)

    monkeypatch.setattr(git_filter, "_git", half_written)
    assert not look_again(project)
    assert git(project, "diff", "--cached", "--name-only") == ""
    monkeypatch.undo()
    pipeline.write_text(written)
    assert look_again(project)
    assert git(project, "status", "--short") == ""
