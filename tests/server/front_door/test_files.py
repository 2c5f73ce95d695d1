"""No way through Mage leads to a file outside the project, for its owner either: to read, to list or to write."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from ops.mage.api import MageApi
from tests.server.conftest import OWNER, Mage
from tests.server.front_door.routes import Surface

pytestmark = pytest.mark.mage
MARKER = "nobody-sees-this"
OF_FILES = ("blocks", "browser_items", "custom_templates", "file_contents", "files", "git_files", "interactions")
"""Resources that are asked for by a path: all tricks are tried on these, and LEADING on all others too."""
LEADING = ("absolute", "%252e%252e", "link")


@dataclass(frozen=True)
class Outside:
    """A folder beside the project, a file in it, and two links to them in the project."""

    folder: Path
    project: Path

    @property
    def file(self) -> Path:
        """It holds MARKER."""
        return self.folder / "metadata.yaml"

    def ways(self, name: str = "metadata.yaml") -> dict[str, str]:
        """Ways from the project to a file of the folder, as a person would write them."""
        folder = self.folder.name
        return {
            "absolute": str(self.folder / name),
            "..": f"../{folder}/{name}",
            "../..": f"pipelines/../../{folder}/{name}",
            "project/..": f"{self.project.name}/../{folder}/{name}",
            "%2e%2e": f"%2e%2e/{folder}/{name}",
            "%252e%252e": f"%252e%252e%252f{folder}%252f{name}",
            "backslash": f"..\\{folder}\\{name}",
            "NUL": f"{self.folder}/{name}\0",
            "link": f"way_out/{name}",
            "project/link": f"{self.project.name}/way_out/{name}",
            "absolute link": str(self.project / "way_out" / name),
        }

    def content(self) -> dict[str, str]:
        """What is there now."""
        return {str(path.relative_to(self.folder)): path.read_text() for path in self.folder.rglob("*.*")}


@pytest.fixture
def outside(mage: Mage) -> Iterator[Outside]:
    """Made for a test, and looked at afterwards: nothing has changed there."""
    found = Outside(mage.checkout / "outside", mage.server.project)
    found.folder.mkdir()
    found.file.write_text(f"{MARKER}: 1\n")
    links = {found.project / "way_out": found.folder, found.project / "way_out.yaml": found.file}
    for link, target in links.items():
        link.symlink_to(target)
    before = found.content()
    try:
        yield found
        assert found.content() == before
    finally:
        for link in links:
            link.unlink(missing_ok=True)
        for path in found.folder.iterdir():
            path.unlink()
        found.folder.rmdir()


def test_no_resource_reads_a_file_outside(
    mage: Mage, surface: Surface, owner_line: requests.Session, outside: Outside
) -> None:
    read = []
    for resource in surface.resources:
        for trick, path in outside.ways().items():
            if trick not in LEADING and resource not in OF_FILES:
                continue
            answer = owner_line.get(f"{mage.server.url}/api/{resource}/{quote(path, safe='')}", timeout=60)
            if MARKER in answer.text:
                read.append((resource, trick))
    assert read == []


@pytest.mark.parametrize("resource", ["file_contents", "files", "browser_items"])
@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", "/proc/1/environ", "../.env", "/etc/pass\0wd"])
def test_no_file_of_the_machine_is_read(mage: Mage, owner_line: requests.Session, resource: str, path: str) -> None:
    for written in (quote(path, safe=""), quote(quote(path, safe=""))):
        answer = owner_line.get(f"{mage.server.url}/api/{resource}/{written}", timeout=30)
        assert '"content"' not in answer.text
        assert not {"root:", "PASSWORD", "JWT_SECRET"} & set(answer.text.replace("=", " ").split())


TOLD_OF_THE_SERVER = (
    "clusters",
    "configuration_options?option_type=dbt",
    "data_providers",
    "git_custom_branches",
    "oauth_access_tokens",
    "oauths",
    "pipelines/test_config/variables",
    "projects",
    "secrets",
    "statuses?_format=with_activity_details",
    "syncs",
    "users",
    "workspaces",
)
QUERIES = [
    "files?repo_path={}",
    "files?directory_path={}",
    "files?repo_path={}&directory_path=.",
    "files?flatten=true&repo_path={}",
    "browser_items?directory={}",
    "browser_items?paths={}",
    "pipelines?repo_path={}",
    "pipelines/test_config/blocks/x?file_path={}&block_type=custom",
    "blocks/x?file_path={}",
    "custom_templates?object_type=blocks&directory={}",
    "page_block_layouts/x?file_path={}",
]


@pytest.mark.parametrize("query", QUERIES)
def test_no_query_lists_or_reads_outside(
    mage: Mage, owner_line: requests.Session, outside: Outside, query: str
) -> None:
    (outside.folder / f"{MARKER}.py").write_text("x = 1\n")
    for path in (outside.ways("")[way] for way in ("absolute", "..", "%2e%2e", "link", "absolute link")):
        for written in (path, f"{path.rstrip('/')}/metadata.yaml"):
            asked = query.format(quote(written, safe=""))
            answer = owner_line.get(f"{mage.server.url}/api/{asked}", timeout=60)
            assert MARKER not in answer.text.replace(quote(written), ""), asked
    (outside.folder / f"{MARKER}.py").unlink()


WRITES = [
    ("PUT", "file_contents/{quoted}", {"file_content": {"content": "changed"}}),
    ("PUT", "files/{quoted}", {"file": {"dir_path": "", "name": "taken.yaml"}}),
    ("DELETE", "files/{quoted}", {}),
    ("POST", "files/{quoted}/downloads", {"download": {"ignore_folder_structure": True}}),
    ("GET", "files/{quoted}/file_versions", {}),
    ("POST", "files", {"file": {"dir_path": "{folder}", "name": "made.py", "content": "x"}}),
    ("POST", "files", {"file": {"dir_path": "", "name": "{new}", "content": "x"}}),
    ("PUT", "files/metadata.yaml", {"file": {"dir_path": "{folder}", "name": "moved.yaml"}}),
    ("POST", "folders", {"folder": {"path": "{folder}", "name": "made.d"}}),
    ("PUT", "folders/{quoted_folder}", {"folder": {"path": "", "name": "taken"}}),
    ("PUT", "folders/charts", {"folder": {"path": "{folder}", "name": "moved.d"}}),
    ("DELETE", "folders/{quoted_folder}", {}),
    ("POST", "browser_items", {"browser_item": {"path": "{new}", "content": "x"}}),
    ("PUT", "browser_items/{quoted}", {"browser_item": {"path": "{path}", "content": "changed"}}),
    ("DELETE", "browser_items/{quoted}", {}),
    ("POST", "custom_templates", {"custom_template": {"template_uuid": "{new}", "object_type": "blocks"}}),
    ("DELETE", "custom_templates/{quoted}?object_type=blocks", {}),
    ("POST", "pipelines", {"pipeline": {"name": "{new}"}}),
    ("PUT", "pipelines/{quoted_folder}", {"pipeline": {"name": "changed"}}),
    ("DELETE", "pipelines/{quoted_folder}", {}),
    ("POST", "pipelines/test_config/blocks", {"block": {"name": "{new}", "type": "custom", "language": "python"}}),
    ("DELETE", "blocks/custom%2F{quoted}", {}),
    ("DELETE", "blocks/x?file_path={quoted}", {}),
    ("PUT", "page_block_layouts/{quoted_folder}", {"page_block_layout": {"blocks": {}}}),
    ("POST", "interactions", {"interaction": {"uuid": "{new}"}}),
    ("PUT", "interactions/{quoted}", {"interaction": {"content": "changed"}}),
    ("PUT", "pipeline_interactions/{quoted_folder}", {"pipeline_interaction": {"content": "changed"}}),
    ("PUT", "git_files/{quoted}", {"git_file": {"content": "changed"}}),
    ("POST", "projects", {"project": {"uuid": "made", "repo_path": "{folder}", "type": "standalone"}}),
    ("POST", "version_control_projects", {"version_control_project": {"uuid": "{new}"}}),
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES, ids=[f"{method} {path}" for method, path, _ in WRITES])
def test_nothing_outside_is_written_moved_or_removed(
    mage: Mage, owner_line: requests.Session, outside: Outside, method: str, path: str, body: dict[str, dict[str, str]]
) -> None:
    for trick, way in outside.ways().items():
        folder, new = outside.ways("")[trick].rstrip("/\\"), outside.ways("made.py")[trick]
        values = {"quoted": quote(way, safe=""), "quoted_folder": quote(folder, safe=""), "path": way}
        values |= {"folder": folder, "new": new}
        filled = {
            kind: {name: each.format(**values) if isinstance(each, str) else each for name, each in fields.items()}
            for kind, fields in body.items()
        }
        answer = owner_line.request(method, f"{mage.server.url}/api/{path.format(**values)}", json=filled, timeout=60)
        assert MARKER not in answer.text
        assert "Traceback" not in answer.text
    put_back(mage)


def put_back(mage: Mage) -> None:
    """Make the project as it was: what was taken for a name of the project's own was written there."""
    for command in (["checkout", "-q", "."], ["clean", "-qfd", "-e", "way_out*", "magic-zoomcamp"]):
        subprocess.run(["git", *command], cwd=mage.checkout, check=True)


def test_a_file_of_the_project_is_written_and_read_as_before(mage: Mage, editor: MageApi) -> None:
    file = mage.server.project / "utils" / "note.md"
    editor.create("files", dir_path="utils", name="note.md")
    assert file.read_text() == ""
    editor.update("file_contents", quote("utils/note.md", safe=""), content="second")
    assert editor.get("file_contents", quote("utils/note.md", safe=""))["content"] == "second"
    editor.delete("files", quote("utils/note.md", safe=""))
    assert not file.exists()


def test_what_leads_outside_is_refused_by_its_status_and_said_in_the_log(
    mage: Mage, owner_line: requests.Session, outside: Outside
) -> None:
    url = f"{mage.server.url}/api/pipelines/{quote(f'../../{outside.folder.name}/x', safe='')}"
    assert owner_line.get(url, timeout=30).status_code == HTTPStatus.NOT_FOUND
    answer = owner_line.get(f"{mage.server.url}/api/git_files/{quote('outside/metadata.yaml', safe='')}", timeout=30)
    assert answer.status_code == HTTPStatus.FORBIDDEN
    assert answer.json()["error"]["message"] == "That file is not in the project"
    assert mage.server.log is not None
    assert "metadata.yaml' outside the project" in mage.server.log.read_text()


def test_no_secret_is_in_what_the_owner_is_told_of_the_server(mage: Mage, owner_line: requests.Session) -> None:
    secrets = (OWNER.password, OWNER.jwt_secret, mage.database.password)
    for path in TOLD_OF_THE_SERVER:
        answer = owner_line.get(f"{mage.server.url}/api/{path}", timeout=60)
        assert not [secret for secret in secrets if secret in answer.text], path


PRIVATE = ("interactions", "git_files", "file_contents", "files", "browser_items", "custom_templates", "blocks")


@pytest.mark.parametrize("resource", PRIVATE)
def test_neither_googles_key_nor_what_is_gits_is_read_by_a_resource(
    mage: Mage, owner_line: requests.Session, resource: str
) -> None:
    key = Path(mage.server.env["GOOGLE_APPLICATION_CREDENTIALS"])
    assert "private_key" in key.read_text()
    for path in (key, mage.checkout / ".git" / "config", mage.checkout / ".git" / "HEAD", "../.git/config"):
        answer = owner_line.get(f"{mage.server.url}/api/{resource}/{quote(str(path), safe='')}", timeout=30)
        assert "private_key" not in answer.text
        assert "repositoryformatversion" not in answer.text
        assert "refs/heads" not in answer.text
