"""
What the roles of Mage's accounts may ask its server for; a patch of it, requests_without_session, asks here.

What a Viewer may send is a list, LOOKS, and all else is refused, websockets too; who has no role may only sign in and
out. Of a pipeline a Viewer gets the blocks without their code and outputs. Accounts and roles, and the sessions of
others, are the owners'.
"""

import re
from collections.abc import Mapping
from typing import Any

from inflection import pluralize, singularize

from ops.mage.access.sessions import Role, role_of, user_of
from ops.mage.front_door import Refusal

API = frozenset(
    {
        "ApiChildDetailHandler",
        "ApiChildListHandler",
        "ApiListHandler",
        "ApiResourceDetailHandler",
        "ApiResourceListHandler",
    }
)
"""Mage's handlers of resources, which have all that is said of them in LOOKS."""
LOOKS = frozenset(
    {
        "backfills",
        "block_runs",
        "block_runs/logs",
        "client_pages",
        "monitor_stats",
        "pipeline_interactions",
        "pipeline_runs",
        "pipeline_schedules",
        "pipeline_schedules/pipeline_runs",
        "pipelines",
        "pipelines/backfills",
        "pipelines/logs",
        "pipelines/pipeline_schedules",
        "pipelines/pipeline_triggers",
        "pipelines/variables",
        "projects",
        "statuses",
        "tags",
        "ReportPageHandler",
    }
)
"""What a Viewer may GET, a resource or what belongs to one: the pages of runs, logs, triggers, pipelines, charts."""
HIDDEN = {
    "pipelines": {"includes_content": b"false", "includes_outputs": b"false"},
    "pipelines/variables": {"global_only": b"true"},
}
"""What a Viewer's request for such a resource says, whatever it said: neither code nor what blocks have put out."""
PUBLIC = frozenset({"projects", "statuses"})
"""What somebody without any role may GET: the web UI asks for it before it can say that something is missing."""
ALWAYS = frozenset({"GET sessions", "POST sessions", "PUT sessions", "GET PipelineRunsPageHandler"})
"""Signing in and out, and a page without data."""
ACCOUNTS = frozenset(
    {"oauth_access_tokens", "permissions", "role_permissions", "roles", "seeds", "user_roles", "users", "workspaces"}
)
"""What is an owner's business."""
NAMES = frozenset({"GET permissions", "GET roles"})
"""But for these, which the page of one's own account asks for."""
EDITING_IS_OFF = "Editing is off here"
WITHOUT_EDITING = ACCOUNTS | {
    "backfills",
    "cache_items",
    "command_center_items",
    "pipeline_runs",
    "pipeline_schedules",
    "pipeline_schedules/pipeline_runs",
    "pipelines",
    "pipelines/backfills",
    "pipelines/pipeline_schedules",
    "sessions",
    "syncs",
}
"""What may be changed where editing is off: runs, triggers, accounts; of a pipeline, see the patch edits_by_owners."""
NO_ROLE = "This account has no role: an owner gives it one with taxi users role"


def refusal(request: Any, handler: type, found: Mapping[str, str]) -> Refusal | None:
    """Why the role of who has signed in does not allow the request, or None."""
    role, wanted = role_of(request), resource_of(handler, found)
    if wanted == "pipelines" and ".." in found.get("pk", ""):
        return Refusal(404, "There is no such pipeline")
    if handler.__name__ in API and request.method != "GET" and wanted not in WITHOUT_EDITING and editing_is_off():
        return Refusal(403, EDITING_IS_OFF)
    if role is Role.OWNER or may(role, request.method, wanted) or is_own_account(request, wanted, found):
        if role is Role.VIEWER and "pk" in found:
            _hide(request, HIDDEN.get(wanted, {}))
        return None
    return Refusal(403, f"The role {role.capitalize()} may not do that" if role is not Role.NONE else NO_ROLE)


def editing_is_off() -> bool:
    """Whether nobody may edit: in production, and wherever DISABLE_NOTEBOOK_EDIT_ACCESS says so."""
    from mage_ai.settings import is_disable_pipeline_edit_access

    return bool(is_disable_pipeline_edit_access())


def resource_of(handler: type, found: Mapping[str, str]) -> str:
    """What a request is about, such as pipelines/logs; a handler that is not of resources, by its name."""
    if handler.__name__ not in API:
        return handler.__name__
    # Mage takes any spelling of a resource, such as User for users.
    return "/".join(pluralize(singularize(found[part].lower())) for part in ("resource", "child") if part in found)


def may(role: Role, method: str, wanted: str) -> bool:
    """Whether a role other than Owner may send such a request, where it is not about the own account."""
    request = f"{method} {wanted}"
    if request in ALWAYS:
        return True
    if request in NAMES and role is not Role.NONE:
        return True
    if role is Role.EDITOR:
        return not ACCOUNTS & set(wanted.split("/"))
    return method == "GET" and wanted in (LOOKS if role is Role.VIEWER else PUBLIC)


def is_own_account(request: Any, wanted: str, found: Mapping[str, str]) -> bool:
    """Whether the request looks at the sender's own account, or changes its password: Mage guards its roles."""
    return wanted == "users" and request.method in ("GET", "PUT") and found.get("pk") == str(user_of(request).id)


def _hide(request: Any, asked: Mapping[str, bytes]) -> None:
    """Have Mage leave out what is in files and in outputs."""
    for arguments in (request.arguments, request.query_arguments):
        for name in [name for name in arguments if re.fullmatch(r"includes?_(content|outputs)\w*", name)]:
            del arguments[name]
        arguments.update({name: [value] for name, value in asked.items()})
