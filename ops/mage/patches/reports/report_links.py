"""
A run's page leads to the reports that the run has written.

Fault: of a block's table Mage shows the cells as text. The address of a report in it cannot be clicked, and is cut off.

Patch: the output of write_trip_report begins with a link for each of its rows; report_pages serves what it leads to.
"""

import inspect
import re
from types import ModuleType
from typing import Any

UPSTREAM = "none filed"
MODULE = "mage_ai.orchestration.db.models.schedules"
BLOCK = "write_trip_report"
NAMED = re.compile(r"[a-z]+ \d{4}-\d\d")
LINK = (
    '<p><a href="/reports/{0}/{1}/trip_report.html" target="_blank" style="color: #4877ff">'
    "The report of {0} {1}</a></p>"
)


def is_needed(schedules: ModuleType) -> bool:
    """Whether Mage makes no links."""
    return "href" not in inspect.getsource(schedules.BlockRun.get_outputs)


def apply(schedules: Any) -> None:
    """Add the links to what a block's run shows."""
    get_outputs = schedules.BlockRun.get_outputs

    def get_outputs_and_links(block_run: Any, *args: Any, **given: Any) -> Any:
        outputs = get_outputs(block_run, *args, **given)
        if block_run.block_uuid != BLOCK:
            return outputs
        return [*_links(outputs), *outputs]

    schedules.BlockRun.get_outputs = get_outputs_and_links


def _links(outputs: list[dict[str, Any]]) -> list[dict[str, str]]:
    tables = [output["sample_data"] for output in outputs if output.get("sample_data")]
    rows = [dict(zip(table["columns"], row, strict=True)) for table in tables for row in table["rows"]]
    reports = [(row["service"], row["month"]) for row in rows if NAMED.fullmatch(f"{row['service']} {row['month']}")]
    text = "".join(LINK.format(*report) for report in reports)
    return [{"text_data": text, "type": "text/html", "variable_uuid": "reports"}] if text else []
