"""
A git sync that fails twice in a row is a message to those who hear of failed runs.

Fault: Mage notes a sync that failed as a warning in the log of the run that it was for, and goes on with the old code.
A token that has expired, or a broken push, is found out weeks later.

Patch: the second failure in a row sends one message, with what to do; the next one only after a sync that went well.
"""

import inspect
from types import ModuleType
from typing import Any

UPSTREAM = "none filed"
MODULE = "mage_ai.orchestration.utils.git"
SAID_AT = 2


def is_needed(git: ModuleType) -> bool:
    """Whether a failed sync sends nothing."""
    return "otification" not in inspect.getsource(git)


def apply(git: ModuleType) -> None:
    """Count the failures of a process, which is that of the scheduler."""
    sync = git.run_git_sync
    failed = 0

    def sync_and_tell(*args: Any, **given: Any) -> Any:
        nonlocal failed
        result = sync(*args, **given)
        if result.get("status") == "success":
            failed = 0
        elif result.get("status") == "failed":
            failed += 1
            if failed == SAID_AT:
                tell(result)
        return result

    git.run_git_sync = sync_and_tell  # type: ignore[attr-defined]


def tell(result: dict[str, str]) -> None:
    """One message about a sync that failed, in the words of the start of a container."""
    from mage_ai.data_preparation.repo_manager import get_repo_config
    from mage_ai.orchestration.notification.config import NotificationConfig
    from mage_ai.orchestration.notification.sender import NotificationSender
    from nyc_taxi.errors import shortened
    from nyc_taxi.settings import without_secrets

    from ops.container.git_remote import what_to_do

    error = result.get("error", "")
    said = shortened(without_secrets(f"{what_to_do(error)}{error}"), 600)
    where = f"{result.get('remote_repo_link')}, branch {result.get('branch')}"
    sender = NotificationSender(NotificationConfig.load(config=get_repo_config().notification_config))
    sender.send(title="The project cannot be brought up to date from git", summary=f"{where}: {said}", details=None)
