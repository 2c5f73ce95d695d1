"""What the tests without a browser, of which this is the last, left of the project: git sees no change."""

from ops.wait import wait_until
from tests.server.conftest import Mage


def test_what_ran_is_unchanged_for_git(mage: Mage) -> None:
    assert wait_until(lambda: mage.changed_files() == "", 20, 0.2), mage.changed_files()
