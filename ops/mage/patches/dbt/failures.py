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


class DbtFailed(Exception):
    """Models or tests of a dbt run failed."""


def is_needed(dbt_cli: ModuleType) -> bool:
    """Whether Mage hands on dbt's answer as it is, which has no exception where a node failed."""
    return "exception" not in inspect.getsource(dbt_cli.DBTCli.invoke)


def apply(dbt_cli: ModuleType) -> None:
    """Change what every dbt block, and the preview in the editor, gets from dbt."""
    invoke = dbt_cli.DBTCli.invoke

    def invoke_and_say(self: Any, *args: Any, **given: Any) -> Any:
        answer = invoke(self, *args, **given)
        if not answer.success and answer.exception is None:
            answer.exception = DbtFailed(what_failed(answer.result))
        return answer

    dbt_cli.DBTCli.invoke = invoke_and_say


def what_failed(results: Any) -> str:
    """The nodes that failed, each with its message, in one line."""
    bad = [each for each in results or () if str(each.status) in BAD]
    said = (f"{each.node.name}: {' '.join((each.message or 'no message').split())}" for each in bad)
    return "; ".join(said) or "dbt says no more: see the block's log"
