"""What a backfill is in Mage: started, retried and looked at through Mage's API."""

from dataclasses import dataclass

from ops.commands.backfill.plan import Plan
from ops.mage.api import Json, MageApi, MageApiError

COMPLETED, FAILED, CANCELLED, RUNNING = "completed", "failed", "cancelled", "running"


@dataclass(frozen=True)
class Run:
    """The newest run for one execution date: a retry takes the place of the run that failed."""

    number: int
    day: str
    """YYYY-MM, or YYYY-MM-DD in a backfill by day."""
    execution_date: str
    status: str

    @property
    def failed(self) -> bool:
        """Whether it ended without its month. Mage cancels runs when memory is short, a person does in the UI."""
        return self.status in (FAILED, CANCELLED)

    @property
    def ended(self) -> bool:
        """Whether Mage does no more for it."""
        return self.failed or self.status == COMPLETED


@dataclass(frozen=True)
class Look:
    """A backfill at one moment."""

    backfill: Json
    runs: list[Run]

    def number(self, status: str) -> int:
        """How many runs have this status."""
        return sum(run.status == status for run in self.runs)

    @property
    def failed(self) -> list[Run]:
        """The runs that ended without their month."""
        return [run for run in self.runs if run.failed]

    @property
    def ended(self) -> bool:
        """Whether no run is left."""
        return all(run.ended for run in self.runs)

    @property
    def closed(self) -> bool:
        """Whether Mage has written down how it ended."""
        return self.backfill["status"] in ((FAILED, CANCELLED) if self.failed else (COMPLETED,))


def start(plan: Plan, api: MageApi) -> int:
    """Make the backfill in Mage and start it; its number."""
    number = int(api.create(f"pipelines/{plan.pipeline}/backfills", name=plan.name)["id"])
    api.update("backfills", number, **plan.values())
    api.update("backfills", number, status="initial")
    return number


def retry(number: int, api: MageApi) -> int:
    """
    Run again what failed or was cancelled; how many runs that are.

    Each gets a new run for the same execution date, as the UI's own retry makes it: it starts from the first block, for
    what the failed run had staged may be gone, and waits its turn, where a failed run that is set going again would not
    heed the number that may run at once. Mage closes the backfill by the newest run of every date.
    """
    now = look(number, api)
    schedule = now.backfill["pipeline_schedule_id"]
    if now.failed and api.get("pipeline_schedules", schedule)["status"] != "active":
        api.update("pipeline_schedules", schedule, status="active")  # a person has cancelled the backfill
    for run in now.failed:
        before = api.get("pipeline_runs", run.number)
        values = {"backfill_id": number, "execution_date": run.execution_date, "variables": before["variables"]}
        api.create(f"pipeline_schedules/{schedule}/pipeline_runs", **values)
        if before["started_at"] is None:
            # Cancelled before its turn: to Mage it would stay the newest of its date, and the backfill open.
            api.delete("pipeline_runs", run.number)
    return len(now.failed)


def look(number: int, api: MageApi) -> Look:
    """The backfill and its runs, the first date first; MageApiError when there is none of this number."""
    if number not in [found["id"] for found in api.list("backfills")]:
        raise MageApiError(f"Mage has no backfill {number}")
    backfill = api.get("backfills", number)
    newest: dict[str, Run] = {}
    length = len("YYYY-MM-DD") if backfill["interval_type"] == "day" else len("YYYY-MM")
    runs = api.list("pipeline_runs", backfill_id=number, _format="with_basic_details")
    for run in sorted(runs, key=lambda run: int(run["id"])):
        when = run["execution_date"]
        newest[when] = Run(int(run["id"]), when[:length], when, run["status"])
    return Look(backfill, [newest[when] for when in sorted(newest)])


def error_of(run: Run, api: MageApi) -> str:
    """Why a run failed, in one line, as the callback record_failure has told Mage."""
    if run.status == CANCELLED:
        return "cancelled, by a person or because memory was short"
    for block in api.get("pipeline_runs", run.number)["block_runs"]:
        if error := (block["metrics"] or {}).get("error"):
            return str(error["message"])
    return "Mage keeps no error of it: see the log of the run"


def newest_backfill(api: MageApi, pipeline: str = "") -> int:
    """The number of the backfill that was made last, of one pipeline or of any; MageApiError when there is none."""
    numbers = [int(found["id"]) for found in api.list("backfills") if pipeline in ("", found["pipeline_uuid"])]
    if not numbers:
        raise MageApiError(f"Mage has no backfill{f' of {pipeline}' if pipeline else ''} yet")
    return max(numbers)
