"""What the documentation points at is there."""

import re
from pathlib import Path

import pytest
import yaml

from ops.paths import PROJECT, ROOT
from tests.taxi_lines import check, check_meant, lines

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("terraform/*.md"), *ROOT.glob("bench/*.md")])
CODE = sorted([*(ROOT / "ops").rglob("*.py"), *(PROJECT / "utils").rglob("*.py")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMED = re.compile(r"\[`?([\w.-]+\.py)`?\]\(([^)\s#]+)\)")
"""A link whose text is the name of a module."""


def anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub makes addresses of them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere_and_commands_exist(page: Path) -> None:
    text = page.read_text()
    for link in (link for link in LINK.findall(text) if "://" not in link):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
    for shown, link in NAMED.findall(text):
        assert Path(link).name == shown
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    for line in lines(text):
        check(line, unknown_values=page.name.startswith("add-"))


@pytest.mark.parametrize("file", [*CODE, ROOT / "dev.env"], ids=lambda file: str(file.relative_to(ROOT)))
def test_messages_name_commands_and_options_that_exist(file: Path) -> None:
    text = file.read_text()
    check_meant(text)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
    assert not re.search(r"make (?:run|ui|backfill|triggers|sql|plan|doctor|up|down|status)\b", text)


def test_every_page_is_reached_from_the_readme() -> None:
    reached, new = set[Path](), {ROOT / "README.md"}
    while new:
        page = new.pop()
        reached.add(page)
        linked = {(page.parent / link.partition("#")[0]).resolve() for link in LINK.findall(page.read_text())}
        new |= {found for found in linked if found.suffix == ".md" and found.exists()} - reached
    assert {path for path in PAGES if path.parent.name == "docs"} <= reached


def test_the_map_of_the_readme_names_what_is_there() -> None:
    [drawn] = re.findall(r"^## The map\n\n```\n(.*?)```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    above: list[Path] = [ROOT]
    for line in drawn.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        paths = [word for word in line.strip().split("  ")[0].split() if word]
        for path in paths:
            assert (above[depth] / path).exists(), line
        above[depth + 1 :] = [above[depth] / paths[0]]


def test_the_table_of_triggers_has_all_of_them() -> None:
    told = (ROOT / "docs" / "triggers-and-backfills.md").read_text()
    for file in PROJECT.glob("pipelines/*/triggers.yaml"):
        for trigger in yaml.safe_load(file.read_text())["triggers"]:
            assert f"| `{file.parent.name}` | `{trigger['name']}` |" in told


def test_a_test_that_a_page_names_is_there() -> None:
    named = {name for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text())}
    files = list((ROOT / "tests").rglob("test_*.py"))
    there = {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)}
    assert "test_each_trip_is_stored_once_whatever_dies" in named
    assert named <= there | {"test_config"}  # which is a pipeline
