"""Terraform for the tests: terraform/ in a folder of its own, with fake providers, and its parsed text."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from ops.paths import ROOT
from tests.conftest import process_environment

SOURCE = ROOT / "terraform"
DEPLOY_PYTHON = ROOT / ".venv-deploy" / "bin" / "python"
WHEELS = ROOT / ".venv-deploy" / "wheels"
PARSER = """
import hcl2, json, pathlib, sys
print(json.dumps({path.name: hcl2.loads(path.read_text()) for path in pathlib.Path(sys.argv[1]).glob("*.tf")}))
"""
GCLOUD = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/asked"
[ ! -e "$(dirname "$0")/signed-out" ]
"""
IMAGE = "us-central1-docker.pkg.dev/my-project/mage/nyc-taxi-mage:1"
GIVEN = {"project_id": "my-project", "owner_email": "me@example.org", "image": IMAGE}
"""What must be given."""
EVERYTHING = {
    "access": "load_balancer",
    "budget": {"billing_account": "000000-000000-000000", "amount": 100},
    "cloud_run_executor": True,
    "env": {"SMTP_HOST": "smtp.example.org"},
    "filestore": {"zone": "us-central1-a"},
    "git": {"url": "https://github.com/me/my-trips.git", "token_secret": "git-token"},
    "github": {"repository": "me/my-trips"},
    "load_balancer": {"domain": "mage.example.org", "allowed_ranges": ["192.0.2.0/24"]},
    "members": ["user:colleague@example.org"],
    "secret_env": {"SLACK_WEBHOOK_URL": "slack-webhook"},
}
"""Every option at once, as far as they go together."""

Json = dict[str, Any]


class TerraformFailed(RuntimeError):
    """Terraform ended with an error; the message is what it said, on one line."""


@dataclass(frozen=True)
class Request:
    """Something that Terraform asked of the cloud."""

    action: str
    kind: str
    config: Json
    """The arguments, write-only ones included."""


@dataclass(frozen=True)
class FakeCloud:
    """A pair of fake providers, with a cloud of their own in memory."""

    log: Path
    reattach: str
    """For TF_REATTACH_PROVIDERS."""

    def fix(self) -> None:
        """What could not be made can be made from now on."""
        self.log.with_name("fixed").touch()
        self.log.with_name("unhealthy").unlink(missing_ok=True)

    def let_no_revision_start(self) -> None:
        """From now on, until `fix`: the database is away, or a setting is refused."""
        self.log.with_name("unhealthy").touch()

    def update(self, **changes: object) -> None:
        """`gcloud run services update`, seen when Terraform looks next; `labels` and `image` as there."""
        self.log.with_name("update.json").write_text(json.dumps(changes))

    def requests(self, kind: str = "") -> list[Request]:
        """What Terraform asked for, in order; of one kind of resource, or all."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        found = [Request(**json.loads(line)) for line in lines]
        return [request for request in found if kind in ("", request.kind)]


class FakeProviders:
    """The process that has all of them; a context manager."""

    def __init__(self) -> None:
        [wheel] = WHEELS.glob("pulumi_gcp-*.whl")
        # It ends when its standard input does, so also when this process is killed.
        self._process = subprocess.Popen(
            [DEPLOY_PYTHON, "-m", "tests.deploy.provider.server", wheel],
            cwd=ROOT,
            env=process_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, folder: Path, options: str = "") -> FakeCloud:
        """A new cloud, whose log is in `folder`; `options` as the server's."""
        log = folder / "requests.jsonl"
        assert self._process.stdin
        assert self._process.stdout
        print(f"{shlex.quote(str(log))} {options}", file=self._process.stdin, flush=True)
        reattach = self._process.stdout.readline().strip()
        assert reattach, "the fake providers did not start"
        return FakeCloud(log, reattach)

    def __enter__(self) -> "FakeProviders":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=30)


@dataclass(frozen=True)
class Workspace:
    """A copy of terraform/ with a state of its own."""

    folder: Path
    reattach: str = ""
    """The fake providers to use; empty for the real providers."""

    @classmethod
    def of(cls, folder: Path, fake_cloud: FakeCloud | None = None) -> "Workspace":
        """A new one, initialised."""
        shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars"))
        if fake_cloud:
            (folder / "programs").mkdir()
            (folder / "programs" / "gcloud").write_text(GCLOUD)
            (folder / "programs" / "gcloud").chmod(0o755)
        workspace = cls(folder, fake_cloud.reattach if fake_cloud else "")
        workspace.run("init", "-backend=false", "-input=false")
        return workspace

    def run(self, *arguments: str, **variables: object) -> str:
        """What Terraform prints; TerraformFailed when it fails."""
        (self.folder / "test.auto.tfvars.json").write_text(json.dumps(variables))
        # Only what it needs: a configuration of Terraform's on this machine is not the test's.
        env = process_environment()
        if self.reattach:
            env["TF_REATTACH_PROVIDERS"] = self.reattach
            env["PATH"] = f"{self.folder / 'programs'}{os.pathsep}{env['PATH']}"
        command = ["terraform", *arguments, "-no-color"]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise TerraformFailed(" ".join((done.stderr or done.stdout).split()))
        return done.stdout

    def apply(self, **variables: object) -> str:
        """Apply without a question, with what must be given and these variables."""
        return self.run("apply", "-auto-approve", **(GIVEN | variables))

    def destroy(self, **variables: object) -> str:
        """Destroy without a question."""
        return self.run("destroy", "-auto-approve", **(GIVEN | variables))

    def gcloud_calls(self) -> list[str]:
        """What Terraform ran gcloud with, a line a call."""
        said = self.folder / "programs" / "asked"
        return said.read_text().splitlines() if said.exists() else []

    @property
    def state(self) -> str:
        """The text of the state, with every earlier one."""
        return "".join(path.read_text() for path in self.folder.glob("*.tfstate*"))

    def edit(self, name: str, old: str, new: str) -> None:
        """Change one place of a file."""
        text = (self.folder / name).read_text()
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {name}"
        (self.folder / name).write_text(text.replace(old, new))


@dataclass(frozen=True)
class Resource:
    """One `resource` of the configuration."""

    file: str
    kind: str
    name: str
    body: Json

    @property
    def address(self) -> str:
        """Its kind and name, as Terraform writes them."""
        return f"{self.kind}.{self.name}"


@dataclass(frozen=True)
class Configuration:
    """The parsed text of terraform/."""

    files: Json

    @classmethod
    def parsed(cls) -> "Configuration":
        """Read it with python-hcl2."""
        command = [str(DEPLOY_PYTHON), "-c", PARSER, str(SOURCE)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return cls(_bare(json.loads(text)))

    @cached_property
    def resources(self) -> list[Resource]:
        """Every managed resource."""
        return [
            Resource(file, kind, name, body)
            for file, content in self.files.items()
            for blocks in content.get("resource", [])
            for kind, named in blocks.items()
            for name, body in named.items()
        ]

    def of(self, kind: str) -> list[Resource]:
        """The resources of one kind."""
        return [resource for resource in self.resources if resource.kind == kind]

    def blocks(self, kind: str) -> dict[str, Json]:
        """Every `variable`, `output` or the like, by name."""
        return {
            name: body
            for content in self.files.values()
            for blocks in content.get(kind, [])
            for name, body in blocks.items()
        }

    @cached_property
    def local_values(self) -> Json:
        """Every local, by name."""
        return {
            name: value
            for content in self.files.values()
            for block in content.get("locals", [])
            for name, value in block.items()
        }

    def reached_by(self, resource: Resource) -> set[str]:
        """The addresses of everything that must be there before a resource, directly or not."""
        bodies = {found.address: found.body for found in self.resources} | {
            f"data.{kind}.{name}": body for kind, named in self.blocks("data").items() for name, body in named.items()
        }
        reached: set[str] = set()
        waiting: list[object] = [resource.body]
        while waiting:
            text = json.dumps(waiting.pop())
            locals_named = {f"local.{name}" for name in re.findall(r"\blocal\.(\w+)", text)} - reached
            named = {address for address in bodies if re.search(rf"\b{re.escape(address)}\b", text)} - reached
            waiting += [self.local_values[name.removeprefix("local.")] for name in locals_named]
            waiting += [bodies[address] for address in named]
            reached |= locals_named | named
        return {address for address in reached if not address.startswith("local.")}

    def strings(self) -> Iterator[str]:
        """Every string of it."""
        yield from _strings(self.files)


def _bare(value: object) -> Any:
    """Without the quotes that python-hcl2 leaves on, and its own marks."""
    if isinstance(value, dict):
        return {_bare(key): _bare(inner) for key, inner in value.items() if not str(key).startswith("__")}
    if isinstance(value, list):
        return [_bare(inner) for inner in value]
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _strings([*value, *value.values()])
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _strings(inner)
