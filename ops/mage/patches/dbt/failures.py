"""
A dbt block that failed names the models and tests that did, and what the database said.

Fault: it ends with `Exception: None`. What failed is in the block's log only, and no alert quotes that.

Patch: an answer of dbt that has no exception of its own gets one that names each node that failed; all are one line, of
which alerts show the first.
"""

import inspect
import re
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
        if not answer.success:
            said = str(answer.exception) if answer.exception else what_failed(answer.result)
            answer.exception = RuntimeError(_in_one_line(said))
        return answer

    dbt_cli.DBTCli.invoke = invoke_and_say


def what_failed(results: Any) -> str:
    """The nodes that failed, each with its message, in one line."""
    bad = [each for each in results or () if str(each.status) in BAD]
    said = (f"{each.node.name}: {_in_one_line(each.message or 'no message')}{_rows(each)}" for each in bad)
    return "; ".join(said) or "dbt says no more: see the block's log"


def _in_one_line(message: str) -> str:
    """The message without the places in SQL and macros, which the block's log has."""
    return " ".join(re.split(r"compiled code at|\n\s*> in macro", message)[0].split())


def _rows(result: Any) -> str:
    """Of a test, how to see the rows that it found."""
    return f" (the rows: taxi dbt show --select {result.node.name})" if str(result.status) == "fail" else ""
