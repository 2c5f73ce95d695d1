"""Which runs a backfill shall have: checked against the pipeline and the library before anything is made."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from nyc_taxi.errors import UnknownName
from nyc_taxi.months import Month, month_range
from nyc_taxi.run import is_forced

from ops.commands.pipelines import (
    Pipelines,
    Variables,
    refuse_undeclared,
    refuse_unknown_pipeline,
    refuse_unknown_values,
)

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
    variables: Variables
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

    def values(self) -> Variables:
        """The fields of Mage's backfill. The first of a month at 00:00 UTC: a start on the 31st would drift."""
        return {
            "start_datetime": f"{self.first} 00:00:00",
            "end_datetime": f"{self.last} 00:00:00",
            "interval_type": "day" if self.daily else "month",
            "interval_units": 1,
            "variables": self.variables,
            "settings": {"pipeline_run_limit": self.parallel},
        }


def plan_backfill(given: Mapping[str, str], pipelines: Pipelines) -> Plan:
    """
    Make the plan of pipeline, from, to, parallel and the variables of the pipeline; what is empty is not given.

    Raises BackfillRefused for a pipeline that is not there or has no month of its run, for a span that is none, and for
    a service, month, origin or rule that does not exist.
    """
    pipeline = given.get("pipeline", "")
    try:
        refuse_unknown_pipeline(pipeline, pipelines)
        declared = pipelines.variables(pipeline)
        if not {"service", "month"} <= declared.keys():
            raise BackfillRefused(
                f"{pipeline} does not take service and month from its run, so that every run would do the same: it "
                f"needs the variables service and month"
            )
        first, last, daily = _span(given, DAY in declared)
        chosen: Variables = {name: given[name] for name in CHOICES if name in given}
        refuse_undeclared(pipeline, chosen, declared)
        if "force" in chosen:
            chosen["force"] = is_forced(chosen)
        from_the_run = {name: value for name, value in FROM_THE_RUN.items() if name in declared}
        variables = {"service": declared["service"]} | chosen | from_the_run
        plan = Plan(pipeline, variables, first, last, daily, _parallel(given))
        for day in _days(plan):
            run = {"execution_date": day.isoformat(), "pipeline_run_id": "planned"}
            refuse_unknown_values(declared | plan.variables | run)
    except UnknownName as error:
        raise BackfillRefused(str(error)) from None
    return plan


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
            f"--from {texts[0] or 'nothing'} --to {texts[1] or 'nothing'}: {given['pipeline']} has one run per {runs}: "
            f"give both as {form}, such as {example}"
        ) from None
    if first > last:
        raise BackfillRefused(f"--from {texts[0]} is after --to {texts[1]}")
    return first, last, daily


def _parallel(given: Mapping[str, str]) -> int:
    text = given.get("parallel", DEFAULT_PARALLEL)
    if not text.isdecimal() or int(text) < 1:
        raise BackfillRefused(f"--parallel {text} is not a number of runs at once, 1 or more")
    return int(text)


def _days(plan: Plan) -> Iterator[date]:
    if plan.daily:
        yield from (plan.first + timedelta(days=n) for n in range((plan.last - plan.first).days + 1))
    else:
        yield from (month.first_day for month in month_range(Month.of(plan.first), Month.of(plan.last)))
