"""Many months in one run: which ones it is about, one of them from its origin to Postgres, and what they came to."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

import pandas as pd

from nyc_taxi.catalog.services import SERVICES
from nyc_taxi.errors import CountsDisagree, UnknownName, not_one_of
from nyc_taxi.extract.staging import stage_trip_file, staging_folder
from nyc_taxi.load.postgres.month import check_month, replace_month
from nyc_taxi.months import month_range
from nyc_taxi.run import RunContext, month_in, names_of, run_context, service_and_month
from nyc_taxi.settings import Settings
from nyc_taxi.space import in_use
from nyc_taxi.transform.rules import apply_rules

Chosen: TypeAlias = dict[str, str]
"""The service and month of one child; everything else is the same for all of them."""

EXECUTORS = ("local_python", "gcp_cloud_run", "k8s")
ROWS = ["rows_read", "rows_accepted", "rows_rejected"]
TOTAL = "total"


@dataclass(frozen=True)
class LoadedMonth:
    """One month as it is in Postgres now."""

    service: str
    month: str
    rows_read: int
    rows_accepted: int
    rows_rejected: int
    seconds: float
    """From the question whether the trip file has changed to the last check."""

    def to_frame(self) -> pd.DataFrame:
        """The numbers as one row."""
        return pd.DataFrame([asdict(self)])


def choose_months(variables: Mapping[str, object], settings: Settings | None = None) -> list[RunContext]:
    """
    Every service with every month that the run's variables name, services in their order, then months.

    Reads `services` (names with commas, or a list), `from` and `to` (YYYY-MM, both included; without `to` it is one
    month, and without `from` the run's own, see `run_context`), and for all of them `origin` and `rules`. Raises
    UnknownName for the first that cannot be: nothing is fetched when one of them has no such month, or when they shall
    be loaded where they cannot.
    """
    settings = settings or Settings.from_environment()
    _refuse_executor(settings)
    services = list(dict.fromkeys(names_of(variables.get("services"))))
    if not services:
        raise UnknownName(f"no services: name some of {', '.join(SERVICES)}, with commas")
    first = month_in(variables, "from") or service_and_month({**variables, "service": services[0]})[1]
    last = month_in(variables, "to") or first
    if last < first:
        raise UnknownName(f"from {first} is after to {last}: both are included, the earlier one comes first")
    return [
        run_context({**variables, "service": service, "month": str(month)}, settings)
        for service in services
        for month in month_range(first, last)
    ]


def load_month(run: RunContext) -> LoadedMonth:
    """
    Fetch, stage and judge the run's trip file, replace its month in Postgres, and check what is there.

    Needs nothing but the run and a staging folder of this machine. Raises what its steps raise.
    """
    started = time.monotonic()
    folder = staging_folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    with in_use(folder, str(run.month), then_done=True):
        [file] = apply_rules(stage_trip_file(run), run.rules).files
        replace_month(file, run.settings.postgres)
        check_month(file, run.settings.postgres)
    return LoadedMonth(
        service=file.service_name,
        month=file.month_text,
        rows_read=file.rows_read,
        rows_accepted=file.rows_accepted,
        rows_rejected=file.rows_rejected,
        seconds=round(time.monotonic() - started, 1),
    )


def summarise(loaded: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The loaded months as one table, and a last row with their sums; seconds are of work, side by side or not."""
    months = pd.concat(list(loaded), ignore_index=True)
    sums = {name: months[name].sum() for name in [*ROWS, "seconds"]}
    total = {"service": TOTAL, "month": f"{len(months)} months", **sums}
    table = pd.concat([months, pd.DataFrame([total])], ignore_index=True)
    print(table.to_string(index=False), flush=True)
    return table


def check_summary(table: pd.DataFrame, chosen: Sequence[RunContext]) -> None:
    """Raise CountsDisagree unless every chosen month is there once, and every row read is accepted or rejected."""
    months = table[table["service"] != TOTAL]
    there = sorted(zip(months["service"], months["month"], strict=True))
    wanted = sorted((run.service.name, str(run.month)) for run in chosen)
    if there != wanted:
        missing = ", ".join(" ".join(each) for each in wanted if each not in there) or "none"
        raise CountsDisagree(
            f"{len(wanted)} months were chosen and {len(there)} loaded; missing: {missing}. Their blocks say why: "
            "retry the run's incomplete blocks when that is mended"
        )
    unequal = table[table["rows_read"] != table["rows_accepted"] + table["rows_rejected"]]
    if len(unequal) or not months["rows_read"].gt(0).all():
        raise CountsDisagree(f"rows are missing: read is not accepted and rejected in\n{table.to_string(index=False)}")


def _refuse_executor(settings: Settings) -> None:
    """What Mage would not say: an unknown executor runs here, and a job that finds no outputs makes up one child."""
    if settings.executor not in EXECUTORS:
        raise UnknownName(not_one_of("LOAD_MONTH_EXECUTOR", settings.executor, EXECUTORS))
    if settings.executor == "gcp_cloud_run" and not settings.shared_outputs.startswith("gs://"):
        raise UnknownName(
            f"REMOTE_VARIABLES_DIR {settings.shared_outputs!r} is no bucket's folder such as gs://my-bucket/mage: "
            f"without one, the jobs of LOAD_MONTH_EXECUTOR={settings.executor} cannot read which month is theirs"
        )
