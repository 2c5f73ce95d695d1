"""Whether a month needs to be loaded again: a schedule that runs every day mostly finds what it has already."""

from collections.abc import Mapping

from nyc_taxi.extract.published import find_published
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.load.postgres import audit
from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.load.postgres.month import measure_month
from nyc_taxi.manifest import sums_agree
from nyc_taxi.run import RunContext, is_forced, run_context
from nyc_taxi.settings import Settings


def month_is_new(variables: Mapping[str, object], settings: Settings | None = None) -> bool:
    """
    Whether the run's month must be loaded into Postgres; prints in one line why it must, or why it need not.

    False only if the last load was of the version (URL and ETag) that the origin publishes now, by the run's rules, and
    Postgres still holds its rows and sums. Costs one HEAD request; where the origin has no ETag, the trip file is
    staged, and its checksum decides. Reads what run_context reads, and force. Nothing is raised: a run that cannot tell
    goes on, and says itself what is wrong.
    """
    try:
        new, why = _judge(variables, settings)
    except Exception as error:  # noqa: BLE001  to Mage, a condition that raises is false: it would skip the month
        new, why = True, f"nobody can tell whether it is new ({type(error).__name__}: {error})"
    print(f"Loading: {why}" if new else f"Nothing new: {why}", flush=True)
    return new


def _judge(variables: Mapping[str, object], settings: Settings | None) -> tuple[bool, str]:
    run = run_context(variables, settings)
    target = f"{run.settings.postgres.schema}.{run.service.table}"
    if is_forced(variables):
        return True, f"{run}, because force is set"
    last = _last_load(run, target)
    if last is None:
        return True, f"{run}, of which {target} has no load"
    new, version = _is_new(run, last)
    if new:
        return True, version
    if last.rules != run.rules:
        return True, f"{run}, which was last loaded by the rules {', '.join(last.rules) or 'none'}"
    rows, rejected, sums = measure_month(run.service, run.month, run.settings.postgres)
    if (rows, rejected) != (last.rows_accepted, last.rows_rejected) or not sums_agree(sums, last.sums):
        loaded = f"the {last.rows_accepted:,} and {last.rows_rejected:,} that were loaded, or other sums"
        return True, f"{run}, of which {target} has {rows:,} rows and {rejected:,} rejected ones, not {loaded}"
    held = f"{target} holds its {rows:,} rows"
    return False, f"{last.url} is unchanged ({version}), and {held}; force loads it again"


def _is_new(run: RunContext, last: audit.LastLoad) -> tuple[bool, str]:
    """Whether the origin has another version than that of the last load, and why; of the same version, its name."""
    published = find_published(run)
    if (last.url, last.etag) != (published.url, published.etag):
        return True, f"{published.url} is another version than that of the last load"
    if published.etag:
        return False, f"ETag {published.etag}"
    [staged] = stage_trip_file(run).files
    if staged.sha256 != last.sha256:
        return True, f"{published.url}, which has no ETag: its checksum is another than that of the last load"
    return False, f"sha256 {staged.sha256[:12]}"


def _last_load(run: RunContext, target: str) -> audit.LastLoad | None:
    postgres = run.settings.postgres
    with connect(postgres) as connection, connection.cursor() as cursor:
        return audit.last_load(cursor, postgres.schema, target, run.service, run.month)
