"""`taxi live`: a staged month as a stream, its end, and whether the stream holds what the batch load holds."""

import asyncio
import math
import sys
import time
from typing import TYPE_CHECKING

import click
from nyc_taxi.errors import UnknownName

from ops.commands.arguments import MONTH, ORIGIN, SERVICE, examples

if TYPE_CHECKING:
    from nyc_taxi.catalog.services import Service
    from nyc_taxi.manifest import StagedFile
    from nyc_taxi.months import Month
    from nyc_taxi.settings import Settings

LINE_SECONDS = 10
"""How often a line says how far it is, where no terminal shows the bar."""
SETTLE_SECONDS = 3
"""For so long the last trips may be on their way to the tables."""


def _speed(ctx: click.Context, param: click.Parameter, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise click.BadParameter(f"{value:g} is not a number above 0, such as 600: ten minutes in a second", ctx, param)
    return value


@click.command(
    "live",
    epilog=examples(
        "taxi live --service yellow --month 2021-01 --speed 600",
        "taxi live --service yellow --month 2021-01 --check",
        "taxi live --stop",
        "taxi live --forget --service yellow",
    ),
)
@click.option("--service", type=SERVICE, default="yellow", help="Whose trips: yellow, green, fhv or fhvhv.")
@click.option("--month", type=MONTH, help="The month: one that a pipeline has staged.")
@click.option("--origin", type=ORIGIN, default="dtc", help="Where it was staged from: dtc or tlc.")
@click.option("--speed", type=float, default=600.0, callback=_speed, help="How many times faster than life.")
@click.option("--check", is_flag=True, help="Compare the stored stream of the month with its batch load.")
@click.option("--stop", is_flag=True, help="Turn the trigger of live_trips off, then end its run.")
@click.option("--forget", is_flag=True, help="Remove the service's stream, and what is stored of it.")
def command(service: str, month: str | None, origin: str, speed: float, check: bool, stop: bool, forget: bool) -> int:
    """
    Replay a staged month onto a stream, in the order of pickup, faster than life.

    TLC publishes months, not trips as they happen: this is a replay. The pipeline live_trips stores the stream: turn
    its trigger on in `taxi ui`, or `taxi run live_trips` beside this. Begun again, it goes on after the last trip.
    """
    if check + stop + forget > 1:
        raise click.UsageError("One of --check, --stop and --forget")
    if stop:
        from ops.commands.live.stop import stop_live

        stop_live()
        return 0
    if not (month or forget):
        raise click.UsageError("Missing option '--month': which month is replayed, or checked")
    from nyc_taxi.catalog.services import service_named
    from nyc_taxi.months import Month
    from nyc_taxi.settings import Settings

    from ops.stack.environment import environment

    if month and not (check or forget):
        _refuse_unpublished(service, month, origin)
    settings = Settings.from_environment(environment(streaming=not check, with_google=False))
    if forget:
        return _forget(settings, service_named(service))
    if check:
        return _check(settings, service_named(service), Month.parse(str(month)))
    return _replay(settings, service, str(month), origin, speed)


def _refuse_unpublished(service: str, month: str, origin: str) -> None:
    from nyc_taxi.run import run_context
    from nyc_taxi.settings import Settings

    try:
        run_context({"service": service, "month": month, "origin": origin}, Settings.from_environment({}))
    except UnknownName as error:
        raise click.UsageError(str(error)) from None


def _replay(settings: "Settings", service: str, month: str, origin: str, speed: float) -> int:
    from nyc_taxi.extract.staging import already_staged
    from nyc_taxi.live.replay import replay
    from nyc_taxi.live.store import stored_of_month
    from nyc_taxi.run import run_context
    from tqdm import tqdm

    file = already_staged(run_context({"service": service, "month": month, "origin": origin}, settings))
    if file is None:
        raise UnknownName(
            f"{service} {month} ({origin}) is not staged in {settings.staging_dir}: `taxi run api_to_postgres` with "
            f"this service, month and origin stages it, and loads what the stream is compared with"
        )
    quiet = not sys.stdout.isatty()
    rows, said = file.rows_read - sum(file.malformed.values()), time.monotonic()
    print(f"{service} {month}, {speed:g} times as fast as life, to {settings.broker.url}", flush=True)
    with tqdm(total=rows, unit=" trips", desc=f"{service} {month}", file=sys.stdout, disable=quiet) as bar:

        def told(done: int) -> None:
            nonlocal said
            bar.update(done - bar.n) if not quiet else None
            if quiet and time.monotonic() - said > LINE_SECONDS:
                said = time.monotonic()
                print(f"{done:,} of {rows:,} trips are on the stream", flush=True)

        already = stored_of_month(settings.postgres, file.service, file.month)
        replay(settings.broker, file, speed, told, already)
    _say_end(settings, file, rows)
    return 0


def _say_end(settings: "Settings", file: "StagedFile", rows: int) -> None:
    from nyc_taxi.live.now import live_now

    from ops.wait import wait_until

    wait_until(lambda: not live_now(settings, file.service).waiting, SETTLE_SECONDS, 0.3)
    waiting = live_now(settings, file.service).waiting
    missing = "nobody knows how many" if waiting is None else f"{waiting:,}"
    print(f"All {rows:,} trips of {file.service_name} {file.month} are on the stream; {missing} are not stored")
    if waiting:
        print("live_trips stores them: turn its trigger always_on on in the web UI, or `taxi run live_trips`")


def _check(settings: "Settings", service: "Service", month: "Month") -> int:
    from nyc_taxi.live.compare import compare_month
    from rich.console import Console
    from rich.table import Table

    compared = compare_month(settings.postgres, service, month)
    table = Table(f"{service.name} {month}", "stream", "batch", "")
    for one in compared:
        numbers = (f"{number:,.2f}".removesuffix(".00") for number in (one.stream, one.batch))
        table.add_row(one.what, *numbers, "agrees" if one.agrees else "DIFFERS")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    return int(not all(one.agrees for one in compared))


def _forget(settings: "Settings", service: "Service") -> int:
    from nyc_taxi.live.store import forget
    from nyc_taxi.live.stream import delete_stream

    forget(
        settings.postgres, service
    )  # first: a stream without its tables is stored anew, tables without it are refused
    asyncio.run(delete_stream(settings.broker, service))
    print(f"The stream of {service.name} and what was stored of it are gone; what batch pipelines loaded is as it was")
    return 0
