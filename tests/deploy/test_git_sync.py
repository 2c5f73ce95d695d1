"""The project from git: a real repository over HTTP behind a token, and what a start makes of it."""

import base64
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ops.container.git_remote import Remote, remote_of
from ops.container.git_sync import LAST_GOOD, Checkout
from ops.errors import StartRefused
from ops.paths import PROJECT
from tests.conftest import process_environment
from tests.deploy.git_host import SMALL, TOKEN, GitHost
from tests.deploy.processes import CommandLines
from tests.deploy.ssh_host import SshHost

PIPELINE = f"{PROJECT.name}/pipelines/example_pipeline/metadata.yaml"
LOADER = f"{PROJECT.name}/data_loaders/load_titanic.py"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitHost]:
    """A git host with a part of this project."""
    with GitHost(tmp_path / "host") as running:
        running.add_project(*SMALL)
        yield running


class Instance:
    """An instance that follows the host: its folder, and what its starts said."""

    spare: Path | None = None
    """What the image holds, where no file outlives the instance."""
    probed = False

    def __init__(self, folder: Path, host: GitHost, token: str = TOKEN, **more: str) -> None:
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        self.folder = folder / "checkout"
        self.said: list[str] = []
        named = remote_of({"GIT_REPO_LINK": host.url, "GIT_ACCESS_TOKEN": token, **more})
        assert named is not None
        self.remote: Remote = named

    @property
    def env(self) -> dict[str, str]:
        own = {"HOME": str(self.home)}
        return {**process_environment(), **own, **self.remote.environment(self.home, self.folder)}

    def start(self) -> str:
        """Sync as a start does; the commit that runs."""
        self.said.clear()
        self.remote.prepare(self.home)
        return Checkout(self.folder, self.remote, self.env, self.spare, self.probed).sync(self.said.append)

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()

    def git(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Git in the checkout, as Mage would call it."""
        command = ["git", "-C", str(self.folder), *arguments]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, check=False, timeout=60)

    def files_with(self, secret: str) -> list[Path]:
        """Every file of the instance, git's own included, that holds a text."""
        return [
            path
            for path in self.folder.parent.rglob("*")
            if path.is_file() and "host" not in path.parts and secret.encode() in path.read_bytes()
        ]


@pytest.fixture
def as_in_image(tmp_path: Path, host: GitHost) -> Path:
    """The project that an image was built with: what the host has before anybody pushes more."""
    return Path(shutil.copytree(host.work / PROJECT.name, tmp_path / "image" / PROJECT.name))


@pytest.fixture
def instance(tmp_path: Path, host: GitHost) -> Instance:
    return Instance(tmp_path, host)


def test_the_first_start_clones_the_project(instance: Instance, host: GitHost) -> None:
    commit = instance.start()
    assert commit == instance.git("rev-parse", "HEAD").stdout.strip()
    assert instance.text(PIPELINE) == (host.work / PIPELINE).read_text()
    assert instance.said == [
        f"git: {host.url} main at {instance.git('show', '-s', '--format=%h %cs %s').stdout.strip()}"
    ]
    assert instance.git("status", "--porcelain").stdout == ""


def test_a_pushed_change_runs_after_the_next_start(instance: Instance, host: GitHost) -> None:
    instance.start()
    host.edit(PIPELINE, "Mage's own", "Our own")
    pushed = host.push("A new description")
    assert instance.start() == pushed
    assert "Our own first pipeline" in instance.text(PIPELINE)


def test_a_file_that_was_deleted_there_is_gone_here(instance: Instance, host: GitHost) -> None:
    instance.start()
    assert (instance.folder / "requirements.txt").exists()
    (host.work / "requirements.txt").unlink()
    host.push("No packages any more")
    instance.start()
    assert not (instance.folder / "requirements.txt").exists()


def test_a_history_that_was_rewritten_is_followed(instance: Instance, host: GitHost) -> None:
    instance.start()
    host.edit(PIPELINE, "Mage's own", "Our own")
    rewritten = host.rewrite("Everything anew")
    assert instance.start() == rewritten
    assert instance.git("rev-list", "--count", "HEAD").stdout.strip() == "1"
    assert "Our own first pipeline" in instance.text(PIPELINE)
    assert len(instance.said) == 1  # nothing was made here, so that nothing was put aside


def test_without_the_host_the_old_code_runs_and_says_so(instance: Instance, host: GitHost) -> None:
    first = instance.start()
    host.take_down()
    assert instance.start() == first
    assert "WARNING" in instance.said[0]
    assert "cannot be read" in instance.said[0]
    assert "Failed to connect" in instance.said[0]
    assert instance.said[1].startswith(f"WARNING git: the last good commit runs instead, {first[:7]}")


def test_a_host_that_never_answers_costs_seconds_not_minutes(
    instance: Instance, host: GitHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = instance.start()
    host.take_down()
    monkeypatch.setattr("ops.container.git_sync.REACH_SECONDS", 1)
    with socket.create_server(("127.0.0.1", host.port)):
        began = time.monotonic()
        assert instance.start() == first
        assert time.monotonic() - began < 10
    assert "no answer within 1 s" in instance.said[0]


def test_with_nothing_cloned_and_no_host_the_start_is_refused(instance: Instance, host: GitHost) -> None:
    host.take_down()
    with pytest.raises(StartRefused, match="nothing to run: fix that first"):
        instance.start()


def test_where_no_file_outlives_the_instance_the_images_project_runs_until_the_host_answers(
    tmp_path: Path, host: GitHost, as_in_image: Path
) -> None:
    host.edit(PIPELINE, "Mage's own", "Our own")
    pushed = host.push("A new description")
    instance = Instance(tmp_path, host, token="a-token-that-has-expired")
    instance.spare = as_in_image
    spare = instance.start()
    assert "Authentication failed" in instance.said[0]
    assert instance.said[1].startswith(f"WARNING git: the last good commit runs instead, {spare[:7]}")
    assert instance.said[1].endswith("The project of the image")
    assert "Mage's own first pipeline" in instance.text(PIPELINE)
    assert instance.git("status", "--porcelain").stdout == ""
    followed = Instance(tmp_path, host)
    assert followed.git("fetch", "mage-repo").returncode == 0  # what Mage's own sync does
    assert followed.git("reset", "--hard", "mage-repo/main").returncode == 0
    assert "Our own first pipeline" in followed.text(PIPELINE)
    assert followed.start() == pushed
    assert len(followed.said) == 1  # nothing was put aside


def test_a_broken_commit_at_the_first_start_leaves_the_images_project(
    tmp_path: Path, host: GitHost, as_in_image: Path
) -> None:
    why = break_python(host)
    host.push("A mistake")
    instance = Instance(tmp_path, host)
    instance.spare = as_in_image
    instance.start()
    assert why in instance.said[0]
    assert (instance.folder / LOADER).read_text() == (as_in_image / "data_loaders/load_titanic.py").read_text()


def test_a_wrong_token_leaves_the_old_code_running(tmp_path: Path, instance: Instance, host: GitHost) -> None:
    first = instance.start()
    stranger = Instance(tmp_path, host, token="another-token-1234")
    assert stranger.start() == first
    assert "Authentication failed" in stranger.said[0]
    assert "another-token" not in " ".join(stranger.said)


def test_a_wrong_token_at_the_first_start_is_refused(tmp_path: Path, host: GitHost) -> None:
    with pytest.raises(StartRefused, match=r"Authentication failed.*nothing to run"):
        Instance(tmp_path, host, token="another-token-1234").start()
    assert host.asked_without_token >= 2


def test_where_a_probe_waits_for_the_start_a_host_that_is_slow_does_not_cost_it(
    tmp_path: Path, host: GitHost, as_in_image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = Instance(tmp_path, host)
    instance.spare = as_in_image
    instance.probed = True
    host.stall()
    monkeypatch.setattr("ops.container.git_sync.FETCH_SECONDS_BEFORE_A_PROBE", 1)
    began = time.monotonic()
    instance.start()
    assert time.monotonic() - began < 10
    assert "cannot be read: the host does not answer: " in instance.said[0]
    assert "no answer within 1 s" in instance.said[0]
    assert instance.said[1].endswith("The project of the image")


def break_python(host: GitHost) -> str:
    host.edit(LOADER, "def load_titanic(", "def load_titanic((")
    return "data_loaders/load_titanic.py, line"


def break_yaml(host: GitHost) -> str:
    (host.work / PIPELINE).write_text("blocks: [\n")
    return "pipelines/example_pipeline/metadata.yaml: while parsing"


def lose_a_block(host: GitHost) -> str:
    (host.work / LOADER).unlink()
    return "block load_titanic has no file data_loaders/load_titanic.py"


def lose_the_project_file(host: GitHost) -> str:
    (host.work / PROJECT.name / "metadata.yaml").unlink()
    return "magic-zoomcamp/metadata.yaml is missing"


def lose_every_pipeline(host: GitHost) -> str:
    shutil.rmtree(host.work / PROJECT.name / "pipelines")
    return "magic-zoomcamp/pipelines has no pipeline"


def write_no_list_of_blocks(host: GitHost) -> str:
    (host.work / PIPELINE).write_text("blocks: 5\n")
    return "pipelines/example_pipeline/metadata.yaml: blocks are not as Mage writes them: 'int' object is not"


def link_a_file_to_nothing(host: GitHost) -> str:
    (host.work / PROJECT.name / "utils" / "shared.py").parent.mkdir(exist_ok=True)
    (host.work / PROJECT.name / "utils" / "shared.py").symlink_to("/a/folder/of/mine/shared.py")
    return "utils/shared.py is a link that leads to no file"


BREAK = [break_python, break_yaml, lose_a_block, lose_the_project_file, lose_every_pipeline]
BREAK += [write_no_list_of_blocks, link_a_file_to_nothing]


@pytest.mark.parametrize("break_it", BREAK, ids=lambda function: function.__name__)
def test_a_broken_commit_is_refused_and_the_last_good_one_runs(
    instance: Instance, host: GitHost, break_it: Callable[[GitHost], str]
) -> None:
    good = instance.start()
    why = break_it(host)
    broken = host.push("A mistake")
    assert instance.start() == good
    assert f"main is broken at {broken[:12]}: " in instance.said[0]
    assert why in instance.said[0]
    assert instance.git("rev-parse", "HEAD").stdout.strip() == good
    assert instance.git("rev-parse", LAST_GOOD).stdout.strip() == good
    host.git("revert", "--no-edit", "HEAD")
    fixed = host.push("As it was")
    assert instance.start() == fixed


def test_a_broken_commit_at_the_first_start_is_refused(instance: Instance, host: GitHost) -> None:
    why = break_python(host)
    host.push("A mistake")
    with pytest.raises(StartRefused, match=f"is broken at .*{why}"):
        instance.start()


def test_nothing_broken_gets_to_where_mage_looks_while_it_runs(instance: Instance, host: GitHost) -> None:
    good = instance.start()
    break_python(host)
    host.push("A mistake")
    fetched = instance.git("fetch", "mage-repo")  # what Mage's own sync does, before it resets the project
    assert fetched.returncode != 0
    assert "is broken and is not put to work: data_loaders/load_titanic.py" in fetched.stderr
    assert instance.git("rev-parse", "mage-repo/main").stdout.strip() == good
    host.git("revert", "--no-edit", "HEAD")
    fixed = host.push("As it was")
    assert instance.git("fetch", "mage-repo").returncode == 0
    assert instance.git("rev-parse", "mage-repo/main").stdout.strip() == fixed
    host.take_down()
    assert instance.start() == fixed  # what came in between is the last good one


def test_an_empty_repository_is_refused(tmp_path: Path) -> None:
    with GitHost(tmp_path / "host") as empty, pytest.raises(StartRefused, match="has no branch main: push there first"):
        Instance(tmp_path, empty).start()


def test_a_repository_of_something_else_is_refused(tmp_path: Path) -> None:
    with GitHost(tmp_path / "host") as other:
        (other.work / "README").write_text("Recipes\n")
        other.push("Recipes")
        with pytest.raises(StartRefused, match=r"magic-zoomcamp/metadata\.yaml is missing: that is no Mage project"):
            Instance(tmp_path, other).start()


def test_a_project_in_a_folder_of_a_larger_repository_is_followed(
    tmp_path: Path, instance: Instance, host: GitHost
) -> None:
    (host.work / "data").mkdir()
    shutil.move(host.work / PROJECT.name, host.work / "data" / "trips")
    (host.work / "website.py").write_text("this is not our concern (")
    moved = host.push("A larger repository")
    deep = Instance(tmp_path, host, GIT_PROJECT_PATH="data/trips/")
    assert deep.start() == moved
    assert deep.text("data/trips/metadata.yaml").startswith("# The project.")
    (host.work / "data/trips/data_loaders/load_titanic.py").write_text("def load(")
    host.push("A mistake")
    assert "is broken and is not put to work: data_loaders/load_titanic.py" in deep.git("fetch", "mage-repo").stderr
    assert deep.start() == moved


def test_another_folder_than_that_of_the_last_start_is_looked_at_as_if_it_were_the_first(
    tmp_path: Path, instance: Instance, host: GitHost
) -> None:
    instance.start()
    with pytest.raises(StartRefused, match=r"is broken at .*: tripz/metadata\.yaml is missing: that is no Mage"):
        Instance(tmp_path, host, GIT_PROJECT_PATH="data/tripz").start()
    (host.work / "data").mkdir()
    shutil.move(host.work / PROJECT.name, host.work / "data" / "trips")
    moved = host.push("Into a folder")
    assert Instance(tmp_path, host, GIT_PROJECT_PATH="data/trips").start() == moved


@pytest.mark.parametrize("folder", ["../other", "/etc/../x", "a//b", "a b", "-x", "a/$(id)"])
def test_a_project_folder_that_is_none_is_refused(folder: str) -> None:
    with pytest.raises(StartRefused, match="is no folder of the repository such as data/magic-zoomcamp"):
        remote_of({"GIT_REPO_LINK": "https://example.org/a.git", "GIT_PROJECT_PATH": folder})


def test_a_submodule_in_the_project_is_refused_by_name(instance: Instance, host: GitHost) -> None:
    good = instance.start()
    host.git("update-index", "--add", "--cacheinfo", f"160000,{good},{PROJECT.name}/utils/shared")
    host.git("commit", "-qm", "A submodule")
    host.git("push", "-q", "origin", "main")
    assert instance.start() == good
    assert f"{PROJECT.name}/utils/shared is a submodule, which is not fetched: put its files" in instance.said[0]


def test_a_pointer_of_git_lfs_is_refused_by_name(instance: Instance, host: GitHost) -> None:
    good = instance.start()
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    (host.work / PROJECT.name / "zones.parquet").write_text(pointer)
    host.push("A large file")
    assert instance.start() == good
    assert "zones.parquet is a pointer of Git LFS, whose content is not fetched: commit the file" in instance.said[0]


def test_what_git_leaves_out_of_archives_is_looked_at_too(instance: Instance, host: GitHost) -> None:
    instance.start()
    with (host.work / ".gitattributes").open("a") as attributes:
        attributes.write(f"\n{PROJECT.name}/data_loaders export-ignore\n")
    pushed = host.push("An attribute")
    assert instance.start() == pushed


def test_a_branch_that_was_deleted_and_a_token_that_expired_are_a_line_with_what_to_do(
    tmp_path: Path, instance: Instance, host: GitHost
) -> None:
    good = instance.start()
    expired = Instance(tmp_path, host, token="a-token-of-last-year")
    assert expired.start() == good
    assert "it may have expired: set GIT_ACCESS_TOKEN to a new one that may read" in expired.said[0]
    host.git("push", "-q", "origin", "main:other")
    host.git("symbolic-ref", "HEAD", "refs/heads/other", cwd=host.folder / "taxi.git")
    host.git("push", "-q", "origin", ":main")
    assert instance.start() == good
    assert "it has no branch main: push there first, or set GIT_BRANCH" in instance.said[0]
    assert all("\n" not in line for line in (*expired.said, *instance.said))


def test_another_branch_is_followed_when_it_is_named(tmp_path: Path, instance: Instance, host: GitHost) -> None:
    instance.start()
    host.git("switch", "-q", "-c", "trial")
    host.edit(PIPELINE, "Mage's own", "A trial''s")
    host.git("commit", "-qam", "Trial", "--author", "t <t@localhost>")
    host.git("push", "-q", "origin", "trial")
    on_trial = Instance(tmp_path, host, GIT_BRANCH="trial")
    on_trial.start()
    assert "A trial''s first pipeline" in on_trial.text(PIPELINE)
    assert on_trial.git("branch", "--show-current").stdout.strip() == "trial"
    assert len(on_trial.said) == 1


def test_what_was_changed_here_and_not_pushed_is_kept_aside(instance: Instance, host: GitHost) -> None:
    instance.start()
    (instance.folder / PIPELINE).write_text(instance.text(PIPELINE).replace("Mage's own", "A local"))
    instance.git("-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-qam", "Made here")
    (instance.folder / LOADER).write_text("# half an idea\n")
    instance.start()
    assert "A local" not in instance.text(PIPELINE)
    assert "half an idea" not in instance.text(LOADER)
    kept = instance.git("for-each-ref", "--format=%(refname)", "refs/aside").stdout.split()
    assert len(kept) == 2
    texts = "".join(instance.git("show", "-m", "--first-parent", name).stdout for name in kept)
    assert "half an idea" in texts
    assert "A local" in texts
    assert [line for line in instance.said if "never pushed: kept" in line] == instance.said[:2]


def test_a_start_that_was_killed_leaves_nothing_that_stops_the_next(instance: Instance, host: GitHost) -> None:
    instance.start()
    for name in ("index.lock", "HEAD.lock", "refs/heads/main.lock", "config.lock", "shallow.lock"):
        (instance.folder / ".git" / name).touch()
    host.edit(PIPELINE, "Mage's own", "Our own")
    pushed = host.push("A new description")
    assert instance.start() == pushed


def test_a_first_start_killed_anywhere_is_made_good_by_the_next(tmp_path: Path, host: GitHost) -> None:
    code = (
        "from tests.deploy.test_git_sync import Instance; from tests.deploy.git_host import TOKEN\n"
        "from pathlib import Path; import sys, types\n"
        "Instance(Path(sys.argv[1]), types.SimpleNamespace(url=sys.argv[2])).start()"
    )
    for tenths in (3, 5, 7):
        folder = tmp_path / str(tenths)
        folder.mkdir()
        line = [sys.executable, "-c", code, str(folder), host.url]
        process = subprocess.Popen(line, cwd=PROJECT.parent, start_new_session=True, stderr=subprocess.DEVNULL)
        time.sleep(tenths / 10)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        instance = Instance(folder, host)
        assert instance.start() == host.git("rev-parse", "HEAD")
        assert instance.git("status", "--porcelain").stdout == ""


def test_the_token_is_in_no_file_no_message_and_no_command_line(instance: Instance, host: GitHost) -> None:
    with CommandLines() as lines:
        instance.start()
        host.edit(PIPELINE, "Mage's own", "Our own")
        host.push("A new description")
        fetched = instance.git("fetch", "mage-repo")
    assert fetched.returncode == 0
    # The programs that use the token were seen.
    assert lines.with_text(f"git remote-http mage-repo {host.url}") != []
    assert lines.with_text(TOKEN) == []
    assert instance.files_with(TOKEN) == []
    assert TOKEN not in repr(instance.remote) + " ".join(instance.said) + fetched.stdout + fetched.stderr
    assert instance.git("remote", "get-url", "mage-repo").stdout.strip() == host.url


def test_the_token_goes_to_its_own_host_only(instance: Instance, host: GitHost) -> None:
    instance.start()
    asked = "protocol=http\nhost=elsewhere.example\n\n"
    command = ["git", "credential", "fill"]
    answer = subprocess.run(command, env=instance.env, input=asked, capture_output=True, text=True, check=False)
    assert TOKEN not in answer.stdout
    asked = f"protocol=http\nhost=127.0.0.1:{host.port}\n\n"
    answer = subprocess.run(command, env=instance.env, input=asked, capture_output=True, text=True, check=True)
    assert f"password={TOKEN}" in answer.stdout


HTTPS = {"GIT_REPO_LINK": "https://github.com/you/taxi.git", "GIT_ACCESS_TOKEN": "t"}
KEY = base64.b64encode(b"-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\n").decode()
SSH = {
    "GIT_REPO_LINK": "git@github.com:you/taxi.git",
    "GIT_AUTH_TYPE": "ssh",
    "GIT_SSH_PRIVATE_KEY": KEY,
    "GIT_KNOWN_HOSTS": "github.com ssh-ed25519 AAAA",
}


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({**HTTPS, "GIT_REPO_LINK": "https://me:secret-word@github.com/you/taxi.git"}, "put it into GIT_ACCESS_TOKEN"),
        ({**HTTPS, "GIT_REPO_LINK": "http://github.com/you/taxi.git"}, "would send the token unencrypted to github"),
        ({**HTTPS, "GIT_REPO_LINK": "file:///etc"}, "GIT_REPO_LINK is no address"),
        ({**HTTPS, "GIT_REPO_LINK": "--upload-pack=touch /tmp/x"}, "GIT_REPO_LINK is no address"),
        ({**HTTPS, "GIT_BRANCH": "--force"}, "GIT_BRANCH '--force' is no branch's name"),
        ({**HTTPS, "GIT_BRANCH": "main:refs/heads/other"}, "is no branch's name"),
        ({**HTTPS, "GIT_BRANCH": "a/../b"}, "is no branch's name"),
        ({**HTTPS, "GIT_AUTH_TYPE": "oauth"}, "GIT_AUTH_TYPE 'oauth' is neither https nor ssh"),
        ({**SSH, "GIT_KNOWN_HOSTS": ""}, "GIT_KNOWN_HOSTS is empty"),
        ({**SSH, "GIT_SSH_PRIVATE_KEY": "not base64!"}, "GIT_SSH_PRIVATE_KEY is no private key in base64"),
        ({**SSH, "GIT_REPO_LINK": "-oProxyCommand=x@y:z"}, "GIT_REPO_LINK is no address such as git@"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(env: dict[str, str], why: str) -> None:
    with pytest.raises(StartRefused) as refused:
        remote_of(env)
    assert why in str(refused.value)
    assert "secret-word" not in str(refused.value)


def test_without_a_link_there_is_no_remote() -> None:
    assert remote_of({"GIT_REPO_LINK": "", "GIT_BRANCH": "main"}) is None


def test_ssh_believes_the_pinned_host_alone(tmp_path: Path) -> None:
    remote = remote_of(SSH)
    assert remote is not None
    remote.prepare(tmp_path)
    ssh = tmp_path / ".ssh"
    key = ssh / "id_rsa_mage_git_ssh_private_key_b64"  # the name under which Mage looks for it
    assert remote.environment(tmp_path, tmp_path)["GIT_SSH_COMMAND"] == (
        f"ssh -i {key} -oBatchMode=yes -oConnectTimeout=15 -oGlobalKnownHostsFile=/dev/null -oIdentitiesOnly=yes "
        f"-oStrictHostKeyChecking=yes -oUserKnownHostsFile={ssh / 'pinned_hosts'}"
    )
    assert key.read_bytes() == base64.b64decode(KEY)
    assert [path.stat().st_mode & 0o777 for path in (ssh, key, ssh / "pinned_hosts")] == [0o700, 0o600, 0o600]
    assert (ssh / "pinned_hosts").read_text() == "github.com ssh-ed25519 AAAA\n"


def test_a_repository_over_ssh_is_followed(tmp_path: Path, host: GitHost, ssh_host: SshHost) -> None:
    instance = Instance(tmp_path, host, **ssh_host.remote_for(host))
    instance.start()
    host.edit(PIPELINE, "Mage's own", "Our own")
    pushed = host.push("A new description")
    assert instance.start() == pushed
    assert "Our own first pipeline" in instance.text(PIPELINE)


def test_a_host_with_another_key_is_not_believed(tmp_path: Path, host: GitHost, ssh_host: SshHost) -> None:
    key = "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    other = f"[127.0.0.1]:{ssh_host.port} ssh-ed25519 {key}"
    with pytest.raises(StartRefused, match="Host key verification failed"):
        Instance(tmp_path, host, **ssh_host.remote_for(host, GIT_KNOWN_HOSTS=other)).start()
