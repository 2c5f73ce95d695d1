"""
A dbt block that failed names the models and tests that did, and what the database said.

Fault: it ends with `Exception: None`. What failed is in the block's log only, and no alert quotes that.

Patch: an answer of dbt that has no exception of its own gets one with a line for each node that failed.
"""

import inspect
from types import ModuleType
from typing import Any

UPSTREAM = "none filed"
MODULE = "mage_ai.data_preparation.models.block.dbt.dbt_cli"
BAD = {"error", "fail", "runtime error"}
"""dbt's statuses of a node that failed."""


def is_needed(dbt_cli: ModuleType) -> bool:
    """Whether Mage hands on dbt's answer as it is, which has no exception where a node failed."""
    return "exception" not in inspect.getsource(dbt_cli.DBTCli.invoke)


def apply(dbt_cli: ModuleType) -> None:
    """Change what every dbt block, and the preview in the editor, gets from dbt."""
    invoke = dbt_cli.DBTCli.invoke

    def invoke_and_say(self: Any, *args: Any, **given: Any) -> Any:
        answer = invoke(self, *args, **given)
        if not answer.success and answer.exception is None:
            answer.exception = RuntimeError(what_failed(answer.result))
        return answer

    dbt_cli.DBTCli.invoke = invoke_and_say


def what_failed(results: Any) -> str:
    """The nodes that failed, each with its message, in one line."""
    bad = [each for each in results or () if str(each.status) in BAD]
    said = (f"{each.node.name}: {_in_one_line(each.message or 'no message')}" for each in bad)
    return "; ".join(said) or "dbt says no more: see the block's log"


def _in_one_line(message: str) -> str:
    """The message without the place of the SQL, which the block's log has."""
    return " ".join(message.partition("compiled code at")[0].split())
