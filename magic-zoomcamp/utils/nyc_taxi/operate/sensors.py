"""
Waiting until a month can be loaded: until its origin has it, or until it is in the lake.

A look is one HEAD request, and in the lake the end of one object: no trip is downloaded. A run by hand looks once, for
a person sits there; a scheduled run sets wait_hours. What knows the lake is imported only where it is needed: Google's
client takes a second to start.
"""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import DownloadFailed, NotPublished, TargetUnavailable
from nyc_taxi.extract.published import find_published
from nyc_taxi.months import Month
from nyc_taxi.run import RunContext, longest_wait, run_context, service_and_month
from nyc_taxi.settings import GoogleSettings, Settings

EVERY = timedelta(minutes=10)
UNANSWERED_LOOKS = 6
"""Looks in a row without any answer, after which nobody waits any longer: something is broken, not late."""


def wait_until_published(
    variables: Mapping[str, object], settings: Settings | None = None, every: timedelta = EVERY
) -> None:
    """
    Return when the origin has the trip file of the run's service and month.

    Reads what run_context reads, and wait_hours. Raises UnknownName for a month that the origin can never have,
    NotPublished when it has not come in that time, DownloadFailed when the origin does not answer.
    """
    run = run_context(variables, settings)
    wait(lambda: _look_at_origin(run), longest_wait(variables), every)


def wait_until_in_lake(
    variables: Mapping[str, object], settings: Settings | None = None, every: timedelta = EVERY
) -> None:
    """
    Return when the bucket has the object of the run's service and month.

    With wait_hours it must also be of the version that the origin publishes now, so that a scheduled run follows
    the run of api_to_gcs for the same month; without, whatever is there is meant. Raises UnknownName, NotPublished when
    it has not come in that time, NotATripFile as find_month does, TargetUnavailable and DownloadFailed when bucket or
    origin do not answer.
    """
    longest = longest_wait(variables)
    if longest:
        run = run_context(variables, settings)
        wait(lambda: _look_for_version(run), longest, every)
    else:
        _find_any_version(*service_and_month(variables), (settings or Settings.from_environment()).google)


def _look_at_origin(run: RunContext) -> None:
    published = find_published(run)
    print(f"{published.url} is published", flush=True)


def _find_any_version(service: Service, month: Month, google: GoogleSettings) -> None:
    from nyc_taxi.load.bucket.month import find_month

    print(f"{find_month(service, month, google).path} is there", flush=True)


def _look_for_version(run: RunContext) -> None:
    from nyc_taxi.load.bucket.month import find_month

    published = find_published(run)
    found = find_month(run.service, run.month, run.settings.google)
    if (found.url, found.etag) != (published.url, published.etag):
        raise NotPublished(
            f"{found.path} is of another version than {published.url} has now ({found.etag}, not {published.etag}): "
            f"run api_to_gcs for {run.service.name} {run.month}"
        )
    known = f"is of the version that {published.url} has now"
    unknown = f"is there; whether {published.url} has changed since cannot be told, for it has no ETag"
    print(f"{found.path} {known if published.etag else unknown}", flush=True)


def wait(look: Callable[[], None], longest: timedelta, every: timedelta) -> None:
    """Look until nothing is raised, or at most so long; what is raised at the end says how long was waited."""
    began, looks, unanswered = time.monotonic(), 0, 0
    while True:
        looks += 1
        try:
            look()
            return
        except NotPublished as error:
            why: NotPublished | DownloadFailed | TargetUnavailable = error
            unanswered = 0
        except (DownloadFailed, TargetUnavailable) as error:
            why = error
            unanswered += 1
        waited = timedelta(seconds=time.monotonic() - began)
        if not longest or unanswered == UNANSWERED_LOOKS:
            raise why
        if waited >= longest:
            raise type(why)(
                f"{why}; looked {looks:,} times in {_hours(waited)}, which is all that wait_hours allows: run again "
                f"when it is there, or raise wait_hours"
            )
        pause = min(every, longest - waited)
        left = f"for {_hours(longest - waited)} at most"
        print(f"{why}; looking again in {pause.total_seconds() / 60:.0f} minutes, {left}", flush=True)
        time.sleep(pause.total_seconds())


def _hours(time_span: timedelta) -> str:
    return f"{time_span.total_seconds() / 3600:,.1f} hours"
