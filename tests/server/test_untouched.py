"""What the tests without a browser, of which this is the last, left of the project: git sees no change."""

from tests.server.conftest import Mage, wait


def test_what_ran_is_unchanged_for_git(mage: Mage) -> None:
    wait(lambda: True if mage.changed_files() == "" else None, 20, "a clean git status")
