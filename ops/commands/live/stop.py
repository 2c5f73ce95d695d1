"""The end of a stream's run in Mage: its trigger first, or that would make the next run ten seconds later."""

from ops.errors import CommandFailed
from ops.mage.api import Json, MageApi
from ops.mage.connect import address, connect_to_mage, must_be_started
from ops.stack.environment import configured
from ops.wait import wait_until

PIPELINE = "live_trips"
GOING_ON = ("initial", "running")
END_SECONDS = 30


def stop_live() -> None:
    """Turn the triggers of live_trips off, then cancel its runs, and say so; CommandFailed if one goes on."""
    values = configured()
    if must_be_started(values):
        print(f"No Mage runs at {address(values)}: nothing streams there. A `taxi run live_trips` ends by Ctrl-C")
        return
    with connect_to_mage(values) as mage:
        on = [each for each in mage.api.list(f"pipelines/{PIPELINE}/pipeline_schedules") if each["status"] == "active"]
        for trigger in on:
            mage.api.update("pipeline_schedules", trigger["id"], id=trigger["id"], status="inactive")
            print(f"The trigger {trigger['name']} of {PIPELINE} is off")
        for run in (cancelled := going_on(mage.api)):
            mage.api.update("pipeline_runs", run["id"], status="cancelled")
            print(f"Run {run['id']} of {PIPELINE} is cancelled; what it had stored is stored")
        if wait_until(lambda: not going_on(mage.api), END_SECONDS, 0.5) is False:
            raise CommandFailed(f"{PIPELINE} goes on: look at its runs in {mage.public_url}, and at its triggers")
        if not (on or cancelled):
            print(f"{PIPELINE} has no run and no trigger that is on: nothing streams")


def going_on(api: MageApi) -> list[Json]:
    """The runs that have not ended."""
    for run in (runs := api.list("pipeline_runs", pipeline_uuid=PIPELINE))[:1]:
        api.get("pipeline_runs", run["id"])  # makes Mage read its database anew: see MageApi.list
        runs = api.list("pipeline_runs", pipeline_uuid=PIPELINE)
    return [run for run in runs if run["status"] in GOING_ON]
