"""What the tests of this server, of which this file is the last, left of the project: git sees no change."""


from local.browser import MageUi
from tests.server.conftest import Mage, wait


def test_what_was_opened_run_and_saved_is_unchanged_for_git(mage: Mage, ui: MageUi) -> None:
    ui.open_editor("api_to_postgres")
    ui.run_block("trip_file_published")
    ui.save()
    wait(lambda: True if mage.changed_files() == "" else None, 20, "a clean git status")
