"""Which runs a backfill shall have: checked against the pipeline and the library before anything is made."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from nyc_taxi.errors import UnknownName
from nyc_taxi.months import Month, month_range
from nyc_taxi.run import is_forced, run_context, service_and_month

from ops.mage.api import Json, MageApi

DAY = "day"
"""The variable of a pipeline whose runs take a day each; those of any other take a month."""
CHOICES = ("service", "origin", "rules", "prefix", "force")
"""Variables of a pipeline that a backfill may set for all of its runs."""
FROM_THE_RUN = {DAY: "", "month": "", "month_offset": 0}
"""What makes a run take its day and month from its execution_date, whatever else the pipeline says."""
DEFAULT_PARALLEL = "2"


class BackfillRefused(ValueError):
    """A backfill that cannot be; nothing was made. The message says what to give."""


@dataclass(frozen=True)
class Plan:
    """A backfill as Mage shall have it: one run per month, or per day, both ends included."""

    pipeline: str
    variables: Json
    first: date
    last: date
    daily: bool
    parallel: int
    """How many of its runs Mage may have running at once."""

    @property
    def name(self) -> str:
        """What it is called in Mage: service, first and last."""
        first, last = (day if self.daily else Month.of(day) for day in (self.first, self.last))
        return f"{self.variables['service']} {first} to {last}"

    def values(self) -> Json:
        """The fields of Mage's backfill. The first of a month at 00:00 UTC: a start on the 31st would drift."""
        return {
            "start_datetime": f"{self.first} 00:00:00",
            "end_datetime": f"{self.last} 00:00:00",
            "interval_type": "day" if self.daily else "month",
            "interval_units": 1,
            "variables": self.variables,
            "settings": {"pipeline_run_limit": self.parallel},
        }


def plan_backfill(given: Mapping[str, str], api: MageApi) -> Plan:
    """
    Make the plan of pipeline, from, to, parallel and the variables of the pipeline; what is empty is not given.

    Raises BackfillRefused for a pipeline that is not there or has no month of its run, for a span that is none, and for
    a service, month, origin or rule that does not exist.
    """
    pipeline = _pipeline(given, api)
    declared = pipeline["variables"] or {}
    first, last, daily = _span(given, DAY in declared)
    for name in CHOICES:
        if name in given and name not in declared:
            raise BackfillRefused(f"{pipeline['uuid']} has no variable {name}: leave {name.upper()} out")
    chosen: Json = {"service": declared["service"]} | {name: given[name] for name in CHOICES if name in given}
    from_the_run = {name: value for name, value in FROM_THE_RUN.items() if name in declared}
    plan = Plan(pipeline["uuid"], chosen | from_the_run, first, last, daily, _parallel(given))
    try:
        if "force" in chosen:
            plan.variables["force"] = is_forced(chosen)
        for day in _days(plan):
            _check(declared | plan.variables | {"execution_date": day.isoformat()})
    except UnknownName as error:
        raise BackfillRefused(str(error)) from None
    return plan


def _pipeline(given: Mapping[str, str], api: MageApi) -> Json:
    wanted = given.get("pipeline", "")
    known = sorted(pipeline["uuid"] for pipeline in api.list("pipelines"))
    if wanted not in known:
        raise BackfillRefused(f"PIPELINE={wanted} is not one of {', '.join(known)}")
    pipeline = api.get("pipelines", wanted)
    if not {"service", "month"} <= set(pipeline["variables"] or {}):
        raise BackfillRefused(
            f"{wanted} does not take service and month from its run, so that every run would do the same: it needs the "
            f"variables service and month"
        )
    return pipeline


def _span(given: Mapping[str, str], daily: bool) -> tuple[date, date, bool]:
    """First and last execution date, and whether there is one for every day."""
    texts = (given.get("from", ""), given.get("to", given.get("from", "")))
    form, example = ("YYYY-MM-DD", "2021-01-05") if daily else ("YYYY-MM", "2021-01")
    try:
        first, last = (date.fromisoformat(text) if daily else Month.parse(text).first_day for text in texts)
        if any(len(text) != len(form) for text in texts):
            raise ValueError
    except ValueError:
        runs = "day" if daily else "month"
        raise BackfillRefused(
            f"FROM={texts[0]} TO={texts[1]}: {given['pipeline']} has one run per {runs}: give both as {form}, such as "
            f"{example}"
        ) from None
    if first > last:
        raise BackfillRefused(f"FROM={texts[0]} is after TO={texts[1]}")
    return first, last, daily


def _parallel(given: Mapping[str, str]) -> int:
    text = given.get("parallel", DEFAULT_PARALLEL)
    if not text.isdecimal() or int(text) < 1:
        raise BackfillRefused(f"PARALLEL={text} is not a number of runs at once, 1 or more")
    return int(text)


def _days(plan: Plan) -> Iterator[date]:
    if plan.daily:
        yield from (plan.first + timedelta(days=n) for n in range((plan.last - plan.first).days + 1))
    else:
        yield from (month.first_day for month in month_range(Month.of(plan.first), Month.of(plan.last)))


def _check(variables: Json) -> None:
    """UnknownName if a run with these variables would refuse them. A pipeline without an origin reads the bucket."""
    run = variables | {"pipeline_run_id": "planned"}
    if "origin" in variables:
        run_context(run)
    else:
        service_and_month(run)
